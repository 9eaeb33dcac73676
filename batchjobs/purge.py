"""Purging: a job's texts go, at the provider, in the store and in DuckDB; ids, counts, money and hashes stay.

    redact → purging ─durable─► forget at the provider → delete from the store → DuckDB anew → purged
             the tables without texts count from here on; what follows only deletes, and can be repeated

An interrupted purge is finished by the same command; until then every other command already works on what will be left.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from batchjobs.desk import Desk
from batchjobs.errors import Unreachable, UsageError
from batchjobs.jobs import JOB_LEDGER, Job, load_job, purged_sentence
from batchjobs.project import catch_up, open_results, publish
from batchjobs.shards import Phase, Shard
from batchjobs.submit import rejects_path
from providers.contract import Unavailable
from storage.content import file_sha8
from storage.contract import ObjectStore
from storage.layout import job_prefix, ledgers_prefix, plan_key, redacted_key
from storage.ledger import Record, read_ledgers
from storage.redaction import redact

# Deleted in the reverse of the order in which a job writes them, so that nothing ever points at what is not there.
_FOLDERS = ("carried", "rejects", "shards", "raw", "strays", "outcomes")


@dataclass(frozen=True, slots=True)
class Holdings:
    """What a purge would remove, for the person who is asked."""

    job: Job
    objects: int
    batches: int
    lent: int  # items of other jobs that live on this job's answers
    borrowed: list[str]  # other jobs that hold answers to this one's items


@dataclass(slots=True)
class Purged:
    """What a purge removed, and sentences about what it could not."""

    objects: int = 0
    batches: int = 0
    troubles: list[str] = field(default_factory=list)


def survey(desk: Desk, job_id: str) -> Holdings:
    """Look, change nothing. The caller holds the desk. Raises UsageError for a job that is not done."""
    job = load_job(desk.store, job_id)
    _require_done(job)
    with open_results(desk) as results:
        catch_up(desk, results)
        lent, borrowed = results.lent(job_id), results.borrowed(job_id)
    batches = len(_bought(desk.store, job))
    return Holdings(job, len(texts_left(desk.store, job)), batches, lent, borrowed)


def purge(desk: Desk, job_id: str, local_only: bool = False) -> Purged:
    """Remove a job's texts; repeated, it finishes what was left. The caller holds the desk.

    `local_only` leaves alone what the provider keeps. Raises UsageError for a job that is not done, Damaged for one
    whose tables cannot be read, Unreachable when the provider refuses the account.
    """
    job = load_job(desk.store, job_id)
    _require_done(job)
    replaced = dict(_redacted(desk, job))
    if replaced or job.tombstone is None:
        _note(desk, job, "purging", {"replaced": replaced})
    job, done = load_job(desk.store, job_id), Purged()
    if not local_only:
        _forget(desk, job, done)
    for key in texts_left(desk.store, job):
        desk.store.delete(key)
        done.objects += 1
    rejects_path(desk, job.id).unlink(missing_ok=True)
    with open_results(desk) as results:
        results.start_anew()
        told = catch_up(desk, results)
        publish(desk, results)
    _finish(desk, load_job(desk.store, job_id), done, at_provider=not local_only)
    done.troubles += told
    return done


def _finish(desk: Desk, job: Job, done: Purged, *, at_provider: bool) -> None:
    """The tombstone, once nothing is left; not written twice for the same."""
    tombstone = job.tombstone
    if done.troubles or tombstone is None:
        return
    at_provider = at_provider or tombstone.at_provider
    if tombstone.ended_at is None or tombstone.at_provider != at_provider:
        data = {"objects": done.objects, "batches": done.batches, "at_provider": at_provider}
        _note(desk, job, "purged", data)


def _note(desk: Desk, job: Job, event: str, data: Mapping[str, object]) -> None:
    if desk.append(job.id, JOB_LEDGER, job.number, event, data) is None:
        raise Unreachable(f"Job {job.id} was changed by another process meanwhile: run the same command again.")


def _require_done(job: Job) -> None:
    """Nothing of it may be under way, and nobody may be waiting for it, but for a person who cancelled."""
    busy = [shard.plan.id for shard in job.shards if shard.phase is not Phase.settled or job.retry_due(shard)]
    if busy:
        raise UsageError(
            f"Job {job.id} is {job.state}: shard {busy[0]} is not done. Wait for it, or `batchjobs cancel {job.id}` "
            "and poll until it has ended; nothing was removed."
        )
    if job.in_flight and not job.cancelled:
        raise UsageError(
            f"Job {job.id} waits for {job.in_flight} answers that other jobs are buying: nothing was removed; "
            f"purge it when it is finished, or `batchjobs cancel {job.id}` first."
        )


def require_texts(job: Job) -> None:
    """Raises UsageError for a job whose requests were purged."""
    if job.tombstone is not None:
        raise UsageError(f"{purged_sentence(job)} Submit the items again to buy them anew.")


def is_purged(job: Job, shard: Shard) -> bool:
    """Whether a shard's texts are gone, or are going."""
    return job.tombstone is not None and shard.plan.requests_key in job.tombstone.replaced.values()


