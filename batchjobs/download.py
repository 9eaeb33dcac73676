"""Downloading: a batch's result files onto our disk, and whether all that the provider counted is there."""

import hashlib
from array import array
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import zstandard

from batchjobs.shards import Shard
from providers.contract import Format, Provider, RawFile

Ids: TypeAlias = "array[int]"  # the hash of each, in eight bytes: another shard's answers are in memory beside them


@dataclass(frozen=True, slots=True)
class Copy:
    """One result file, compressed, on our disk. `ours`, `others`: whose results can be read in it.

    A line cut off is nobody's.
    """

    kind: str
    path: Path
    lines: int
    bytes: int
    sha256: str
    ours: Ids
    others: Ids


def downloaded(provider: Provider, shard: Shard, folder: Path) -> list[Copy]:
    """Every result file of a shard's batch, copied into a new folder. Raises Gone, Unavailable."""
    folder.mkdir()
    copies = []
    for number, raw in enumerate(provider.raw(shard.batch_id)):  # several may be of one kind
        watch = _Watch(provider.format, shard.plan.id_prefix)
        copies.append(_download(raw, folder / f"{number}-{raw.kind}", watch))
    return copies


def counted(shard: Shard) -> tuple[int, int]:
    """How many results there are, and failed ones among them; where the provider does not say, one for each request."""
    done, failed = shard.end.get("done"), shard.end.get("failed")
    if done is None and not shard.end.get("rejected"):
        return shard.plan.requests, shard.plan.requests
    return done or 0, failed or 0


def whole(answers: dict[str, set[int]], done: int, failed: int) -> bool:
    """Are as many answers here as were counted? The output is counted by itself: expired rows fill the error file."""
    return len(answers["output"]) >= done - failed and len(answers["output"] | answers["error"]) >= done


def answered(copies: list[Copy], shard: Shard) -> dict[str, set[int]]:
    """Whose results can be read in which kind of file, each once: twins and strangers make up for nobody.

    In a batch that turns out to be another's, everybody's. Two ids of one hash would count as one, and be asked for
    again: among a million ids that is so once in thirty million times.
    """
    ours: dict[str, set[int]] = {"output": set(), "error": set(), "batch": set()}
    for copy in copies:
        ours[copy.kind].update(copy.ours)
    if shard.certain or any(ours.values()):
        return ours
    for copy in copies:
        ours[copy.kind].update(copy.others)
    return ours


def _download(raw: RawFile, path: Path, watch: "_Watch") -> Copy:
    """Copy a result file to the disk, and note on the way whose results it holds."""
    with path.open("wb") as out, zstandard.ZstdCompressor(level=3).stream_writer(out) as packed:
        for chunk in raw.chunks:
            packed.write(chunk)
            watch.see(chunk)
    watch.end()
    return Copy(raw.kind, path, watch.lines, watch.size, watch.sha.hexdigest(), watch.ours, watch.others)


@dataclass(slots=True)
class _Watch:
    """Sees a file go by."""

    format: Format
    id_prefix: str
    sha: "hashlib._Hash" = field(default_factory=hashlib.sha256)
    lines: int = 0
    size: int = 0
    ours: Ids = field(default_factory=lambda: array("q"))
    others: Ids = field(default_factory=lambda: array("q"))
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
        for custom_id in self.format.whose(block):
            (self.ours if custom_id.startswith(self.id_prefix) else self.others).append(hash(custom_id))
