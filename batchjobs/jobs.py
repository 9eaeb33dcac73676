"""A job as the store tells it: its plan and its ledgers, folded. Nothing here asks DuckDB or a provider."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from itertools import groupby

from msgspec import structs

from batchjobs.errors import UsageError
from batchjobs.plan import Plan, ShardPlan, load_plan
from batchjobs.shards import Phase, Shard, fold
from storage.contract import BadName, Damaged, Missing, ObjectStore
from storage.layout import jobs_prefix, ledgers_prefix, plan_key
from storage.ledger import Ledger, Record, decode_ledgers, read_ledgers

JOB_LEDGER = "job"


@dataclass(frozen=True, slots=True)
class Tombstone:
    """A purge: `replaced` says which table without texts stands for which that had them (the keys of both).

    `ended_at` is None where it was interrupted; `at_provider` says whether the provider's copies were deleted too.
    """

    since: datetime
    replaced: Mapping[str, str]
    ended_at: datetime | None = None
    at_provider: bool = False


@dataclass(frozen=True, slots=True)
class Job:
    """A plan, the present state of all its shards (retries included), and what was decided about the job as a whole."""

    plan: Plan
    shards: tuple[Shard, ...]
    number: int = 0  # last record of the job's own ledger
    cancelled: bool = False
    carried_succeeded: int = 0
    carried_failed: int = 0
    tombstone: Tombstone | None = None

    @property
    def id(self) -> str:
        return self.plan.job

    @property
    def succeeded(self) -> int:
        own = sum(shard.counts.get("succeeded", 0) for shard in self.shards)
        return own + self.plan.reused + self.carried_succeeded

    @property
    def failed(self) -> int:
        return sum(self.dead(shard) for shard in self.shards) + self.carried_failed

    def dead(self, shard: Shard) -> int:
        """Requests of a shard that ended without an answer and were not handed on to another attempt."""
        if shard.phase is not Phase.settled or self.retry_due(shard):
            return 0
        return shard.plan.requests - shard.counts.get("succeeded", 0) - shard.handed_on

    def retry_due(self, shard: Shard) -> bool:
        return not self.cancelled and shard.retry_due(self.plan.max_attempts)

    @property
    def in_flight(self) -> int:
        return self.plan.items - self.succeeded - self.failed

    @property
    def finished(self) -> bool:
        return self.in_flight == 0 and all(shard.phase is Phase.settled for shard in self.shards)

    @property
    def cost(self) -> Decimal:
        return sum((shard.cost for shard in self.shards), Decimal(0))

    @property
    def sync_cost(self) -> Decimal:
        return sum((shard.sync_cost for shard in self.shards), Decimal(0))

    @property
    def committed(self) -> Decimal:
        """The most that is spent already: booked costs, and the ceiling of what is sent, unknown, or gone unbooked."""
        unbooked = (shard for shard in self.shards if shard.open or shard.gone)
        return self.cost + sum((shard.plan.ceiling_cost for shard in unbooked), Decimal(0))

    @property
    def state(self) -> str:
        """One word for people and machines."""
        if self.tombstone is not None:
            return "purged" if self.tombstone.ended_at else "purging"
        if self.finished:
            return "cancelled" if self.cancelled else "failed" if not self.succeeded and self.failed else "finished"
        if any(shard.phase is Phase.unknown for shard in self.shards):
            return "unknown purchase"
        if any(shard.open for shard in self.shards):
            return "in flight"
        return "cancelling" if self.cancelled else "waiting"


def job_ids(store: ObjectStore) -> list[str]:
    """Every accepted job, oldest first (ids begin with the day)."""
    return [job for job in store.children(jobs_prefix()) if _accepted(store, job)]


def _accepted(store: ObjectStore, job: str) -> bool:
    try:
        key = plan_key(job)
    except BadName:  # something of somebody else's among our folders
        return False
    return next(iter(store.keys(key)), None) is not None


def read_plan(store: ObjectStore, job: str) -> Plan:
    """Raises Missing, Damaged."""
    return _plan_of(job, store.read(plan_key(job)))


def _plan_of(job: str, data: bytes) -> Plan:
    key = plan_key(job)
    plan = load_plan(key, data)
    if plan.job != job:
        raise Damaged(f"{key} is the plan of job {plan.job}: delete this copy, or restore what was there.")
    return plan


def load_job(store: ObjectStore, job: str) -> Job:
    """Raises UsageError when there is no such job, Damaged when its records contradict each other."""
    try:
        plan = read_plan(store, job)
    except Missing:
        raise UsageError(f"There is no job {job} in {store.url}: `batchjobs status` lists the jobs.") from None
    return assemble(plan, read_ledgers(store, job))


def load_all(store: ObjectStore) -> tuple[list[Job], list[str]]:
    """Every job, oldest first, and a sentence for each that cannot be read: one damaged job never stops the others.

    With one listing for all: on S3, asking for each of the jobs of a year would take a second.
    """
    jobs, troubles = [], []
    for job, keys in groupby(store.keys(jobs_prefix()), lambda key: key[len(jobs_prefix()) :].partition("/")[0]):
        try:
            jobs += _listed(store, job, list(keys))
        except (Damaged, Missing) as error:
            troubles.append(f"Job {job} cannot be read: {error}")
    return sorted(jobs, key=lambda job: job.id), troubles


def _listed(store: ObjectStore, job: str, keys: list[str]) -> list[Job]:
    """The job that has these keys, if it was accepted. Raises Damaged, Missing."""
    try:
        plan, ledgers = plan_key(job), ledgers_prefix(job)
    except BadName:  # something of somebody else's among our folders
        return []
    if plan not in keys:
        return []
    wanted = [plan, *(key for key in keys if key.startswith(ledgers))]
    found = store.read_all(wanted)
    return [assemble(_plan_of(job, found[0]), decode_ledgers(job, wanted[1:], found[1:]))]


def reread(store: ObjectStore, job: Job, shard: Shard) -> Job:
    """The job with one shard's present state, for the price of one ledger."""
    now = fold(shard.plan, Ledger(store, job.id, shard.plan.id).records())
    known = {s.plan.id for s in job.shards}
    fresh = tuple(Shard(child) for child in now.children if child.id not in known)
    return replace(job, shards=tuple(now if s.plan.id == shard.plan.id else s for s in job.shards) + fresh)