def texts_left(store: ObjectStore, job: Job) -> list[str]:
    """Every object of the job but its plan, its ledgers and its tables without texts; the last written come first."""
    kept = set(job.tombstone.replaced.values()) if job.tombstone else set()
    prefix, textless = job_prefix(job.id), (ledgers_prefix(job.id), plan_key(job.id).removesuffix("json"))
    found = [key for key in store.keys(prefix) if key not in kept and not key.startswith(textless)]
    return sorted(found, key=lambda key: (_place(key[len(prefix) :]), key), reverse=True)


def _place(name: str) -> int:
    folder = name.partition("/")[0].partition(".")[0]
    return _FOLDERS.index(folder) if folder in _FOLDERS else -1


def _tables(job: Job) -> Iterator[tuple[str, str]]:
    """Kind and key of every table with texts that is also needed for counts and money."""
    for shard in job.shards:
        yield "requests", shard.plan.requests_key
        yield "outcomes", shard.settlement["outcomes_key"]
    for kind, key in (("carried", job.plan.carried_key), ("rejects", job.plan.rejects_key)):
        if key is not None:
            yield kind, key


def _redacted(desk: Desk, job: Job) -> Iterator[tuple[str, str]]:
    """Keep a table without texts beside every one that has them; the old and the new key."""
    done = set(job.tombstone.replaced.values()) if job.tombstone else set()
    for kind, key in _tables(job):
        if key not in done:
            with desk.spool() as spool:
                yield key, _keep_redacted(desk, kind, key, spool / kind)


def _keep_redacted(desk: Desk, kind: str, key: str, path: Path) -> str:
    with desk.intact(key) as table:
        redact(kind, table, path)
    new = redacted_key(key, file_sha8(path))
    desk.store.create_from(new, path)
    return new


def _forget(desk: Desk, job: Job, done: Purged) -> None:
    """Ask the provider to delete every batch and upload; what fails in passing is told and tried again next time."""
    batches = _bought(desk.store, job)
    if not batches:
        return
    advice = "Fix it and run the same command again, or pass --local-only to leave the provider's copies to it."
    try:
        provider = desk.provider_of(job.plan)
        for ref, staged in batches:
            try:
                provider.forget(ref, staged)
                done.batches += 1
            except Unavailable as error:
                if error.kind == "blocked":
                    raise
                done.troubles.append(f"{error} Run `batchjobs purge {job.id}` again.")
    except (Unavailable, Unreachable) as error:
        raise Unreachable(f"{error} {advice}", passing=False) from None


def _bought(store: ObjectStore, job: Job) -> list[tuple[str, str]]:
    """Batch and upload of every purchase and every try at one, but not of batches that turned out not to be ours."""
    ledgers = read_ledgers(store, job.id)
    pairs = [pair for shard in job.shards for pair in purchases(ledgers.get(shard.plan.id, ()))]
    return list(dict.fromkeys(pairs))


def purchases(records: Sequence[Record]) -> list[tuple[str, str]]:
    """Batch id and staged handle of every purchase of a shard; "" for what there is none of. Pure."""
    pairs: list[tuple[str, str]] = []
    staged = ""
    for record in records:
        if record.event == "intent":
            staged = record.data.get("staged", "")
            pairs.append(("", staged))
        elif record.event == "sent":
            pairs.append((record.data["batch_id"], staged))
        elif record.event == "disowned":
            pairs = [pair for pair in pairs if pair[0] != record.data["batch_id"]]
    bought = {staged for ref, staged in pairs if ref}
    return [(ref, staged) for ref, staged in pairs if ref or (staged and staged not in bought)]
