"""What the pipeline tells the results store and hears from it: one frozen row per thing."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

PURGED = "purged"  # the state of a job whose answers are not kept: what it bought must be bought anew


@dataclass(frozen=True, slots=True)
class JobRow:
    """One job as its plan says. `items` leaves out rejects and duplicates; `requests` are those bought here."""

    job_id: str
    created_at: datetime
    task: str
    task_version: str
    provider: str
    model: str
    endpoint: str | None
    source: str | None
    input_sha256: str | None
    lines: int
    items: int
    rejected: int
    duplicates: int
    reused: int
    requests: int
    estimated_cost_usd: Decimal | None
    ceiling_cost_usd: Decimal | None
    state: str


@dataclass(frozen=True, slots=True)
class ShardRow:
    """One shard as its ledger says. `open`: it may still bring answers, itself or by a retry not yet loaded."""

    job_id: str
    shard_id: str
    parent_shard: str | None
    attempt: int
    requests: int
    bytes: int
    state: str
    open: bool
    batch_id: str | None = None
    estimated_cost_usd: Decimal | None = None
    cost_usd: Decimal | None = None
    sent_at: datetime | None = None
    ended_at: datetime | None = None
    settled_at: datetime | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class CarriedCounts:
    """How the items of a job stand whose answers were, or are being, bought elsewhere."""

    succeeded: int
    failed: int
    waiting: int


@dataclass(frozen=True, slots=True)
class Failure:
    """An item without a result and with nothing in flight, after its last attempt.

    `bought_by` is the job of that attempt, an earlier one where the item waited for its answer. Where the request was
    never bought, `outcome` is not_bought.
    """

    item_id: str
    request_key: str
    bought_by: str | None
    shard_id: str | None
    attempt: int | None
    outcome: str
    code: str | None
    message: str | None
    raw_key: str | None
    raw_line: int | None
