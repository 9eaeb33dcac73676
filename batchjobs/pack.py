"""Packing: a stream of input lines becomes keyed requests, then shards within the provider's limits. Buys nothing."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Protocol

import msgspec
import zstandard
from pydantic import ValidationError

from batchjobs.plan import ShardPlan
from batchjobs.prices import Bill, RateCard, Rates
from batchjobs.tasks import ItemTooLarge, Task
from providers.contract import Format, RequestTemplate
from storage.content import file_sha8
from storage.inputs import Line
from storage.layout import requests_key, shard_key
from storage.tables import REQUESTS, write_parquet

# English and JSON come to 4 to 5 bytes a token, dense text to a little over 3 (DEPENDENCIES §4): the upper estimate
# serves the cap and the queue, the likely one the estimate a person sees.
BYTES_PER_TOKEN_LIKELY = 4.0
BYTES_PER_TOKEN_CEILING = 3.0
OUTPUT_SHARE_LIKELY = 0.35  # of the output limit
SHARD_BYTES_DEFAULT = 64_000_000
BYTES_MARGIN = 0.97  # of the provider's limit: a retried request may grow a little
BLOCK_BYTES = 1 << 18  # of lines, compressed, hashed and written together
ITEM_ID_LENGTH_MAX = 500


class Request(msgspec.Struct, frozen=True):
    """One item, rendered and keyed."""

    line: int
    item_id: str
    key: str
    body: bytes
    summary: str


@dataclass(frozen=True, slots=True)
class Reject:
    """One input line that cannot become a request, and why."""

    line: int
    item_id: str | None
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Renderer:
    """The pure way from a line to a request; everything that can change the answer goes into the key."""

    task: Task
    template: RequestTemplate
    format: Format
    served_by: str
    endpoint: str
    room_bytes: int
    salt: bytes

    def render(self, line: Line) -> Request | Reject:
        if line.data is None:
            return Reject(line.number, None, "unreadable", line.problem)
        try:
            item = self.task.item.model_validate_json(line.data)
        except ValidationError as error:
            return Reject(line.number, None, *_explain(error))
        return self._request(line.number, item)

    def _request(self, number: int, item: object) -> Request | Reject:
        item_id: str | None = None
        try:
            item_id = self.task.item_id(item)
            rendered = self.task.render(item, self.room_bytes)
            body = self.format.encode(self.template, rendered.prompt)
            summary = msgspec.json.encode(rendered.summary).decode()
        except ItemTooLarge as error:
            return Reject(number, item_id, "too_large", str(error))
        except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
            return Reject(number, item_id, "not_renderable", f"the task's code raised {type(error).__name__}")
        if not item_id or len(item_id) > ITEM_ID_LENGTH_MAX:
            return Reject(number, None, "bad_id", f"an id must have 1 to {ITEM_ID_LENGTH_MAX} characters")
        if len(body) > self.format.limits.line_bytes:
            return Reject(number, item_id, "too_large", f"{len(body):,} bytes, the provider takes {self._line_bytes}")
        return Request(number, item_id, hashlib.sha256(self.salt + body).hexdigest(), body, summary)

    @property
    def _line_bytes(self) -> str:
        return f"{self.format.limits.line_bytes:,} a request"


def key_salt(provider: str, served_by: str, endpoint: str, task: Task, model: str = "") -> bytes:
    """What is not in the body but can change the answer: who answers, and what the task's version means by it.

    `model` is the model where bodies do not name it.
    """
    return "\0".join(("1", provider, served_by, endpoint, task.name, task.version, model)).encode()


def _explain(error: ValidationError) -> tuple[str, str]:
    """Reason and detail of a bad line: field names and what was expected, never the value found."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    if first["type"] == "json_invalid":
        return "not_json", first["msg"]
    where = ".".join(map(str, first["loc"])) or "item"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return "does_not_fit", f"{where}: {first['msg']}{more}"


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


def ceiling_tokens(body_bytes: int) -> int:
    """More input tokens than the body will count."""
    return int(body_bytes / BYTES_PER_TOKEN_CEILING) + 1


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

    def add(self, body_bytes: int, max_output_tokens: int | None = None) -> None:
        """One more request; its own output limit where it has one."""
        self.likely.add(int(body_bytes / BYTES_PER_TOKEN_LIKELY) + 1, self.likely_output)
        self.ceiling.add(ceiling_tokens(body_bytes), max_output_tokens or self.max_output_tokens)


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
    """A shard being written: its lines go to disk by the block, what must be known of them stays in rows.

    `few` are its requests for as long as they are too few for a batch.
    """

    id: str
    path: Path
    out: BinaryIO | zstandard.ZstdCompressionWriter
    cost: Estimate
    at_once: bool = False
    sha: "hashlib._Hash" = field(default_factory=hashlib.sha256)
    size: int = 0
    tokens: int = 0
    rows: list[tuple[object, ...]] = field(default_factory=list)
    few: list[tuple[Request, int | None]] = field(default_factory=list)
    block: list[bytes] = field(default_factory=list)
    block_bytes: int = 0

    @property
    def requests(self) -> int:
        return len(self.rows)

    def write(self, line: bytes) -> None:
        self.block.append(line)
        self.size += len(line)
        self.block_bytes += len(line)
        if self.block_bytes >= BLOCK_BYTES:
            self.flush()

    def flush(self) -> None:
        data = b"".join(self.block)
        self.out.write(data)
        self.sha.update(data)
        self.block, self.block_bytes = [], 0

    def close(self) -> None:
        self.flush()
        self.out.close()