def assemble(plan: Plan, ledgers: Mapping[str, Sequence[Record]]) -> Job:
    """Fold a plan and its ledgers into a job; shards of later attempts are found through their parents."""
    shards: list[Shard] = []
    queue: list[ShardPlan] = list(plan.shards)
    seen: set[str] = set()
    for shard_plan in queue:
        if shard_plan.id in seen:
            raise Damaged(f"Job {plan.job}: shard {shard_plan.id} was planned twice.")
        seen.add(shard_plan.id)
        shard = fold(shard_plan, ledgers.get(shard_plan.id, ()))
        shards.append(shard)
        if shard.handed_on > shard.plan.requests - shard.counts.get("succeeded", 0):
            raise Damaged(f"Job {plan.job}: shard {shard.plan.id} handed on more requests than it had left.")
        queue.extend(shard.children)
    return _with_job_records(Job(plan, tuple(shards)), ledgers.get(JOB_LEDGER, ()))


def _with_job_records(job: Job, records: Sequence[Record]) -> Job:
    cancelled, succeeded, failed = False, 0, 0
    tombstone: Tombstone | None = None
    for record in records:
        if record.event == "cancelled":
            cancelled = True
        elif record.event == "carried":
            succeeded, failed = record.data["succeeded"], record.data["failed"]
        elif record.event in ("purging", "purged"):
            tombstone = _buried(tombstone, record)
    job = replace(job, number=len(records), cancelled=cancelled, carried_succeeded=succeeded, carried_failed=failed)
    return job if tombstone is None else _without_texts(replace(job, tombstone=tombstone))


def is_buried(store: ObjectStore, job: str) -> bool:
    """Whether a job was purged, or began to be, for the price of one small ledger. Raises Damaged."""
    return any(record.event == "purging" for record in Ledger(store, job, JOB_LEDGER).records())


def purged_sentence(job: Job) -> str:
    """When it was purged and what that means, for people."""
    if job.tombstone is None:
        return ""
    since = f"{job.tombstone.since:%Y-%m-%d %H:%M} UTC"
    if job.tombstone.ended_at is None:
        return f"Job {job.id} is being purged since {since}: `batchjobs purge {job.id}` finishes that."
    kept = "" if job.tombstone.at_provider else " The provider's copies were not deleted."
    return f"Job {job.id} was purged on {since}: its prompts, answers and messages are gone.{kept}"


def _buried(tombstone: Tombstone | None, record: Record) -> Tombstone:
    tombstone = tombstone or Tombstone(record.at, {})
    if record.event == "purging":
        return replace(tombstone, replaced={**tombstone.replaced, **record.data["replaced"]}, ended_at=None)
    return replace(tombstone, ended_at=record.at, at_provider=record.data["at_provider"])


def _without_texts(job: Job) -> Job:
    """The job as its tombstone leaves it: tables without texts in the place of those that had them, no raw answers."""
    new = job.tombstone.replaced if job.tombstone else {}
    plan = structs.replace(
        job.plan,
        shards=tuple(_moved(shard, new) for shard in job.plan.shards),
        carried_key=new.get(job.plan.carried_key or "", job.plan.carried_key),
        rejects_key=new.get(job.plan.rejects_key or "", job.plan.rejects_key),
    )
    shards = (_buried_shard(shard, new) if shard.plan.requests_key in new else shard for shard in job.shards)
    return replace(job, plan=plan, shards=tuple(shards))


def _buried_shard(shard: Shard, new: Mapping[str, str]) -> Shard:
    settlement = {name: value for name, value in shard.settlement.items() if name != "strays_key"}
    if "outcomes_key" in settlement:
        settlement["outcomes_key"] = new.get(settlement["outcomes_key"], settlement["outcomes_key"])
    children = tuple(_moved(child, new) for child in shard.children)
    return structs.replace(shard, plan=_moved(shard.plan, new), children=children, files=(), settlement=settlement)


def _moved(plan: ShardPlan, new: Mapping[str, str]) -> ShardPlan:
    return structs.replace(plan, requests_key=new.get(plan.requests_key, plan.requests_key))


def find_job(store: ObjectStore, wanted: str | None) -> str:
    """A job id from what a person typed: an id, a beginning or end that fits one job only, or nothing: the newest."""
    if wanted is None:
        ids = job_ids(store)
        if not ids:
            raise UsageError(f"There is no job in {store.url} yet: `batchjobs submit INPUT` makes one.")
        return max(ids, key=lambda job: (read_plan(store, job).created_at, job))
    names = list(store.children(jobs_prefix()))
    alike = [wanted] if wanted in names else [one for one in names if one.startswith(wanted) or one.endswith(wanted)]
    matches = [job for job in alike if _accepted(store, job)]
    if len(matches) != 1:
        fact = "no job" if not matches else f"{len(matches)} jobs ({', '.join(matches[:5])})"
        raise UsageError(f"{wanted!r} names {fact} in {store.url}: `batchjobs status` lists the jobs.")
    return matches[0]
