"""Packing: keyed requests become shards within the provider's limits. Buys nothing."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

import zstandard

from batchjobs.beside import Begin, later
from batchjobs.plan import ShardPlan
from batchjobs.prices import Bill, RateCard, Rates
from batchjobs.render import Requests
from providers.contract import Format
from storage.content import file_sha8
from storage.layout import requests_key, shard_key
from storage.tables import REQUESTS, TableWriter

# English and JSON come to 4 to 5 bytes a token, dense text to a little over 3 (DEPENDENCIES §4): the upper estimate
# serves the cap and the queue, the likely one the estimate a person sees.
BYTES_PER_TOKEN_LIKELY = 4
BYTES_PER_TOKEN_CEILING = 3
OUTPUT_SHARE_LIKELY = 0.35  # of the output limit
SHARD_BYTES_DEFAULT = 64_000_000
BYTES_MARGIN = 0.97  # of the provider's limit: a retried request may grow a little
LINE_BYTES_MORE = 300  # a line is its body and at most this


@dataclass(frozen=True, slots=True)
class ShardLimits:
    """When a shard is full. It is never smaller than `requests_min` where what lies beside it can make it whole.

    For that it may grow to the provider's own limits, `requests_max` and `bytes_max`.
    """

    requests: int
    bytes: int
    tokens: int | None
    requests_min: int = 1
    requests_max: int = 1_000_000_000
    bytes_max: int = 1_000_000_000_000


class Room(NamedTuple):
    """What is left in a shard."""

    requests: int
    bytes: int
    tokens: int | None = None


def fitting(sizes: Sequence[int], room: Room) -> int:
    """How many of the requests that come next have room, by the sizes of their bodies in bytes. Pure."""
    sizes = sizes[: room.requests]
    tokens, size = room.tokens, room.bytes
    total, number = sum(sizes), len(sizes)
    enough = tokens is None or total // BYTES_PER_TOKEN_CEILING + number <= tokens
    if enough and total + LINE_BYTES_MORE * number <= size:
        return number
    for number, (body_bytes, needed) in enumerate(zip(sizes, ceiling_tokens(sizes), strict=True)):
        size -= body_bytes + LINE_BYTES_MORE
        tokens = None if tokens is None else tokens - needed
        if size < 0 or (tokens is not None and tokens < 0):
            return number
    return len(sizes)


def ceiling_tokens(sizes: Sequence[int]) -> list[int]:
    """More input tokens than each request will count, by the sizes of their bodies in bytes."""
    return [size // BYTES_PER_TOKEN_CEILING + 1 for size in sizes]


@dataclass(slots=True)
class Estimate:
    """What requests will cost, worked out from their sizes and an output limit: likely, and at most."""

    tiers: tuple[Rates, ...]
    max_output_tokens: int
    likely: Bill = field(init=False)
    ceiling: Bill = field(init=False)
    likely_output: int = field(init=False)

    def __post_init__(self) -> None:
        self.likely, self.ceiling = Bill(self.tiers), Bill(self.tiers)
        self.likely_output = int(self.max_output_tokens * OUTPUT_SHARE_LIKELY) + 1

    def add(self, sizes: Sequence[int], max_output_tokens: int | None = None) -> None:
        """More requests, by the sizes of their bodies in bytes; their own output limit where they have one."""
        self.likely.add([size // BYTES_PER_TOKEN_LIKELY + 1 for size in sizes], self.likely_output)
        self.ceiling.add(ceiling_tokens(sizes), max_output_tokens or self.max_output_tokens)


@dataclass(frozen=True, slots=True)
class Pricing:
    """The prices of a job and the output limit they are worked out with."""

    rates: RateCard
    max_output_tokens: int

    def estimate(self, *, at_once: bool = False) -> Estimate:
        return Estimate(self.rates.sync if at_once else self.rates.batch, self.max_output_tokens)


class Keeper(Protocol):
    """Where packed shards go: an object store, or nowhere in a dry run."""

    def create_from(self, key: str, path: Path) -> None: ...


@dataclass(slots=True)
class _Draft:
    """A shard being written: its lines and its table go to disk as they come.

    `few` are its requests for as long as they are too few for a batch.
    """

    id: str
    path: Path
    out: BinaryIO | zstandard.ZstdCompressionWriter
    table: TableWriter
    cost: Estimate
    at_once: bool = False
    sha: "hashlib._Hash" = field(default_factory=hashlib.sha256)
    size: int = 0
    tokens: int = 0
    few: Requests = field(default_factory=Requests)

    @property
    def requests(self) -> int:
        return self.table.rows

    def write(self, data: bytes) -> None:
        self.out.write(data)
        self.sha.update(data)
        self.size += len(data)

    def close(self) -> None:
        self.out.close()
        self.table.close()


@dataclass(slots=True)
class Packer:
    """Fills shards one after the other and keeps them in the store, by `begin` each while the next is filled.

    Memory holds the requests that were added last, and the first ones of the next shard until they are enough for one.
    The disk holds the shard that is filled and the one that is being kept.
    Where requests have an output limit of their own, it is that of all requests of this packer.
    """

    store: Keeper
    format: Format
    job: str
    short: str
    attempt: int
    limits: ShardLimits
    pricing: Pricing
    spool: Path
    names: Iterator[str]
    parent: str | None = None
    first_requests: int | None = None  # the canary: the first shard holds no more than this
    max_output_tokens: int | None = None
    begin: Begin = later
    shards: list[ShardPlan] = field(default_factory=list)
    _kept: Callable[[], None] = lambda: None
    _draft: _Draft | None = None
    _waiting: Requests = field(default_factory=Requests)

    def add(self, requests: Requests) -> None:
        """Put requests into the open shard, and where that is full into the next."""
        start = 0
        while start < len(requests):
            sizes = list(map(len, requests.bodies[start:]))
            taken = 0 if self._waiting else fitting(sizes, self._room())
            if taken:
                self._put(requests.part(start, start + taken))
            else:  # it is one of the first of the next shard, once they are enough for one
                self._waiting.extend(requests.part(start, start + 1))
                self._turn_over()
            start += taken or 1

    def _turn_over(self) -> None:
        waiting = len(self._waiting), sum(map(len, self._waiting.bodies))
        if waiting[0] >= self.limits.requests_min or waiting[1] > self.limits.bytes:
            self._keep()
            self._put_waiting()

    def close(self) -> None:
        """Keep what is left. Too little for a shard of its own joins its neighbour, as far as the provider allows."""
        self._put_waiting()
        self._keep()
        self._kept()

    def _put_waiting(self) -> None:
        waiting, self._waiting = self._waiting, Requests()
        while waiting:
            taken = fitting(list(map(len, waiting.bodies)), self._most_room())
            if not taken and self._draft is not None and self._draft.requests:
                self._keep()
                continue
            taken = max(taken, 1)
            self._put(waiting.part(0, taken))
            waiting = waiting.part(taken, len(waiting))

    def _put(self, some: Requests) -> None:
        draft = self._draft = self._draft or self._open(next(self.names))
        ids = [f"{self.short}-{draft.id}-{key[:32]}" for key in some.keys]
        draft.write(self.format.lines(ids, some.bodies))
        sizes = list(map(len, some.bodies))
        tokens = ceiling_tokens(sizes)
        draft.tokens += sum(tokens)
        draft.cost.add(sizes, self.max_output_tokens)
        draft.table.extend([some.keys, ids, some.item_ids, some.lines, tokens, some.summaries])
        if self._too_few(draft):
            draft.few.extend(some)
        elif draft.few:
            draft.few = Requests()

    def _too_few(self, draft: _Draft) -> bool:
        return draft.requests < self.limits.requests_min and self.format.traits.at_once and not draft.at_once

    def _room(self) -> Room:
        """In the open shard, or a new one; for no more than make it whole where it is too small."""
        most, draft, limits = self._most_room(), self._draft, self.limits
        requests, size, tokens = (0, 0, 0) if draft is None else (draft.requests, draft.size, draft.tokens)
        if requests < limits.requests_min:
            return Room(min(limits.requests_min - requests, most.requests), most.bytes)
        full = min(self.first_requests or limits.requests, limits.requests) if not self.shards else limits.requests
        left = None if limits.tokens is None else max(limits.tokens - tokens, 0)
        return Room(max(full - requests, 0), limits.bytes - size, left)

    def _most_room(self) -> Room:
        """By the provider's own limits."""
        requests, size = (0, 0) if self._draft is None else (self._draft.requests, self._draft.size)
        return Room(max(self.limits.requests_max - requests, 0), self.limits.bytes_max - size)

    def _open(self, shard: str, *, at_once: bool = False) -> _Draft:
        path = self.spool / (f"{shard}.jsonl" if self.format.traits.reads_store else f"{shard}.jsonl.zst")
        out: BinaryIO | zstandard.ZstdCompressionWriter = path.open("wb")
        if not self.format.traits.reads_store:
            out = zstandard.ZstdCompressor(level=3).stream_writer(out, closefd=True)
        table = TableWriter(path.with_suffix(".parquet"), REQUESTS)
        return _Draft(shard, path, out, table, self.pricing.estimate(at_once=at_once), at_once)

    def _keep(self) -> None:
        """Keep the open shard, or where it is too little for a batch every request of it as a shard of its own."""
        draft, self._draft = self._draft, None
        if draft is None:
            return
        draft.close()
        if not self._too_few(draft):
            self._store(draft)
            return
        draft.path.unlink()
        draft.table.path.unlink()
        for place, name in zip(range(len(draft.few)), chain([draft.id], self.names), strict=False):
            self._draft = single = self._open(name, at_once=True)
            self._put(draft.few.part(place, place + 1))
            single.close()
            self._store(single)
        self._draft = None

    def _store(self, draft: _Draft) -> None:
        """Begin to, once the one before is stored: its requests first, then which request is which item."""
        packed = not self.format.traits.reads_store
        key = shard_key(self.job, draft.id, file_sha8(draft.path), packed=packed)
        keys = requests_key(self.job, draft.id, file_sha8(draft.table.path))
        self._kept()
        self._kept = self.begin(partial(self._move, {key: draft.path, keys: draft.table.path}))
        self.shards.append(self._shard_plan(draft, key, keys))

    def _move(self, files: Mapping[str, Path]) -> None:
        for key, path in files.items():
            self.store.create_from(key, path)
            path.unlink()

    def _shard_plan(self, draft: _Draft, key: str, keys: str) -> ShardPlan:
        return ShardPlan(
            id=draft.id,
            attempt=self.attempt,
            key=key,
            requests_key=keys,
            body_sha256=draft.sha.hexdigest(),
            id_prefix=f"{self.short}-{draft.id}-",
            requests=draft.requests,
            bytes=draft.size,
            tokens=draft.tokens,
            estimated_cost=draft.cost.likely.total,
            ceiling_cost=draft.cost.ceiling.total,
            parent=self.parent,
            at_once=draft.at_once,
        )


def shard_limits(provider: Format, requests: int | None, size: int | None, tokens: int | None) -> ShardLimits:
    """The provider's limits, and the person's where they are tighter; a remainder too small for a shard fits in."""
    limits = provider.limits
    most, size_max = limits.requests - limits.requests_min + 1, int(limits.bytes * BYTES_MARGIN)
    return ShardLimits(
        requests=max(min(requests or most, most), limits.requests_min),
        bytes=min(size or SHARD_BYTES_DEFAULT, size_max),
        tokens=tokens,
        requests_min=limits.requests_min,
        requests_max=limits.requests,
        bytes_max=size_max,
    )
