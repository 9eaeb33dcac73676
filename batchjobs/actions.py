"""What each command does once its arguments are read: call the verbs, show the outcome, return the exit code."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import RenderableType

from batchjobs import catalogue
from batchjobs import collect as collecting
from batchjobs import doctor as doctoring
from batchjobs import purge as purging
from batchjobs import report as reporting
from batchjobs import submit as submitting
from batchjobs import verify as verifying
from batchjobs.desk import Desk
from batchjobs.errors import BatchJobsError, Unreachable, UsageError
from batchjobs.jobs import Job, find_job, job_ids, load_job, purged_sentence
from batchjobs.looks import one
from batchjobs.plan import Plan
from batchjobs.project import catch_up, open_results, publish, with_results
from batchjobs.proof import proof_document, proof_lines
from batchjobs.retry import plan_retry
from batchjobs.rounds import Night, one_pass, open_jobs, run_until_done
from batchjobs.screen import progress
from batchjobs.session import Session, console, show
from batchjobs.settings import deadline_at, load_settings
from storage.results import Failure, Results


def submit(session: Session, source: str, query: str | None, dry_run: bool) -> int:
    """Accept and buy; what does not fit the queue waits for `poll` or `run`."""
    plan, already = _accept(session, source, query, dry_run)
    document = reporting.plan_document(plan, already, dry_run)
    if dry_run:
        session.show(document, reporting.plan_table(plan, already, dry_run))
        return 0
    night = one_pass(session.desk, [plan.job])
    job = night.jobs[0]
    document = reporting.job_document(job, night.rounds.get(job.id)) | document | {"state": job.state}
    session.show(
        document, reporting.plan_table(plan, already, dry_run), reporting.shards_table(job, night.rounds.get(job.id))
    )
    session.tell(night.troubles)
    return reporting.EXIT_OVER_BUDGET if night.over_budget else 0


def _accept(session: Session, source: str, query: str | None, dry_run: bool = False) -> tuple[Plan, bool]:
    desk = session.desk
    order = submitting.resolve(desk.settings, source, query, desk)
    with desk.exclusive("packing"):
        made = submitting.submit(desk, order, dry_run)
        path = submitting.rejects_path(desk, made.plan.job)
        if made.plan.rejects_key and not path.exists():  # also those of a command that died once it was accepted
            submitting.write_rejects(desk, made.plan, path)
            desk.say(f"{made.plan.rejected + made.plan.duplicates} items were rejected: {path}")
    return made.plan, made.already


def run(session: Session, source: str, query: str | None) -> int:
    """Submit, then passes until done."""
    plan, already = _accept(session, source, query)
    if not session.as_json:
        session.out.print(reporting.plan_table(plan, already, dry_run=False))
    return _until_done(session, [plan.job])


def _until_done(session: Session, jobs: list[str]) -> int:
    desk = session.desk
    before = {job: load_job(desk.store, job) for job in jobs}
    deadline = deadline_at(desk.settings.deadline, desk.env.now())
    with progress(session.out, desk.env.now) as show:
        night = run_until_done(desk, jobs, deadline, show)
    documents, parts = [], list[RenderableType]()
    for job in night.jobs:
        now = reporting.this_run(before[job.id], job)
        documents.append(reporting.job_document(job, night.rounds.get(job.id)) | now | {"stopped": night.stopped})
        parts += _ending(job, night, now)
    session.show(one(documents), *parts)
    session.tell(night.troubles)
    return reporting.exit_code(night.jobs, night.over_budget)


def _ending(job: Job, night: Night, now: dict[str, Any]) -> list[RenderableType]:
    parts: list[RenderableType] = [reporting.job_table(job, now)]
    if not job.finished:
        parts.append(reporting.shards_table(job, night.rounds.get(job.id)))
        parts.append(f"Not finished: {night.stopped}. The same command goes on from here.")
    if job.failed:
        parts.append(f"Look at the failed items:  batchjobs failures {job.id}")
    return parts


def poll(session: Session, wanted: str | None, watch: bool) -> int:
    """One pass over a job or over all open ones; with `watch` until they have ended."""
    jobs = _chosen(session.desk, wanted)
    if watch and jobs:
        return _until_done(session, jobs)
    night = one_pass(session.desk, jobs)
    return _show_night(session, night)


def collect(session: Session, wanted: str | None) -> int:
    """A pass that sends nothing; for a job that was named, also what is damaged of it is made again."""
    desk = session.desk
    jobs, troubles = _chosen(desk, wanted), list[str]()
    if wanted is not None:
        with desk.exclusive("looking for damage"):
            troubles = collecting.mend_job(desk, load_job(desk.store, jobs[0]))
    night = one_pass(desk, jobs, send=False)
    night.troubles = troubles + night.troubles
    return _show_night(session, night)


def _chosen(desk: Desk, wanted: str | None) -> list[str]:
    return [find_job(desk.store, wanted)] if wanted else [job.id for job in open_jobs(desk)]


def _show_night(session: Session, night: Night) -> int:
    documents = [reporting.job_document(job, night.rounds.get(job.id)) for job in night.jobs]
    tables: list[RenderableType] = [reporting.shards_table(job, night.rounds.get(job.id)) for job in night.jobs]
    session.show(one(documents), *(tables or ["Nothing is open: no job waits for an answer."]))
    session.tell(night.troubles)
    return reporting.exit_code(night.jobs, night.over_budget)


def _failures(desk: Desk, job: Job) -> list[Failure]:
    def read(results: Results) -> list[Failure]:
        catch_up(desk, results)
        return results.failures(job.id)

    with desk.exclusive("reading failures"):
        return with_results(desk, read)


def failures(session: Session, wanted: str) -> int:
    """Every dead letter of a job."""
    job = load_job(session.desk.store, find_job(session.desk.store, wanted))
    dead = _failures(session.desk, job)
    document = {
        "job_id": job.id,
        "failed": len(dead),
        "rejected": job.plan.rejected + job.plan.duplicates,
        "failures": [reporting.failure_document(failure) for failure in dead],
    }
    table = reporting.failures_table(job, dead)
    session.show(document, table if dead else f"{job.id}: no failed items.")
    if dead and job.tombstone is None:
        session.tell([f"Buy them once more:  batchjobs retry {job.id}"])
    if job.tombstone is not None:
        session.tell([purged_sentence(job)])
    return reporting.EXIT_SOME_FAILED if dead else 0


def retry(session: Session, wanted: str, items: Sequence[str]) -> int:
    """Plan one more attempt for the failed items, and send it."""
    desk = session.desk
    job_id = find_job(desk.store, wanted)
    purging.require_texts(load_job(desk.store, job_id))
    dead = _failures(desk, load_job(desk.store, job_id))
    unknown = sorted(set(items) - {failure.item_id for failure in dead})
    if unknown:
        raise UsageError(f"Job {job_id} has no failed item {unknown[0]!r}: `batchjobs failures {job_id}` lists them.")
    keys = {failure.request_key for failure in dead if not items or failure.item_id in items}
    with desk.exclusive("planning a retry"):
        count = _plan_retries(desk, load_job(desk.store, job_id), keys)
    if count == 0:
        _say_who_can_retry(job_id, dead)
        session.show({"job_id": job_id, "retried": 0}, f"{job_id}: nothing to retry.")
        return 0
    night = one_pass(desk, [job_id])
    job = night.jobs[0]
    document = reporting.job_document(job, night.rounds.get(job.id)) | {"retried": count}
    session.show(
        document, f"{count:,} requests are bought once more.", reporting.shards_table(job, night.rounds.get(job_id))
    )
    session.tell(night.troubles)
    return reporting.exit_code([job], night.over_budget)


def _say_who_can_retry(job_id: str, dead: Sequence[Failure]) -> None:
    """Items that waited for another job's purchase are retried where they were bought. Raises UsageError."""
    buyers = sorted({failure.bought_by for failure in dead if failure.bought_by and failure.bought_by != job_id})
    if buyers:
        raise UsageError(f"The failed items of job {job_id} were bought by {buyers[0]}: `batchjobs retry {buyers[0]}`.")


