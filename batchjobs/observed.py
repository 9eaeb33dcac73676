"""Fault points on both sides of every durable effect: the store's creations and the provider's paid calls."""

from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

import msgspec

from providers.contract import Format, Found, Provider, RawFile, ShardFile, Status, Tag
from storage.contract import ObjectStore

Fault = Callable[[str], None]


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
    """A provider whose every call passes a fault point before and after."""

    inner: Provider
    fault: Fault

    @property
    def format(self) -> Format:
        return self.inner.format

    def close(self) -> None:
        self.inner.close()

    def stage(self, shard: ShardFile) -> str:
        self.fault("stage.before")
        staged = self.inner.stage(shard)
        self.fault("stage.after")
        return staged

    def create(self, shard: ShardFile, staged: str, tag: Tag) -> str:
        self.fault("create.before")
        ref = self.inner.create(shard, staged, tag)
        self.fault("create.after")
        return ref

    def find(self, shard: ShardFile, tag: Tag, since: datetime) -> list[Found]:
        self.fault("find.before")
        found = self.inner.find(shard, tag, since)
        self.fault("find.after")
        return found

    def status(self, ref: str) -> Status:
        return self.passed(partial(self.inner.status, ref))

    def passed(self, answer: Callable[[], Status]) -> Status:
        """A status between its two points."""
        self.fault("status.before")
        status = answer()
        self.fault("status.after")
        return status

    def raw(self, ref: str) -> Iterator[RawFile]:
        self.fault("raw-download.before")
        yield from self.inner.raw(ref)
        self.fault("raw-download.after")

    def cancel(self, ref: str) -> None:
        self.fault("cancel.before")
        self.inner.cancel(ref)
        self.fault("cancel.after")

    def forget(self, ref: str, staged: str) -> None:
        self.fault("forget.before")
        self.inner.forget(ref, staged)
        self.fault("forget.after")


def statuses(provider: Provider, refs: Sequence[str], asks: int) -> Generator[Callable[[], Status]]:
    """How each batch is, as a call that returns it or raises what the asking raised; `asks` go ahead at a time.

    Only the asking does: the fault points are passed where the answer is called for, in the order of `refs`.
    """
    if asks == 1 or len(refs) < 2 or not isinstance(provider, ObservedProvider):
        yield from (partial(provider.status, ref) for ref in refs)
        return
    with ThreadPoolExecutor(asks, "asking") as pool:
        answers = [pool.submit(provider.inner.status, ref) for ref in refs]
        try:
            yield from (partial(provider.passed, answer.result) for answer in answers)
        except GeneratorExit:  # nobody wants the others
            pool.shutdown(wait=False, cancel_futures=True)
            raise
