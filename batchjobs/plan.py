"""The plan of a job: what was accepted, at what price, in which shards. Its existence means `accepted`."""

import hashlib
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from batchjobs.prices import RateCard
from storage.content import is_sealed, sealed
from storage.contract import Damaged

FORMAT = 1


class ShardPlan(msgspec.Struct, frozen=True):
    """One shard as packed. `ceiling_cost` is the most it can cost; `tokens` is an upper estimate of its input."""

    id: str
    attempt: int
    key: str
    requests_key: str
    body_sha256: str
    id_prefix: str
    requests: int
    bytes: int
    tokens: int
    estimated_cost: Decimal
    ceiling_cost: Decimal
    parent: str | None = None
    wanted: bool = False  # a person asked for it: it is sent even when the job was cancelled before
    at_once: bool = False  # one request, too little for a batch: answered by itself, at the full price


class Bounds(msgspec.Struct, frozen=True):
    """The provider's limits that a job was packed by, where they vary: they hold to its end."""

    requests_min: int
    requests: int
    bytes: int


class TaskRef(msgspec.Struct, frozen=True):
    """Which task a job runs, and what its answers look like, so that results can be read without the task's code."""

    spec: str
    name: str
    version: str
    fingerprint: str
    view: dict[str, Any]


class Plan(msgspec.Struct, frozen=True):
    """items = requests + reused + carried; lines = items + rejected + duplicates + blank ones."""

    job: str
    created_at: datetime
    task: TaskRef
    provider: str
    endpoint: str
    served_by: str
    model: str
    max_output_tokens: int
    temperature: float | None
    rates: RateCard
    source: str
    input_sha256: str
    lines: int
    items: int
    rejected: int
    duplicates: int
    reused: int
    carried: int
    requests: int
    estimated_cost: Decimal
    estimated_sync_cost: Decimal
    ceiling_cost: Decimal
    max_attempts: int
    shards: tuple[ShardPlan, ...]
    max_cost: Decimal | None = None
    canary: int | None = None
    carried_key: str | None = None
    rejects_key: str | None = None
    bounds: Bounds | None = None
    format: int = FORMAT


_ENCODER = msgspec.json.Encoder(order="sorted")
_DECODER = msgspec.json.Decoder(Plan)


def dump(plan: Plan) -> bytes:
    """The JSON bytes of a plan, the same for the same plan, with their own checksum at the end."""
    return sealed(_ENCODER.encode(plan))


def load_plan(key: str, data: bytes) -> Plan:
    """Raises Damaged when the object is not what was written, or not a plan this release can read."""
    if not is_sealed(data):
        raise Damaged(f"{key} is not what was written: its checksum does not fit; restore the object.")
    try:
        return _DECODER.decode(data)
    except msgspec.DecodeError as error:
        raise Damaged(f"{key} is not a readable plan ({error}): restore the object.") from None


def identity(*parts: object) -> str:
    """Eight hex digits over everything that makes two submissions the same job, but for the day."""
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:8]


def job_id(day: datetime, task: str, identity: str) -> str:
    """Day, task and identity: the same order on the same day is the same job."""
    return f"{day:%Y%m%d}-{task}-{identity}"


def short_id(job: str) -> str:
    """The part of every custom_id that says which job it belongs to."""
    return hashlib.sha256(job.encode()).hexdigest()[:8]