def _plan_retries(desk: Desk, job: Job, keys: set[str]) -> int:
    """Plan the dead requests of every shard anew; in a cancelled job these and no others are sent."""
    count = 0
    for shard in job.shards:
        if job.dead(shard):
            count += plan_retry(desk, job, shard, keys)
            job = load_job(desk.store, job.id)
    return count


def cancel(session: Session, wanted: str) -> int:
    """Stop a job; its waiting shards settle as cancelled at once."""
    desk = session.desk
    job_id = find_job(desk.store, wanted)
    with desk.exclusive("cancelling"):
        sentences = list(collecting.cancel(desk, load_job(desk.store, job_id)))
    night = one_pass(desk, [job_id])
    job = night.jobs[0]
    seen = night.rounds.get(job_id)
    session.show(reporting.job_document(job, seen), reporting.shards_table(job, seen))
    session.tell(sentences + night.troubles)
    return reporting.exit_code([job])


def purge(session: Session, wanted: str, yes: bool, local_only: bool) -> int:
    """Say what will be removed, ask, remove it."""
    desk = session.desk
    job_id = find_job(desk.store, wanted)
    with desk.exclusive("looking at what to purge"):
        holdings = purging.survey(desk, job_id)
    if not yes and not _agreed(session, reporting.purge_lines(holdings, local_only), job_id):
        session.show({"job_id": job_id, "state": holdings.job.state}, "Nothing was removed.")
        return 0
    with desk.exclusive("purging"):
        done = purging.purge(desk, job_id, local_only)
    job = load_job(desk.store, job_id)
    document = reporting.job_document(job) | {"objects_removed": done.objects, "batches_forgotten": done.batches}
    words = f"{done.objects:,} objects removed, {done.batches:,} batches deleted at the provider."
    session.show(document, f"{purged_sentence(job)} {words}")
    session.tell(done.troubles)
    return 0 if job.tombstone and job.tombstone.ended_at else Unreachable.exit_code


