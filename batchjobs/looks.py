"""The commands that only look: `status` and `report`, from the ledgers alone. Imports neither DuckDB nor an SDK."""

from typing import Any

from batchjobs import report as reporting
from batchjobs.errors import BatchJobsError
from batchjobs.jobs import find_job, load_all, load_job, purged_sentence
from batchjobs.session import Session


def one(documents: list[dict[str, Any]]) -> dict[str, Any]:
    """One JSON document: the job's own, or all of them under `jobs`."""
    return documents[0] if len(documents) == 1 else {"jobs": documents}


def status(session: Session, wanted: str | None) -> int:
    """Read the ledgers and say what they say."""
    store = session.desk.store
    if wanted is not None:
        job = load_job(store, find_job(store, wanted))
        notes = [purged_sentence(job)] if job.tombstone else []
        session.show_job(job, reporting.job_table(job), reporting.shards_table(job), *notes)
        return reporting.exit_code([job])
    jobs, troubles = load_all(store)
    empty = "No job yet: `batchjobs submit INPUT` makes one."
    documents = [reporting.job_document(job) for job in jobs] if session.as_json else []
    session.show(one(documents), reporting.jobs_table(jobs) if jobs else empty)
    session.tell(troubles)
    return BatchJobsError.exit_code if troubles else reporting.exit_code(jobs)


def report(session: Session, wanted: str) -> int:
    """The job's table, and its outcomes over all attempts."""
    job = load_job(session.desk.store, find_job(session.desk.store, wanted))
    document = reporting.job_document(job)
    notes = [purged_sentence(job)] if job.tombstone else []
    outcomes = ", ".join(f"{count:,} {outcome}" for outcome, count in sorted(document["outcomes"].items()))
    session.show(document, reporting.job_table(job), f"  outcomes of all attempts: {outcomes or 'none yet'}", *notes)
    return reporting.exit_code([job])
