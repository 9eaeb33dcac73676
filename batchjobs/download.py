"""Downloading: a batch's result files onto our disk, and whether all that the provider counted is there."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import zstandard

from batchjobs.shards import Shard
from providers.contract import Format, Provider, RawFile


@dataclass(frozen=True, slots=True)
class Copy:
    """One result file, compressed, on our disk. `ids`: whose results can be read in it; a line cut off is nobody's."""

    kind: str
    path: Path
    lines: int
    bytes: int
    sha256: str
    ids: set[str]


def downloaded(provider: Provider, ref: str, folder: Path) -> list[Copy]:
    """Every result file of a batch, copied into a new folder. Raises Gone, Unavailable."""
    folder.mkdir()
    files = enumerate(provider.raw(ref))  # which may be of one kind
    return [_download(raw, folder / f"{number}-{raw.kind}", provider.format) for number, raw in files]


def counted(shard: Shard) -> tuple[int, int]:
    """How many results there are, and failed ones among them; where the provider does not say, one for each request."""
    done, failed = shard.end.get("done"), shard.end.get("failed")
    if done is None and not shard.end.get("rejected"):
        return shard.plan.requests, shard.plan.requests
    return done or 0, failed or 0


def whole(answers: dict[str, set[str]], done: int, failed: int) -> bool:
    """Are as many answers here as were counted? The output is counted by itself: expired rows fill the error file."""
    return len(answers["output"]) >= done - failed and len(answers["output"] | answers["error"]) >= done


def answered(copies: list[Copy], shard: Shard) -> dict[str, set[str]]:
    """Whose results can be read in which kind of file: twins and strangers make up for nobody.

    In a batch that turns out to be another's, everybody's.
    """
    found: dict[str, set[str]] = {"output": set(), "error": set(), "batch": set()}
    for copy in copies:
        found[copy.kind] |= copy.ids
    ours = {kind: {one for one in ids if one.startswith(shard.plan.id_prefix)} for kind, ids in found.items()}
    return ours if shard.certain or any(ours.values()) else found


def _download(raw: RawFile, path: Path, lines: Format) -> Copy:
    """Copy a result file to the disk, and note on the way whose results it holds."""
    watch = _Watch(lines)
    with path.open("wb") as out, zstandard.ZstdCompressor(level=3).stream_writer(out) as packed:
        for chunk in raw.chunks:
            packed.write(chunk)
            watch.see(chunk)
    watch.end()
    return Copy(raw.kind, path, watch.lines, watch.size, watch.sha.hexdigest(), watch.ids)


@dataclass(slots=True)
class _Watch:
    """Sees a file go by."""

    format: Format
    sha: "hashlib._Hash" = field(default_factory=hashlib.sha256)
    lines: int = 0
    size: int = 0
    ids: set[str] = field(default_factory=set)
    rest: list[bytes] = field(default_factory=list)  # of the line that has not ended yet

    def see(self, chunk: bytes) -> None:
        self.sha.update(chunk)
        self.size += len(chunk)
        end = chunk.rfind(b"\n") + 1
        if end:
            self._count(b"".join((*self.rest, chunk[:end])))
            self.rest = []
        self.rest.append(chunk[end:])

    def end(self) -> None:
        """The last line, if no line break ended it."""
        if last := b"".join(self.rest):
            self._count(last)

    def _count(self, block: bytes) -> None:
        self.lines += block.count(b"\n") + (not block.endswith(b"\n"))
        self.ids.update(self.format.whose(block))
