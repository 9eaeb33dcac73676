"""Fault points on both sides of every durable effect: the store's creations and the provider's paid calls."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec

from batchjobs.beside import beside
from providers.contract import Format, Found, Provider, ShardFile, Status, Tag
from storage.contract import ObjectStore

Fault = Callable[[str], None]
R = TypeVar("R")


class _Event(msgspec.Struct):
    event: str


def _point(key: str, data: bytes | None = None) -> str:
    """What is being written, by the key's folder; a ledger record by its event: `ledger-intent`, `raw`, `plan`."""
    place = key.split("/")
    folder = place[2 if len(place) > 2 else 0].partition(".")[0]
    if folder == "ledger" and data is not None:
        return f"ledger-{msgspec.json.decode(data, type=_Event).event}"
    return folder


@dataclass(frozen=True, slots=True)
class ObservedStore:
    """An object store whose every creation passes two fault points; reading and listing pass none."""

    inner: ObjectStore
    fault: Fault

    @property
    def url(self) -> str:
        return self.inner.url

    def create(self, key: str, data: bytes) -> None:
        point = _point(key, data)
        self.fault(f"{point}.before")
        self.inner.create(key, data)
        self.fault(f"{point}.after")

    def create_from(self, key: str, path: Path) -> None:
        point = _point(key)
        self.fault(f"{point}.before")
        self.inner.create_from(key, path)
        self.fault(f"{point}.after")

    def read(self, key: str) -> bytes:
        return self.inner.read(key)

    def read_all(self, keys: Sequence[str], *, afresh: bool = False) -> list[bytes]:
        return self.inner.read_all(keys, afresh=afresh)

    def local(self, key: str) -> AbstractContextManager[Path]:
        return self.inner.local(key)

    def keys(self, prefix: str) -> Iterator[str]:
        return self.inner.keys(prefix)

    def children(self, prefix: str) -> Iterator[str]:
        return self.inner.children(prefix)

    def delete(self, key: str) -> None:
        self.fault("delete.before")
        self.inner.delete(key)
        self.fault("delete.after")


@dataclass(frozen=True, slots=True)
class ObservedProvider:
    """A provider whose every call passes a fault point before and after; downloads are called through `passed`."""

    inner: Provider
    fault: Fault

    @property
    def format(self) -> Format:
        return self.inner.format

    def close(self) -> None:
        self.inner.close()

    def passed(self, call: str, answer: Callable[[], R]) -> R:
        """What a call of that name gives, between its two points, whoever makes it."""
        self.fault(f"{call}.before")
        result = answer()
        self.fault(f"{call}.after")
        return result

    def stage(self, shard: ShardFile) -> str:
        return self.passed("stage", partial(self.inner.stage, shard))

    def create(self, shard: ShardFile, staged: str, tag: Tag) -> str:
        return self.passed("create", partial(self.inner.create, shard, staged, tag))

    def find(self, shard: ShardFile, tag: Tag, since: datetime) -> list[Found]:
        return self.passed("find", partial(self.inner.find, shard, tag, since))

    def status(self, ref: str) -> Status:
        return self.passed("status", partial(self.inner.status, ref))

    def cancel(self, ref: str) -> None:
        self.passed("cancel", partial(self.inner.cancel, ref))

    def forget(self, ref: str, staged: str) -> None:
        self.passed("forget", partial(self.inner.forget, ref, staged))


def statuses(provider: ObservedProvider, refs: Sequence[str], threads: int) -> Generator[Callable[[], Status]]:
    """How each batch is, as a call that returns it or raises what the asking raised; so many are asked at a time.

    Only the asking goes ahead: the fault points are passed where the answer is called for, in the order of `refs`.
    """
    with beside(threads if len(refs) > 1 else 0) as begin:
        answers = [begin(partial(provider.inner.status, ref)) for ref in refs]
        yield from (partial(provider.passed, "status", answer) for answer in answers)
