"""What to do with a shard that waits to be bought, or may have been: pure decisions, which `send` carries out.

planned → drop, hold, or send
unknown → look for the tag ─┬─ found ──────► adopt
                            ├─ not found, and its tag makes it safe ──► the same purchase again
                            └─ not found ──► hold; past the grace period, and only when told so: abandon
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from batchjobs.grace import remaining
from batchjobs.jobs import Job
from batchjobs.shards import Phase, Shard
from providers.contract import Found

BOUNCE_WAIT_S = 60.0  # doubled at every refusal of the same shard
BOUNCE_WAIT_MAX = timedelta(hours=1)  # a moment further ahead was written by a clock that was ahead itself
CANARY_FAILURES_MAX = 0.2  # of the canary's requests, before the rest is held


@dataclass(frozen=True, slots=True)
class Policy:
    """What a decision needs to know besides the shard."""

    now: datetime
    grace: timedelta
    rebuy_unknown: bool = False
    cancelled: bool = False
    canary: "Hold | None" = None  # why the rest of the job must wait for its canary, if it must
    room_tokens: int | None = None  # left in the provider's queue
    queue_idle: bool = True  # nothing of ours is in it
    room_cost: Decimal | None = None  # left under the cap
    requests_min: int = 1  # of a batch, by the provider
    idempotent: bool = False  # a purchase may be repeated with its own tag

    def after(self, shard: Shard, job: Job, following: Shard) -> "Policy":
        """What will hold for the `following` shard once this one is bought, if nothing else happens."""
        tokens, cost = self.room_tokens, self.room_cost
        return replace(
            self,
            canary=canary_hold(job, following),
            room_tokens=None if tokens is None else tokens - shard.plan.tokens,
            queue_idle=False,
            room_cost=None if cost is None else cost - shard.plan.ceiling_cost,
        )


@dataclass(frozen=True, slots=True)
class Send:
    """Buy it now."""


@dataclass(frozen=True, slots=True)
class Look:
    """Ask the provider whether it was bought."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Leave it, for this reason."""

    reason: str
    over_budget: bool = False
    needs_person: bool = False
    on_others: bool = False  # waits for other shards of ours, not for time


@dataclass(frozen=True, slots=True)
class Drop:
    """Settle it unsent: every request gets this outcome."""

    outcome: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Adopt:
    """The batch is ours: write it down."""

    ref: str
    certain: bool


@dataclass(frozen=True, slots=True)
class Again:
    """Repeat the purchase with its own tag: the provider buys it once."""


@dataclass(frozen=True, slots=True)
class Abandon:
    """The grace period is over and the person said so: take it as never bought."""


Step = Send | Look | Hold | Drop


def next_step(shard: Shard, policy: Policy) -> Step:
    """What to do with a shard that is planned or unknown. Pure."""
    if shard.phase is Phase.unknown:
        return Look()
    if policy.cancelled and not shard.plan.wanted:
        return Drop("cancelled", "cancelled", "cancelled before it was sent")
    if policy.canary is not None:
        return policy.canary
    if shard.not_before is not None and policy.now < shard.not_before <= policy.now + BOUNCE_WAIT_MAX:
        return Hold(f"{shard.reason}; next try after {shard.not_before:%H:%M:%S} UTC")
    if shard.plan.requests < policy.requests_min and not shard.plan.at_once:
        return _too_few(shard, policy)
    if policy.room_tokens is not None and shard.plan.tokens > policy.room_tokens:
        return _no_room(shard, policy)
    if policy.room_cost is not None and shard.plan.ceiling_cost > policy.room_cost:
        return Hold(
            f"over budget: it could cost ${shard.plan.ceiling_cost:.4f}, "
            f"${max(policy.room_cost, Decimal(0)):.4f} is left under the cap",
            over_budget=True,
        )
    return Send()


def _too_few(shard: Shard, policy: Policy) -> Step:
    """Packing joins what is too little with its neighbour; what has none cannot be a batch, and is never padded."""
    fact = f"{shard.plan.requests} requests, and the provider takes batches of {policy.requests_min} or more"
    return Drop("failed", "too_few_requests", f"{fact}: try them again together with others")


def _no_room(shard: Shard, policy: Policy) -> Step:
    if not policy.queue_idle:
        return Hold("waiting for room in the provider's queue", on_others=True)
    if shard.plan.requests == 1:
        return Drop("failed", "queue_too_small", "this one request is larger than the provider's queue")
    return Drop("errored", "queue_too_small", "the shard is larger than the provider's queue: packed anew, smaller")


def after_look(shard: Shard, found: Sequence[Found], policy: Policy) -> Adopt | Again | Abandon | Hold:
    """What to do after asking for an unknown purchase. Pure. Two batches for one tag are never silently picked from."""
    sure = [batch for batch in found if batch.certain] or list(found)
    if len(sure) == 1:
        return Adopt(sure[0].ref, sure[0].certain)
    if len(sure) > 1:
        names = ", ".join(batch.ref for batch in sure)
        return Hold(
            f"{len(sure)} batches may be this shard ({names}): look at them and cancel the wrong one",
            needs_person=True,
        )
    if left := remaining(shard.misses, policy.now, policy.grace):
        if policy.idempotent and not policy.cancelled:
            return Again()
        return Hold(f"unknown purchase: asking the provider until {policy.now + left:%H:%M} UTC")
    if policy.rebuy_unknown:
        return Abandon()
    return Hold("unknown purchase, not found at the provider: pass --rebuy-unknown to buy it again", needs_person=True)


def canary_hold(job: Job, shard: Shard) -> Hold | None:
    """Why a shard must wait for the canary, if it must: the first shard and its retries, judged together.

    A person's `retry` of what failed gives the canary another chance; the rest follows when that goes well.
    """
    if not job.plan.canary or job.shards[0].plan.at_once or root_of(shard) == root_of(job.shards[0]):
        return None
    family = [one for one in job.shards if root_of(one) == root_of(job.shards[0])]
    if any(one.phase is not Phase.settled or job.retry_due(one) for one in family):
        return Hold("waiting for the canary", on_others=True)
    bad = 1 - sum(one.counts.get("succeeded", 0) for one in family) / job.shards[0].plan.requests
    if bad <= CANARY_FAILURES_MAX:
        return None
    reason = f"the canary failed: {bad:.0%} of its {job.shards[0].plan.requests} have no answer: see `failures`"
    return Hold(reason, needs_person=True)


def root_of(shard: Shard) -> str:
    """The place in the plan that a shard and all its retries share."""
    return shard.plan.id.split("-", 1)[1].partition("x")[0]


def bounce_until(now: datetime, bounces: int, retry_after_s: float | None) -> datetime:
    """When a refused shard may be tried again: the provider's own word, or twice as long every time."""
    wait = retry_after_s if retry_after_s is not None else BOUNCE_WAIT_S * 2 ** min(bounces, 9)
    return now + timedelta(seconds=min(wait, BOUNCE_WAIT_MAX.total_seconds()))
