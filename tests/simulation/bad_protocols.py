"""Protocols that look right and pay twice (RELIABILITY E2, E3): the real code with one part made as others make it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import msgspec

from providers.contract import OutcomeUnknown, Provider, ShardFile, Tag
from storage.contract import ObjectStore, StoreUnavailable
from tests.simulation.house import House
from tests.simulation.memory import MemoryStore
from tests.simulation.weather import Clock

LEASE_S = 30.0
Protocol = Callable[[House], None]


@dataclass(slots=True)
class _Passing:
    """Everything else is the inner one's."""

    inner: Any

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


@dataclass(slots=True)
class RecordsAfterwards(_Passing):
    """The intent is kept in the process's memory until there is something to tell: create, then record."""

    held: dict[str, bytes] = field(default_factory=dict)

    def create(self, key: str, data: bytes) -> None:
        if "/ledger/" in key and msgspec.json.decode(data)["event"] == "intent":
            self.held[key] = data
            return
        before = key.rpartition("/")[0]
        for intent in [one for one in self.held if one.startswith(before)]:
            self.inner.create(intent, self.held.pop(intent))
        self.inner.create(key, data)

    def keys(self, prefix: str) -> Iterator[str]:
        return iter(sorted([*self.inner.keys(prefix), *(key for key in self.held if key.startswith(prefix))]))

    def read(self, key: str) -> bytes:
        return self.held[key] if key in self.held else self.inner.read(key)

    def read_all(self, keys: Sequence[str], *, afresh: bool = False) -> list[bytes]:  # noqa: ARG002 -- all reads are
        return [self.read(key) for key in keys]


@dataclass(slots=True)
class Insists(_Passing):
    """A purchase without an answer is tried again, as the SDKs do by themselves."""

    def create(self, shard: ShardFile, staged: str, tag: Tag) -> str:
        for _ in range(2):
            try:
                return self.inner.create(shard, staged, tag)
            except OutcomeUnknown:
                continue
        return self.inner.create(shard, staged, tag)


@dataclass(slots=True)
class Overwrites(_Passing):
    """A server that ignores `If-None-Match`."""

    inner: MemoryStore

    def create(self, key: str, data: bytes) -> None:
        self.inner._put(key, data)
        self.inner.objects[key] = data
        self.inner.created.append(key)


@dataclass(slots=True)
class Lease:
    """Who may write, and until when."""

    clock: Clock
    holder: str = ""
    until: datetime | None = None

    def take(self, name: str) -> None:
        now = self.clock.now
        if self.until is not None and self.holder != name and now < self.until:
            raise StoreUnavailable(f"{self.holder} holds the lease")
        self.holder, self.until = name, now + timedelta(seconds=LEASE_S)


def create_then_record(house: House) -> None:
    for worker in house.workers:
        worker.protocol = RecordsAfterwards


def retry_around_create(house: House) -> None:
    for worker in house.workers:
        worker.provider = _insisting(worker.provider)


def _insisting(provider: Provider) -> Any:
    return Insists(provider)


def no_grace(house: House) -> None:
    _give_up_after(house, 0.0)


def grace_shorter_than_the_lag(house: House) -> None:
    house.world.lag = 0.9
    _give_up_after(house, house.world.limits.grace_s / 60)


def _give_up_after(house: House, grace: float) -> None:
    """What is not in the listing by then is bought again, without asking anybody."""
    house.rebuy_is_asked = False
    for worker in house.workers:
        worker.settings = {"grace": grace, "rebuy_unknown": True}


def no_put_if_absent(house: House) -> None:
    for worker in house.workers:
        worker.store = Overwrites(house.store)


def lease(house: House) -> None:
    """One lease instead of conditions on every write: taken when a process starts, good for a while."""
    shared = Lease(house.clock)

    def leased(name: str) -> Callable[[ObjectStore], ObjectStore]:
        def begin(store: ObjectStore) -> ObjectStore:
            shared.take(name)
            return store

        return begin

    for worker in house.workers:
        worker.store = Overwrites(house.store)
        worker.protocol = leased(worker.name)


LOST = ("create-lost-after", "create-502-after", "listing-lags", "create-arrives-late")
BAD: dict[str, tuple[Protocol, tuple[str, ...]]] = {
    "create, then record": (create_then_record, LOST),
    "retry around create": (retry_around_create, LOST),
    "no grace": (no_grace, LOST[:3]),
    "grace shorter than the listing lag": (grace_shorter_than_the_lag, ("create-lost-after", "listing-lags")),
    "no put-if-absent": (no_put_if_absent, ("store-slow",)),
    "a lease": (lease, ("store-slow",)),
}
