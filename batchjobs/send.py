"""Buying a shard, where each line could cost a thousand dollars.

    stage → intent ─durable─► create, ONE attempt ─┬─ ok ──────► sent
                                                   ├─ refused ─► refused: nothing was bought, the shard waits
                                                   └─ unknown ─► nothing to write: an unanswered intent *is* unknown

    unknown → look for the tag ─┬─ found ──────► sent (adopted)
                                ├─ not found, and its tag makes it safe ──► the same purchase again
                                └─ not found ──► hold; past the grace period, and only when told so: abandoned

What to do is decided by two pure functions, `next_step` and `after_look`; the rest of the file does it.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

from batchjobs.desk import Desk
from batchjobs.errors import Unreachable
from batchjobs.grace import remaining, still_due
from batchjobs.jobs import JOB_LEDGER, Job, load_job, reread
from batchjobs.plan import ShardPlan
from batchjobs.settle import settle_unsent, unpacked
from batchjobs.shards import Phase, Shard
from providers.contract import UNREACHED, Found, Gone, OutcomeUnknown, Provider, Refused, ShardFile, Tag, Unavailable
from storage.contract import Damaged, StoreUnavailable
from storage.layout import answers_prefix, raw_prefix
from storage.ledger import lengths

BOUNCE_WAIT_S = 60.0  # doubled at every refusal of the same shard
BOUNCE_WAIT_MAX = timedelta(hours=1)  # a moment further ahead was written by a clock that was ahead itself
CLOCK_AHEAD_MAX = timedelta(hours=26)  # when an intent was written: looked through before a purchase is given up
_DROPPED = {"rejected", "stopping", "cancelled", "canceled"}
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


@dataclass(slots=True)
class Sender:
    """Does what was decided, one shard at a time. `known` are the batches that belong to other shards."""

    desk: Desk
    job: Job
    provider: Provider
    known: set[str]

    def step(self, shard: Shard, policy: Policy) -> Hold | None:
        """Take one shard one step further; returns why it is held, if it is. Raises Unreachable."""
        decision = next_step(shard, policy)
        if isinstance(decision, Look):
            return self._look(shard, policy)
        if isinstance(decision, Drop):
            settle_unsent(self.desk, self.job, shard, decision.outcome, decision.code, decision.message)
        elif isinstance(decision, Send):
            self._send(shard, policy)
        return decision if isinstance(decision, Hold) else None

    def _send(self, shard: Shard, policy: Policy) -> None:
        self._require_unanswered(shard)
        with self._file(shard.plan) as file:
            staged = shard.staged or self._stage(file)
            tag = Tag(self.job.id, shard.plan.id, shard.sends + 1)
            intent = {
                "send": tag.send,
                "staged": staged,
                "body_sha256": shard.plan.body_sha256,
                "provider": self.job.plan.provider,
                "model": self.job.plan.model,
                "estimated_cost": str(shard.plan.estimated_cost),
                "ceiling_cost": str(shard.plan.ceiling_cost),
            }
            number = self._append(shard, shard.number, "intent", intent)
            if number is None:
                return  # another process took this step; it is buying, or has bought
            if why := self._overtaken(shard, policy, number):
                self._append(shard, number, "refused", {"kind": "later", "code": "overtaken", "message": why})
                return
            self._create(shard, file, staged, tag, number)

    def _overtaken(self, shard: Shard, policy: Policy, number: int) -> str:
        """Why the decision to buy holds no more, if another machine cancelled or spent since it was made.

        Asked after the intent is durable: of two machines that reach for the same money, the later one sees the other.
        """
        known = {one.plan.id: one.number for one in self.job.shards} | {JOB_LEDGER: self.job.number}
        try:
            if lengths(self.desk.store, self.job.id) == Counter(known | {shard.plan.id: number}):
                return ""
            now = load_job(self.desk.store, self.job.id)
        except StoreUnavailable as error:
            return f"the store could not be asked again before buying: {error}"
        if any(one.plan.id == shard.plan.id and one.number != number for one in now.shards):
            return "another machine decided about this purchase meanwhile"
        if now.cancelled and not shard.plan.wanted:
            return "the job was cancelled meanwhile"
        if policy.room_cost is not None and now.committed > self.job.committed + policy.room_cost:
            return "another machine spent what was left under the cap"
        return ""

    def _require_unanswered(self, shard: Shard) -> None:
        """Raises Damaged where answers lie in the store that the ledger knows nothing of: it lost the purchase."""
        answers = next(self.desk.store.keys(raw_prefix(self.job.id, shard.plan.id)), None)
        if answers is not None and not shard.disowned:  # the answers of a batch that was not ours are no sign
            raise Damaged(
                f"{answers} is there, and the ledger does not say that the shard was bought: its records were lost, "
                "and nothing is bought again until they are restored."
            )

    def _stage(self, file: ShardFile) -> str:
        try:
            return self.provider.stage(file)
        except (Unavailable, Refused) as error:
            passing = error.kind in ("later", "absent")
            cure = "run" if passing else "fix it and run"
            raise Unreachable(f"{error} This shard was not bought; {cure} the same command again.", passing) from None

    def _create(self, shard: Shard, file: ShardFile, staged: str, tag: Tag, number: int) -> None:
        try:
            ref = self.provider.create(file, staged, tag)
        except Refused as refusal:
            self._note_refusal(shard, refusal, number)
        except OutcomeUnknown as error:
            self.desk.say(f"shard {shard.plan.id}: purchase unknown ({error}); it is looked for, not bought again")
        else:
            self._append(shard, number, "sent", {"send": tag.send, "batch_id": ref, "how": "created", "certain": True})

    def _note_refusal(self, shard: Shard, refusal: Refused, number: int) -> None:
        until = bounce_until(self.desk.env.now(), shard.bounces, refusal.retry_after_s)
        wait = refusal.kind == "later" and refusal.code != UNREACHED
        data = {
            "kind": refusal.kind,
            "code": refusal.code,
            "message": str(refusal),
            "not_before": until.isoformat() if wait else None,
        }
        number = self._append(shard, number, "refused", data) or number
        if refusal.kind == "blocked":
            raise Unreachable(f"{refusal} Fix it and run the same command again.", passing=False)
        if refusal.code == UNREACHED:
            raise Unreachable(f"{refusal} Run the same command again.")
        if refusal.kind == "never" and not shard.staged:  # an upload of an earlier try may be gone by now
            settle_unsent(self.desk, self.job, shard, "failed", refusal.code or "refused", str(refusal), after=number)

    def _look(self, shard: Shard, policy: Policy) -> Hold | None:
        tag = Tag(self.job.id, shard.plan.id, shard.sends)
        file = self._described(shard.plan, Path())
        since = shard.intent_at or policy.now
        if not remaining(shard.misses, policy.now, policy.grace):
            since -= CLOCK_AHEAD_MAX
        try:
            found = self.provider.find(file, tag, since)
        except Unavailable as error:
            if error.kind == "blocked":
                raise Unreachable(f"{error} Fix it and run the same command again.", passing=False) from None
            return Hold(f"unknown purchase, and the provider cannot be asked: {error}")
        ours = [batch for batch in found if batch.ref not in self.known and batch.ref not in shard.disowned]
        decision = after_look(shard, self._rivals(ours), policy)
        if isinstance(decision, (Hold, Again)):
            if not ours:
                still_due(self.desk, self.job, shard, policy.grace)
            return decision if isinstance(decision, Hold) else self._again(shard)
        if isinstance(decision, Abandon):
            self._append(shard, shard.number, "abandoned", {"send": shard.sends})
            return None
        self.known.add(decision.ref)
        if policy.cancelled and decision.certain:
            self._stop(decision.ref)
        sent = {"send": shard.sends, "batch_id": decision.ref, "how": "adopted", "certain": decision.certain}
        self._append(shard, shard.number, "sent", sent)
        return None

    def _again(self, shard: Shard) -> Hold | None:
        """Repeat a purchase whose answer was lost. Only a yes proves anything: a no is one to the repetition."""
        job = reread(self.desk.store, self.job, shard)
        shard = next(one for one in job.shards if one.plan.id == shard.plan.id)
        if shard.phase is not Phase.unknown:
            return None
        tag = Tag(job.id, shard.plan.id, shard.sends)
        try:
            with self._file(shard.plan) as file:
                ref = self.provider.create(file, shard.staged, tag)
        except (Refused, OutcomeUnknown) as error:
            return Hold(f"unknown purchase, repeated with its own token: {error}")
        sent = {"send": tag.send, "batch_id": ref, "how": "repeated", "certain": True}
        self._append(shard, shard.number, "sent", sent)
        return None

    def _rivals(self, found: list[Found]) -> list[Found]:
        """Of several batches with our tag, those that somebody must choose from: not what was cancelled or rejected."""
        sure = [batch for batch in found if batch.certain]
        if len(sure) < 2:
            return found
        return [batch for batch in sure if not self._is_dropped(batch.ref)] or sure[:1]

    def _is_dropped(self, ref: str) -> bool:
        try:
            status = self.provider.status(ref)
        except (Unavailable, Gone):
            return False
        return bool({status.state.value, status.word} & _DROPPED)

    def _stop(self, ref: str) -> None:
        """A batch found after its job was cancelled."""
        try:
            self.provider.cancel(ref)
        except (Unavailable, Gone) as error:
            self.desk.say(f"batch {ref} belongs to a cancelled job and could not be stopped: {error}")

    def _append(self, shard: Shard, after: int, event: str, data: Mapping[str, object]) -> int | None:
        return self.desk.append(self.job.id, shard.plan.id, after, event, data)

    @contextmanager
    def _file(self, plan: ShardPlan) -> Iterator[ShardFile]:
        """The shard's bytes as the provider gets them. Raises Damaged when they are not what was packed."""
        with self.desk.spool() as spool, self.desk.intact(plan.key) as packed:
            path = spool / f"{plan.id}.jsonl"
            _unpack(packed, path, plan)
            yield self._described(plan, path)

    def _described(self, plan: ShardPlan, path: Path) -> ShardFile:
        job, store = self.job.plan, self.desk.store.url
        return ShardFile(
            path=path,
            url=f"{store}/{plan.key}",
            requests=plan.requests,
            model=job.model,
            id_prefix=plan.id_prefix,
            output_url=f"{store}/{answers_prefix(job.job, job.provider, plan.id)}",
            at_once=plan.at_once,
        )


def _unpack(packed: Path, path: Path, plan: ShardPlan) -> None:
    sha = hashlib.sha256()
    with path.open("wb") as out:
        try:
            for chunk in unpacked(packed):
                sha.update(chunk)
                out.write(chunk)
        except Damaged:
            raise Damaged(f"{plan.key} cannot be decompressed: it was not bought; restore the object.") from None
    if sha.hexdigest() != plan.body_sha256:
        raise Damaged(f"{plan.key} is not what was packed: it was not bought; restore the object.")
