"""What lies in a job's folder and no record names: left by an interrupted command, or a sign that records were lost."""

from collections.abc import Iterator, Mapping, Sequence

from batchjobs.desk import Desk
from batchjobs.jobs import Job
from batchjobs.shards import Phase, Shard
from storage.contract import Damaged, Missing
from storage.layout import job_prefix, ledgers_prefix, plan_key, raw_prefix
from storage.ledger import Record

UNFETCHED = (Phase.planned, Phase.unknown, Phase.sent)  # nothing can have been fetched yet


def nameless(desk: Desk, job: Job, ledgers: Mapping[str, Sequence[Record]]) -> list[str]:
    """The keys below a job that neither its plan nor a ledger record names, these apart."""
    named = set(_named(job, ledgers))
    known = (ledgers_prefix(job.id), plan_key(job.id).removesuffix("json"))  # the plan, and its drafts
    return [key for key in desk.store.keys(job_prefix(job.id)) if key not in named and not key.startswith(known)]


def drafts(desk: Desk, job: str) -> list[str]:
    """The plans of a job from before it was accepted."""
    return [key for key in desk.store.keys(plan_key(job).removesuffix("json")) if key != plan_key(job)]


def _named(job: Job, ledgers: Mapping[str, Sequence[Record]]) -> Iterator[str]:
    yield from (job.plan.carried_key or "", job.plan.rejects_key or "")
    for shard in job.shards:
        yield from (shard.plan.key, shard.plan.requests_key)
    for records in ledgers.values():
        for record in records:
            yield from (file["key"] for file in record.data.get("files", ()))
            yield from (record.data[name] for name in ("outcomes_key", "strays_key") if name in record.data)
            for pair in record.data.get("replaced", {}).items():
                yield from pair


def lost_records(job: Job, keys: Sequence[str]) -> Iterator[str]:
    """Violations: answers of a shard whose ledger does not know that there were any; it would be bought again."""
    for shard in job.shards:
        if shard.phase in UNFETCHED:
            for key in answers_of(job.id, shard, keys):
                yield f"{key} is there, and the ledger of shard {shard.plan.id} ends before anything was fetched"


def answers_of(job: str, shard: Shard, keys: Sequence[str]) -> list[str]:
    """Those of the keys that hold a provider's answers to this shard."""
    return [key for key in keys if key.startswith(raw_prefix(job, shard.plan.id))]


def damaged(desk: Desk, keys: Sequence[str]) -> Iterator[str]:
    """Violations: objects that are not what was written. An interrupted command leaves none: a key appears whole."""
    for key in keys:
        try:
            with desk.intact(key):
                pass
        except (Damaged, Missing) as error:
            yield str(error)
