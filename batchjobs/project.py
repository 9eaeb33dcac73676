"""Projecting: bring the DuckDB results to the state of the store. Live merge and rebuild are this one function."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from batchjobs.desk import Desk
from batchjobs.jobs import JOB_LEDGER, Job, load_all
from batchjobs.shards import Phase, Shard
from batchjobs.views import load_view
from storage.contract import Conflict, Corrupt, Damaged, Missing
from storage.layout import ledger_prefix, plan_key
from storage.results import PURGED, JobRow, Results, ShardRow, move_aside

T = TypeVar("T")


@contextmanager
def open_results(desk: Desk) -> Iterator[Results]:
    """The pipeline's private database. Only inside `desk.exclusive`. Raises Corrupt once it was set aside."""
    try:
        with Results(desk.database) as results:
            if results.set_aside is not None:
                desk.say(f"the results database was not readable and lies in {results.set_aside}; it is made anew")
            yield results
    except Corrupt as error:
        aside = move_aside(desk.database)
        raise Corrupt(f"{error} and lies in {aside} now: it is made anew by the same command") from None


def with_results(desk: Desk, work: Callable[[Results], T]) -> T:
    """What `work` makes of the results; done once more on a new file where the old one turns out to be damaged."""
    try:
        with open_results(desk) as results:
            return work(results)
    except Corrupt as error:
        desk.say(str(error))
    with open_results(desk) as results:
        return work(results)


def catch_up(desk: Desk, results: Results) -> list[str]:
    """Load everything the store has and the database has not, one transaction per shard. Returns sentences of trouble.

    Also notes in the ledgers how the items fared whose answers were bought by other jobs.
    """
    jobs, troubles = load_all(desk.store)
    if any(holds_texts_of(results, job) for job in jobs):
        results.start_anew()
        desk.dirty = True
    for job in jobs:
        try:
            troubles += _load(desk, results, job)
        except (Damaged, Missing) as error:
            troubles.append(f"Job {job.id} is not wholly in the results: {error}")
    for job in jobs:  # only now is every answer in that a job may have been waiting for
        _note_carried(desk, results, job)
    return troubles


def holds_texts_of(results: Results, job: Job) -> bool:
    """Whether a purged job was loaded before its purge: from another machine, or by one that was interrupted."""
    return job.tombstone is not None and not results.loaded_objects(job.id) <= object_keys(job)


def object_keys(job: Job) -> set[str]:
    """The objects whose rows the results hold, by the keys that `loaded` answers to."""
    keys = {_own_rows(job), *(shard.plan.requests_key for shard in job.shards)}
    return keys | {shard.settlement["outcomes_key"] for shard in job.shards if shard.phase is Phase.settled}


def _own_rows(job: Job) -> str:
    """What the job's own rows came from: its plan, or the ledger whose tombstone took texts out of them."""
    return plan_key(job.id) if job.tombstone is None else ledger_prefix(job.id, JOB_LEDGER)


def publish(desk: Desk, results: Results) -> None:
    """Give the analysts the present state, in one atomic step."""
    desk.env.fault("publish.before")
    results.publish(desk.results_path)
    desk.dirty = False
    desk.env.fault("publish.after")


def _load(desk: Desk, results: Results, job: Job) -> list[str]:
    key = _own_rows(job)
    if results.loaded(key):
        results.add_job(job_row(job), None, None, key)
    else:
        results.define_task_view(load_view(job.plan.task.view))
        with _local(desk, job.plan.carried_key) as carried, _local(desk, job.plan.rejects_key) as rejects:
            results.add_job(job_row(job), carried, rejects, key)
        desk.dirty = True
    rows = {shard.plan.id: _shard_row(job, shard) for shard in job.shards}
    troubles = []
    for shard in job.shards:
        try:
            _load_shard(desk, results, job, shard, rows[shard.plan.id])
        except (Conflict, Damaged, Missing) as error:
            troubles.append(f"Job {job.id} shard {shard.plan.id} is not in the results: {error}")
            rows[shard.plan.id] = replace(rows[shard.plan.id], open=True)  # its items are not lost, only not known
    results.set_shards(list(rows.values()))
    return troubles


def _load_shard(desk: Desk, results: Results, job: Job, shard: Shard, row: ShardRow) -> None:
    if not results.loaded(shard.plan.requests_key):
        with desk.intact(shard.plan.requests_key) as requests:
            results.add_shard(row, requests, shard.plan.requests_key)
    outcomes = shard.settlement.get("outcomes_key")
    for old in shard.replaced:
        if old != outcomes and results.loaded(old):
            results.forget_outcomes(job.id, shard.plan.id, old)
    if outcomes and not results.loaded(outcomes):
        _merge(desk, results, job, shard, outcomes)


def _merge(desk: Desk, results: Results, job: Job, shard: Shard, key: str) -> None:
    desk.env.fault("merge.before")
    desk.dirty = True
    with desk.intact(key) as outcomes, _local(desk, shard.settlement.get("strays_key")) as strays:
        results.add_outcomes(job.id, shard.plan.id, key, outcomes, strays)
    desk.env.fault("merge.after")


@contextmanager
def _local(desk: Desk, key: str | None) -> Iterator[Path | None]:
    if key is None:
        yield None
        return
    with desk.intact(key) as path:
        yield path


def _note_carried(desk: Desk, results: Results, job: Job) -> None:
    """Write down how the carried items stand, once none of them waits any more, and whenever that changes."""
    if not job.plan.carried:
        return
    counts = results.carried(job.id)
    succeeded = counts.succeeded - job.plan.reused
    known = (job.carried_succeeded, job.carried_failed)
    if counts.waiting == 0 and (succeeded, counts.failed) != known:
        data = {"succeeded": succeeded, "failed": counts.failed}
        desk.append(job.id, JOB_LEDGER, job.number, "carried", data)


def job_row(job: Job) -> JobRow:
    """What the results say of a job."""
    plan = job.plan
    return JobRow(
        job_id=plan.job,
        created_at=plan.created_at,
        task=plan.task.name,
        task_version=plan.task.version,
        provider=plan.provider,
        model=plan.model,
        endpoint=plan.endpoint,
        source=plan.source,
        input_sha256=plan.input_sha256,
        lines=plan.lines,
        items=plan.items,
        rejected=plan.rejected,
        duplicates=plan.duplicates,
        reused=plan.reused,
        requests=plan.requests,
        estimated_cost_usd=plan.estimated_cost,
        ceiling_cost_usd=plan.ceiling_cost,
        state=job.state if job.tombstone is None else PURGED,
    )


def _shard_row(job: Job, shard: Shard) -> ShardRow:
    settled = shard.phase is Phase.settled
    return ShardRow(
        job_id=job.id,
        shard_id=shard.plan.id,
        parent_shard=shard.plan.parent,
        attempt=shard.plan.attempt,
        requests=shard.plan.requests,
        bytes=shard.plan.bytes,
        state=shard.phase.value,
        open=not settled or job.retry_due(shard),
        batch_id=shard.batch_id or None,
        estimated_cost_usd=shard.plan.estimated_cost,
        cost_usd=shard.cost if settled else None,
        sent_at=shard.sent_at,
        ended_at=shard.ended_at,
        settled_at=shard.settled_at,
        detail=shard.reason or None,
    )
