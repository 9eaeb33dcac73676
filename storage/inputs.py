"""One stream of JSON lines from any source: files, also compressed, CSV, Parquet, DuckDB queries, S3, stdin."""

import hashlib
import stat
import sys
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from storage import need_boto3
from storage.contract import BadName, InputError, Missing
from storage.lines import CutOff, Line, Text, csv_lines, json_lines
from storage.tabular import parquet_lines, query_lines

__all__ = ["Chunk", "Input", "Line", "last_of", "open_input"]

_BLOCK_BYTES = 1 << 20
_CHUNK_LINES = 1_000
_COMPRESSED = (".gz", ".zst")
_KINDS = {
    ".jsonl": "json", ".ndjson": "json", ".json": "json", ".csv": "csv", ".tsv": "csv", ".parquet": "parquet",
    ".duckdb": "duckdb", ".ddb": "duckdb", ".db": "duckdb",
}  # fmt: skip


Chunk = Text | list[Line]


@dataclass(frozen=True, slots=True)
class Input:
    """An input that can be read as often as one likes. `sha256` says what it holds, `name` is what people call it."""

    name: str
    sha256: str
    _path: Path
    _read: Callable[[], Iterator[Chunk]]
    _stat: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """As it lies there, perhaps compressed."""
        return self._path.stat().st_size

    def chunks(self) -> Iterator[Chunk]:
        """All lines in order, some at a time and never none.

        Where the input breaks off, the last line says so. Raises InputError when it changed since it was opened.
        """
        last = 0
        try:
            for chunk in self._read():
                self._check_unchanged()
                yield chunk
                last = last_of(chunk)
        except CutOff as error:
            yield [Line(last + 1, None, f"the input cannot be read from here on ({error})")]
        self._check_unchanged()

    def _check_unchanged(self) -> None:
        if not self._path.exists() or _state(self._path) != self._stat:
            raise InputError(f"{self.name} changed while it was being read: nothing was sent, run the command again")


def last_of(chunk: Chunk) -> int:
    """The number of its last line."""
    return chunk.last if isinstance(chunk, Text) else chunk[-1].number


def open_input(
    source: str, *, query: str | None = None, spool_dir: Path, stdin: BinaryIO | None = None, s3_client: Any = None
) -> Input:
    """The input at a path, an `s3://` address or `-`; with `query`, the rows of a SELECT over a DuckDB file.

    Files are read where they are. What can be read only once or not in pieces is copied into `spool_dir`, which the
    caller removes. Raises InputError for everything a person can get wrong, StoreUnavailable for S3.
    """
    kind = _kind(source, query)
    try:
        path = _local(source, spool_dir, stdin, s3_client)
        if kind == "duckdb":
            rows = query_lines(path, source, query or "", spool_dir)
            path = _spooled((_row(source, line) for line in rows), spool_dir)  # hashed, then read; the database is free
        name = "stdin" if source == "-" else source
        state = _state(path)  # before the hash, so that no edit falls between the two
        return Input(name, _sha256(path), path, _reader(kind, path, name, spool_dir), state)
    except OSError as error:
        raise InputError(f"{source} cannot be read ({error.strerror}): check the path and the free space") from error


def _kind(source: str, query: str | None) -> str:
    suffixes = [suffix.lower() for suffix in Path(source).suffixes[-2:]]
    if suffixes[-1:] and suffixes[-1] in _COMPRESSED:
        suffixes.pop()
    kind = "json" if source == "-" else _KINDS.get(suffixes[-1] if suffixes else "", "")
    if not kind:
        raise InputError(
            f"{source} is of no known kind: its name must end in {', '.join(_KINDS)}, perhaps with .gz or .zst"
        )
    if (kind == "duckdb") != bool(query):
        raise InputError(f"{source}: a DuckDB file and a query go together, give both or neither")
    return kind


def _reader(kind: str, path: Path, name: str, spool_dir: Path) -> Callable[[], Iterator[Chunk]]:
    if kind == "csv":
        return lambda: _together(csv_lines(path, name))
    if kind == "parquet":
        return lambda: _together(parquet_lines(path, name, spool_dir))
    return lambda: json_lines(path, name)


def _together(lines: Iterator[Line]) -> Iterator[list[Line]]:
    """Some lines at a time; where the input breaks off, those before that come first."""
    chunk: list[Line] = []
    size = 0
    try:
        for line in lines:
            chunk.append(line)
            size += len(line.data or b"")
            if len(chunk) == _CHUNK_LINES or size >= _BLOCK_BYTES:
                yield chunk
                chunk, size = [], 0
    except CutOff:
        if chunk:
            yield chunk
        raise
    if chunk:
        yield chunk


def _local(source: str, spool_dir: Path, stdin: BinaryIO | None, s3_client: Any) -> Path:
    if source == "-":
        return _spooled(_blocks(stdin or sys.stdin.buffer), spool_dir)
    if source.startswith("s3://"):
        return _downloaded(source, spool_dir, s3_client)
    return _file(source, spool_dir)


def _downloaded(source: str, spool_dir: Path, s3_client: Any) -> Path:
    need_boto3(source)
    from storage.s3 import download  # here, because botocore takes a fifth of a second that others need not pay

    path = _spool_path(spool_dir)
    try:
        download(source, path, s3_client)
    except (BadName, Missing) as error:
        raise InputError(f"{source} cannot be read: {error}") from error
    return path


def _file(source: str, spool_dir: Path) -> Path:
    path = Path(source).expanduser()
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise InputError(f"{source} is a directory: name a file in it")
    if stat.S_ISREG(mode):
        return path
    with path.open("rb") as file:  # a pipe, which gives its bytes only once
        return _spooled(_blocks(file), spool_dir)


def _row(source: str, line: Line) -> bytes:
    if line.data is None:
        raise InputError(f"row {line.number} of the query over {source} cannot be used: {line.problem}")
    return line.data + b"\n"


def _spooled(parts: Iterable[bytes], spool_dir: Path) -> Path:
    path = _spool_path(spool_dir)
    try:
        with path.open("xb") as file:
            file.writelines(parts)
    except CutOff as error:
        raise InputError(f"the query broke off: {error}") from error
    return path


def _spool_path(spool_dir: Path) -> Path:
    return spool_dir / f"input-{uuid.uuid4().hex}"


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    while block := file.read(_BLOCK_BYTES):
        yield block


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _state(path: Path) -> tuple[int, ...]:
    """What an edit would change; comparing it costs nothing, hashing the file again would."""
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns
