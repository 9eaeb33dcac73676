"""An object store in memory that keeps the contract of `storage/contract.py`, with a weather of its own."""

from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from storage.contract import Conflict, Missing, StoreUnavailable
from storage.layout import checked_key, checked_prefix
from tests.simulation.weather import Clock, Weather

SLOW_S = 40.0


@dataclass(slots=True)
class MemoryStore:
    """`files` are objects that lie on the disk already; `folder` takes the local copies of the others."""

    folder: Path
    clock: Clock = field(default_factory=Clock)
    weather: Weather = field(default_factory=Weather)
    objects: dict[str, bytes] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)
    created: list[str] = field(default_factory=list)  # keys in the order of their creation
    sorted_keys: list[str] = field(default_factory=list)
    lock: Lock = field(default_factory=Lock)
    url: str = "memory://simulation"

    def create(self, key: str, data: bytes) -> None:
        checked_key(key)
        self._before()
        if not self._put(key, data):
            raise Conflict(f"{key} exists with other bytes")
        if self.weather.strikes("store-lost-reply"):
            raise StoreUnavailable(f"the answer about {key} was lost")

    def _put(self, key: str, data: bytes) -> bool:
        """Whether the key holds these bytes now: the one atomic step of the store."""
        with self.lock:
            if key not in self.objects:
                insort(self.sorted_keys, key)
                self.created.append(key)
            return self.objects.setdefault(key, bytes(data)) == data

    def create_from(self, key: str, path: Path) -> None:
        checked_key(key)
        self.create(key, path.read_bytes())

    def read(self, key: str) -> bytes:
        checked_key(key)
        if self.weather.strikes("store-unreadable"):
            raise StoreUnavailable(f"{key} cannot be read now")
        if key not in self.objects:
            raise Missing(f"there is no object {key}")
        return self.objects[key]

    def read_all(self, keys: Sequence[str], *, afresh: bool = False) -> list[bytes]:  # noqa: ARG002 -- all reads are
        return [self.read(key) for key in keys]

    @contextmanager
    def local(self, key: str) -> Iterator[Path]:
        if key not in self.files:
            data = self.read(key)
            path = self.folder / f"{len(self.files)}-{key.rpartition('/')[2]}"
            path.write_bytes(data)
            self.files[key] = path
        yield self.files[key]

    def keys(self, prefix: str) -> Iterator[str]:
        checked_prefix(prefix)
        if self.weather.strikes("store-unreadable"):
            raise StoreUnavailable(f"{prefix} cannot be listed now")
        first = bisect_left(self.sorted_keys, prefix)
        last = bisect_left(self.sorted_keys, prefix + "\U0010ffff")
        return iter(self.sorted_keys[first:last])

    def children(self, prefix: str) -> Iterator[str]:
        return iter(sorted({key[len(prefix) :].partition("/")[0] for key in self.keys(prefix)}))

    def delete(self, key: str) -> None:
        checked_key(key)
        with self.lock:
            if self.objects.pop(key, None) is not None:
                self.sorted_keys.remove(key)
                self.files.pop(key, None)

    def _before(self) -> None:
        if self.weather.strikes("store-slow"):
            self.clock.tick(SLOW_S)
        if self.weather.strikes("store-down"):
            raise StoreUnavailable("the store does not answer; nothing was written")
