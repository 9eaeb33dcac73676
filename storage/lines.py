"""Text files as numbered JSON lines, in bounded memory whatever they hold: JSON lines and CSV, plain, gzip or zstd."""

import codecs
import csv
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa

from storage.contract import InputError

LINE_BYTES_MAX = 16 << 20  # RELIABILITY §7, "Bombs"
_BLOCK_BYTES = 1 << 18
_GROWTH_MAX = 100  # of a compressed file that is, decompressed, larger than the next figure
_GROWN_BYTES_MIN = 64 << 20
_CODECS = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_DELIMITERS = ",;\t|"
_TOO_LONG = f"longer than {LINE_BYTES_MAX >> 20} MiB"
_encoder = msgspec.json.Encoder(decimal_format="number")

csv.field_size_limit(LINE_BYTES_MAX)  # its own default, 128 KiB, is less than a long correspondence


class CutOff(Exception):
    """The input cannot be read any further; the text says why."""


class Line(NamedTuple):
    """One item of the input: its JSON text, or the problem why there is none. `number` counts from 1, as editors do."""

    number: int
    data: bytes | None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Text:
    """Whole lines as they lie in a file, split into items only where that is wanted, perhaps in another process."""

    first: int
    data: bytes

    def __iter__(self) -> Iterator[Line]:
        for number, line in enumerate(self.data.split(b"\n"), self.first):
            if text := line.strip():
                yield Line(number, text)

    @property
    def last(self) -> int:
        """The number of the last line."""
        return self.first + self.data.count(b"\n") - self.data.endswith(b"\n")


def json_lines(path: Path, name: str) -> Iterator[Text | list[Line]]:
    """One JSON text a line, unparsed, many at a time; blank lines count but do not come.

    Raises InputError for a JSON array, CutOff.
    """
    first = 1
    for data in whole_blocks(_content(path, name)):
        if data is None:
            yield [Line(first, None, _TOO_LONG)]
            first += 1
            continue
        text = Text(first, data.removeprefix(codecs.BOM_UTF8) if first == 1 else data)
        if first == 1 and text.data.partition(b"\n")[0].strip().startswith(b"["):
            raise InputError(f"{name} is a JSON array: write one object a line, for example with jq -c '.[]'")
        yield text
        first = text.last + 1


def whole_blocks(parts: Iterable[bytes]) -> Iterator[bytes | None]:
    """A text that comes in parts, in parts that end where a line does; None for one line too long to be kept."""
    open_line: list[bytes] = []
    size = 0
    for block in parts:
        begin, end = 0, block.rfind(b"\n") + 1
        if end and size + block.find(b"\n") > LINE_BYTES_MAX:
            yield None
            open_line, begin = [], block.find(b"\n") + 1
        if end > begin:
            yield b"".join((*open_line, block[begin:end]))
        if end:
            open_line, size = [], 0
        size += len(block) - end
        if size > LINE_BYTES_MAX:
            open_line = []  # keeps counting, keeps nothing
        else:
            open_line.append(block[end:])
    if size:
        yield b"".join(open_line) if size <= LINE_BYTES_MAX else None


def csv_lines(path: Path, name: str) -> Iterator[Line]:
    """One object a row, named by the header; its number is that of the line it begins on. Raises InputError, CutOff.

    Cells stay text, because a model reads numbers and dates from text but never gets "00123" back from a number; an
    empty cell is no value and is left out, an empty row too; a cell that is a JSON object or array becomes one.
    """
    text = _Text(_physical_lines(path, name))
    header = _header(name, text)
    reader = csv.reader(text, delimiter=text.delimiter, strict=True)
    while True:
        number, text.too_long = text.number + 1, False
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Line(number, None, f"not a CSV row: {error}")
            continue
        if text.too_long:
            yield Line(number, None, _TOO_LONG)
        elif any(row):
            yield _csv_line(number, header, row)