@dataclass(slots=True)
class Packer:
    """Fills shards one after the other and keeps them in the store.

    Memory holds the columns of one shard, and the first requests of the next until they are enough for one.
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
    shards: list[ShardPlan] = field(default_factory=list)
    _draft: _Draft | None = None
    _waiting: list[tuple[Request, int | None]] = field(default_factory=list)
    _waiting_bytes: int = 0

    def add(self, request: Request, max_output_tokens: int | None = None) -> None:
        """Put a request into the open shard, or where that is full into the next."""
        if not self._waiting and not (self._draft is not None and self._full(self._draft, request)):
            self._put(request, max_output_tokens)
            return
        self._waiting.append((request, max_output_tokens))
        self._waiting_bytes += len(request.body)
        if len(self._waiting) >= self.limits.requests_min or self._waiting_bytes > self.limits.bytes:
            self._keep()
            self._put_waiting()

    def close(self) -> None:
        """Keep what is left. Too little for a shard of its own joins its neighbour, as far as the provider allows."""
        self._put_waiting()
        self._keep()

    def _put_waiting(self) -> None:
        waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
        for request, max_output_tokens in waiting:
            if self._draft is not None and self._bursting(self._draft, request):
                self._keep()
            self._put(request, max_output_tokens)

    def _put(self, request: Request, max_output_tokens: int | None) -> None:
        tokens = ceiling_tokens(len(request.body))
        draft = self._draft = self._draft or self._open(next(self.names))
        custom_id = f"{self.short}-{draft.id}-{request.key[:32]}"
        draft.write(self.format.line(custom_id, request.body))
        draft.tokens += tokens
        draft.cost.add(len(request.body), max_output_tokens)
        draft.rows.append((request.key, custom_id, request.item_id, request.line, tokens, request.summary))
        if self._too_few(draft):
            draft.few.append((request, max_output_tokens))
        elif draft.few:
            draft.few.clear()

    def _too_few(self, draft: _Draft) -> bool:
        return draft.requests < self.limits.requests_min and self.format.traits.at_once and not draft.at_once

    def _full(self, draft: _Draft, request: Request) -> bool:
        count, limits = draft.requests, self.limits
        if count < limits.requests_min:
            return self._bursting(draft, request)
        tokens = draft.tokens + ceiling_tokens(len(request.body))
        most = self.first_requests if self.first_requests and not self.shards else limits.requests
        too_many_tokens = limits.tokens is not None and tokens > limits.tokens
        return count >= most or draft.size + len(request.body) + 300 > limits.bytes or too_many_tokens

    def _bursting(self, draft: _Draft, request: Request) -> bool:
        """More than the provider takes."""
        size = draft.size + len(request.body) + 300
        return draft.requests >= self.limits.requests_max or size > self.limits.bytes_max

    def _open(self, shard: str, *, at_once: bool = False) -> _Draft:
        if self.format.traits.reads_store:
            path = self.spool / f"{shard}.jsonl"
            return _Draft(shard, path, path.open("wb"), self.pricing.estimate(at_once=at_once), at_once)
        path = self.spool / f"{shard}.jsonl.zst"
        out = zstandard.ZstdCompressor(level=3).stream_writer(path.open("wb"), closefd=True)
        return _Draft(shard, path, out, self.pricing.estimate(at_once=at_once), at_once)

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
        for name, (request, max_output_tokens) in zip(chain([draft.id], self.names), draft.few, strict=False):
            self._draft = single = self._open(name, at_once=True)
            self._put(request, max_output_tokens)
            single.close()
            self._store(single)
        self._draft = None

    def _store(self, draft: _Draft) -> None:
        """Its requests first, then which request is which item."""
        table = draft.path.with_suffix(".parquet")
        write_parquet(table, REQUESTS, dict(zip(REQUESTS.names, zip(*draft.rows, strict=True), strict=True)))
        packed = not self.format.traits.reads_store
        key = shard_key(self.job, draft.id, file_sha8(draft.path), packed=packed)
        keys = requests_key(self.job, draft.id, file_sha8(table))
        self.store.create_from(key, draft.path)
        self.store.create_from(keys, table)
        draft.path.unlink()
        table.unlink()
        self.shards.append(self._shard_plan(draft, key, keys))

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