def _agreed(session: Session, lines: Sequence[str], job_id: str) -> bool:
    """Raises UsageError where nobody can be asked."""
    session.tell(lines)
    if session.as_json or not sys.stdin.isatty():
        raise UsageError(f"Nothing was removed: pass --yes to purge {job_id} without being asked.")
    return click.confirm(f"Remove this of {job_id} for good?", err=True)


def rebuild(session: Session) -> int:
    """Delete the projection, load everything again, publish."""
    desk = session.desk
    with desk.exclusive("rebuilding"):
        for path in (desk.database, desk.database.with_name(desk.database.name + ".wal")):
            path.unlink(missing_ok=True)
        with open_results(desk) as results:
            troubles = catch_up(desk, results)
            publish(desk, results)
    jobs = [load_job(desk.store, job) for job in job_ids(desk.store)]
    document = {"state": "rebuilt", "results": str(desk.results_path), "jobs": [job.id for job in jobs]}
    session.show(document, f"{desk.results_path}: rebuilt from {len(jobs)} jobs.")
    session.tell(troubles)
    return BatchJobsError.exit_code if troubles else 0


def verify(session: Session, wanted: str | None) -> int:
    """Prove the promises for one job or all, or name what does not hold."""
    name = None if wanted is None else find_job(session.desk.store, wanted)
    proof = verifying.verify(session.desk, name)
    session.show(proof_document(proof, name))
    if not session.as_json:
        session.tell(proof_lines(proof))
    return BatchJobsError.exit_code if proof.violations else 0


def doctor(session: Session) -> int:
    """Check everything a night rests on."""
    checks = doctoring.examine(session.desk)
    session.show(doctoring.document(checks))
    if not session.as_json:
        session.tell(doctoring.lines(checks))
    return doctoring.exit_code(checks)


def list_providers(flags: dict[str, Any], config: Path | None, *, as_json: bool) -> int:
    """The table of providers; neither a store nor a key is needed."""
    switches = load_settings(flags, config).compatible
    show(console(as_json), as_json, catalogue.document(switches), *catalogue.tables(switches))
    return 0