def json_line(number: int, row: Mapping[str, Any]) -> Line:
    """A row as a line of JSON."""
    try:
        data = _encoder.encode(row)
    except UnicodeEncodeError:
        return Line(number, None, "not UTF-8")
    except (TypeError, ValueError, OverflowError) as error:
        return Line(number, None, f"cannot be written as JSON ({type(error).__name__})")
    return Line(number, data) if len(data) <= LINE_BYTES_MAX else Line(number, None, _TOO_LONG)


class _Text:
    """Decoded lines for the CSV reader, which sees an overlong one as empty; `number` is that of the last one given."""

    def __init__(self, lines: Iterator[tuple[int, bytes | None]]) -> None:
        self._lines = lines
        self.number = 0
        self.too_long = False
        self.delimiter = _DELIMITERS[0]

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        self.number, data = next(self._lines)
        self.too_long |= data is None
        return (data or b"").decode("utf-8", "surrogateescape") + "\n"


def _header(name: str, text: _Text) -> list[str]:
    first = next(text, "")
    text.delimiter = max(_DELIMITERS, key=first.count)  # of two that are as frequent, the first
    try:
        header = next(csv.reader([first], delimiter=text.delimiter, strict=True), [])
    except csv.Error as error:
        raise InputError(f"the first line of {name} is not a CSV header ({error}): name the columns there") from error
    if len(set(header)) < len(header):
        raise InputError(f"the header of {name} names a column twice: give every column a name of its own")
    return header


def _csv_line(number: int, header: list[str], row: list[str]) -> Line:
    if len(row) != len(header):
        return Line(number, None, f"not a CSV row: {len(row)} cells where the header has {len(header)}")
    return json_line(number, {name: _cell(text) for name, text in zip(header, row, strict=True) if text})


def _cell(text: str) -> str | msgspec.Raw:
    if text[0] in "[{" and text[-1] in "]}":
        try:
            msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
            return text
        return msgspec.Raw(text.encode())
    return text


def _physical_lines(path: Path, name: str) -> Iterator[tuple[int, bytes | None]]:
    """Every line with its number, without its line feed; None where it is too long to be kept."""
    lines = enumerate(whole_lines(_content(path, name)), start=1)
    for number, data in lines:
        yield number, data.removeprefix(codecs.BOM_UTF8) if data else data
        break
    yield from lines


def whole_lines(parts: Iterable[bytes]) -> Iterator[bytes | None]:
    """The lines of a text that comes in parts; None for one that is too long to be kept."""
    open_line: list[bytes] = []
    size = 0
    for block in parts:
        *whole, rest = block.split(b"\n")
        if whole:
            size += len(whole[0])
            whole[0] = b"".join((*open_line, whole[0]))
            yield whole[0] if size <= LINE_BYTES_MAX else None
            yield from whole[1:]
            open_line, size = [], 0
        size += len(rest)
        if size > LINE_BYTES_MAX:
            open_line = []  # keeps counting, keeps nothing
        else:
            open_line.append(rest)
    if size:
        yield b"".join(open_line) if size <= LINE_BYTES_MAX else None


def _content(path: Path, name: str) -> Iterator[bytes]:
    """The file's content, decompressed as its first bytes ask, never much of it at once. Raises CutOff, InputError."""
    try:
        with path.open("rb", buffering=0) as file:
            yield from _blocks(file, name)
    except OSError as error:
        raise CutOff(error.strerror or str(error)) from error


def _blocks(file: FileIO, name: str) -> Iterator[bytes]:
    head = file.read(4)
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise InputError(f"{name} is UTF-16 text: save it as UTF-8")
    file.seek(0)
    codec = next((codec for magic, codec in _CODECS.items() if head.startswith(magic)), None)
    # pyarrow reads members that follow each other and, unlike zstandard's reader, says when one is cut short
    source = pa.CompressedInputStream(pa.PythonFile(file, "r"), codec) if codec else file
    bytes_left = max(_GROWTH_MAX * os.fstat(file.fileno()).st_size, _GROWN_BYTES_MIN)
    while block := source.read(_BLOCK_BYTES):
        yield block
        bytes_left -= len(block)
        if codec and bytes_left < 0:
            raise CutOff(f"it is more than {_GROWTH_MAX} times larger than compressed")
