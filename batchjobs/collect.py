"""Collecting: the provider's bytes into our store, then outcomes, then what to try again; each step can be repeated."""

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from batchjobs.beside import beside, one_ahead
from batchjobs.crew import crew, workers_for
from batchjobs.desk import Desk
from batchjobs.download import Copy, answered, counted, downloaded, whole
from batchjobs.errors import Unreachable, UsageError
from batchjobs.grace import still_due
from batchjobs.jobs import Job, load_job, reread
from batchjobs.judge import Judge, Judging
from batchjobs.plan import Plan
from batchjobs.retry import plan_retry
from batchjobs.settle import keep, settle, settle_again
from batchjobs.shards import Phase, Shard
from batchjobs.task_files import fingerprint, load_task
from batchjobs.tasks import Task
from providers.contract import Gone, Unavailable
from storage.contract import Damaged, Missing
from storage.layout import raw_key

DOWNLOADS_MAX = 3  # of a file that comes out shorter than the provider's own count, before it is taken as it is
ANSWER_BYTES_LIKELY = 2_000  # of the result line of a request


def collect(desk: Desk, job: Job, tokens: int | None = None) -> list[str]:
    """Fetch, settle and plan retries for every shard that is ready; returns sentences of trouble.

    While one shard is dealt with, the next one's results are on their way, and no more than those. `tokens` is the room
    of the provider's queue, if known. Raises UsageError for a task that is not here, Unreachable.
    """
    ready = [shard for shard in job.shards if shard.phase in (Phase.ended, Phase.fetched) or job.retry_due(shard)]
    if not ready:
        return []
    with _judging(desk, job, ready) as judging, desk.spool() as spool, beside(min(desk.env.threads, 1)) as begin:
        downloads = one_ahead(begin, _downloads(desk, job, ready, spool))
        return _Collector(desk, judging, downloads, spool, tokens).collect(job, ready)


@contextmanager
def _judging(desk: Desk, job: Job, ready: Sequence[Shard]) -> Iterator[Judging | UsageError]:
    """What judges answers, with workers where they are worth it, forked before any thread begins; or why nobody can."""
    try:
        judge = judge_of(desk, job)
    except UsageError as error:
        yield error
        return
    with crew(judge.judged, workers_for(sum(map(_answer_bytes, ready)))) as judging:
        yield judging


def _answer_bytes(shard: Shard) -> int:
    """How much there is to judge; a guess where it has not been fetched yet."""
    if shard.phase is Phase.ended:
        return shard.plan.requests * ANSWER_BYTES_LIKELY
    return sum(file["bytes"] for file in shard.files) if shard.phase is Phase.fetched else 0


Download = Callable[[], list[Copy]]


def _downloads(desk: Desk, job: Job, ready: Sequence[Shard], spool: Path) -> Iterator[Download]:
    for shard in filter(_to_fetch, ready):
        yield partial(downloaded, desk.provider_of(job.plan).inner, shard, spool / shard.plan.id)


def _to_fetch(shard: Shard) -> bool:
    return shard.phase is Phase.ended and shard.end.get("code") != "gone"


@dataclass(frozen=True, slots=True)
class _Collector:
    """Takes the shards of a job as far as they go; `downloads` are the first ones of those to fetch, in their order.

    Where nobody can judge answers they are fetched all the same, and nothing is bought again.
    """

    desk: Desk
    judging: Judging | UsageError
    downloads: Iterator[Download]
    spool: Path  # of the downloads
    tokens: int | None

    def collect(self, job: Job, ready: Sequence[Shard]) -> list[str]:
        troubles = []
        for shard in ready:
            download = next(self.downloads) if _to_fetch(shard) else None
            try:
                job = self._bring_forward(job, shard, download)
            except Unavailable as error:
                if error.kind == "blocked":
                    raise Unreachable(f"{error} Fix it and run the same command again.", passing=False) from None
                troubles.append(f"shard {shard.plan.id}: results not fetched yet: {error} They are asked for again.")
            except (Damaged, Missing) as error:
                troubles.append(f"shard {shard.plan.id}: {error}")
            finally:
                shutil.rmtree(self.spool / shard.plan.id, ignore_errors=True)
        if isinstance(self.judging, UsageError):
            raise self.judging
        return troubles

    def _bring_forward(self, job: Job, shard: Shard, download: Download | None) -> Job:
        if download is not None:
            fetch(self.desk, job, shard, download)
            job, shard = self._reread(job, shard)
        elif shard.phase is Phase.ended:
            _note_gone(self.desk, job, shard, shard.end.get("message", ""))
            job, shard = self._reread(job, shard)
        if isinstance(self.judging, UsageError):
            return job
        if shard.phase is Phase.fetched:
            self._settle(job, shard, self.judging)
            job, shard = self._reread(job, shard)
        if job.retry_due(shard):
            self._plan_retry(job, shard)
            job, shard = self._reread(job, shard)
        return job

    def _reread(self, job: Job, shard: Shard) -> tuple[Job, Shard]:
        job = reread(self.desk.store, job, shard)
        return job, next(s for s in job.shards if s.plan.id == shard.plan.id)

    def _settle(self, job: Job, shard: Shard, judging: Judging) -> None:
        try:
            settle(self.desk, job, shard, judging)
        except (Damaged, Missing):
            lost = unreadable(self.desk, _copies(shard))
            if not lost:
                raise
            fetch_again(self.desk, job, shard, lost)
            settle(self.desk, *self._reread(job, shard), judging)

    def _plan_retry(self, job: Job, shard: Shard) -> None:
        try:
            plan_retry(self.desk, job, shard, tokens=self.tokens)
        except (Damaged, Missing):
            if not unreadable(self.desk, _tables(shard)):
                raise
            mend(self.desk, job, shard)
            plan_retry(self.desk, *self._reread(job, shard), tokens=self.tokens)


def judge_of(desk: Desk, job: Job) -> Judge:
    """Who judges the answers of a job. Raises UsageError when its task is not here any more."""
    return Judge(desk.format(job.plan.provider, job.plan.endpoint), task_of(job.plan).result)


def task_of(plan: Plan) -> Task:
    """The task a job was made with. Raises UsageError when its code is not here any more."""
    try:
        task = load_task(plan.task.spec, Path.cwd())
    except UsageError as error:
        raise UsageError(f"Job {plan.job} needs its task {plan.task.spec} to read the answers: {error}") from None
    if fingerprint(task) != plan.task.fingerprint:
        raise UsageError(
            f"Task {plan.task.spec} was changed after job {plan.job} was accepted, and its answers would be misjudged: "
            "put the task back as it was, or give the changed one another name."
        )
    return task


def fetch(desk: Desk, job: Job, shard: Shard, download: Download | None = None) -> None:
    """Copy every result file into the store, then say so in the ledger. Raises Unavailable.

    `download` is the first one, where it was begun before.
    """
    try:
        files = _copied(desk, job, shard, download)
    except (Gone, Unavailable) as error:
        if not _is_gone(desk, job, shard, error):
            raise
        _note_gone(desk, job, shard, str(error))
    else:
        desk.append(job.id, shard.plan.id, shard.number, "fetched", {"files": files})


def _is_gone(desk: Desk, job: Job, shard: Shard, error: Gone | Unavailable) -> bool:
    """Does the provider keep the results no more, by its word or by its silence?"""
    absent = isinstance(error, Unavailable) and error.kind == "absent"
    return isinstance(error, Gone) or (absent and not still_due(desk, job, shard, _grace(desk, job), "results"))


def _grace(desk: Desk, job: Job) -> timedelta:
    return timedelta(seconds=desk.provider_of(job.plan).format.limits.grace_s)


def _note_gone(desk: Desk, job: Job, shard: Shard, why: str) -> None:
    """The provider keeps the results no more: what was paid is lost, and is not bought again without a person."""
    desk.append(job.id, shard.plan.id, shard.number, "fetched", {"files": [], "gone": why[:500]})


def _copied(desk: Desk, job: Job, shard: Shard, download: Download | None = None) -> list[dict[str, Any]]:
    """Copy every result file into the store; what the ledger tells of the copies. Raises Gone, Unavailable."""
    with desk.spool() as spool:
        copies = enumerate(_download_whole(desk, job, shard, spool, download), start=1)
        return [_keep(desk, job, shard, number, copy) for number, copy in copies]


def _asked_now(download: Download, again: Download) -> list[Copy]:
    """That results are absent is to be true now, and not when they were asked for ahead: it is counted in time."""
    try:
        return download()
    except Unavailable as error:
        if error.kind != "absent":
            raise
    return again()


def _download_whole(desk: Desk, job: Job, shard: Shard, spool: Path, download: Download | None) -> list[Copy]:
    """A download can end early without an error (PROVIDERS §0.3), so lines are counted against the provider's word."""
    provider = desk.provider_of(job.plan)
    done, failed = counted(shard)
    best: list[Copy] = []
    most = -1
    attempts = [partial(downloaded, provider.inner, shard, spool / str(n)) for n in range(DOWNLOADS_MAX)]
    for attempt in [partial(_asked_now, download, attempts[0]), *attempts[1:]] if download else attempts:
        copies = provider.passed("raw-download", attempt)
        answers = answered(copies, shard)
        if done == 0 or whole(answers, done, failed):
            return copies
        if (found := len(answers["output"] | answers["error"])) > most:
            best, most = copies, found
        desk.say(f"shard {shard.plan.id}: fewer results than the provider counts ({done}) arrived, asking again")
    # What is missing was paid and may still come. A loss that has just grown is a new one, with a period of its own.
    if still_due(desk, job, shard, _grace(desk, job), f"some results, but for {most}"):
        raise Unavailable(f"{done} results were counted, {most} can be read.")
    return best


def _keep(desk: Desk, job: Job, shard: Shard, number: int, copy: Copy) -> dict[str, Any]:
    def key_of(sha8: str, free: int) -> str:
        return raw_key(job.id, shard.plan.id, free, copy.kind, sha8)

    key = keep(desk, copy.path, key_of, number)
    return {"key": key, "kind": copy.kind, "lines": copy.lines, "bytes": copy.bytes, "sha256": copy.sha256}


def fetch_again(desk: Desk, job: Job, shard: Shard, lost: Sequence[str]) -> None:
    """Copy the results of a fetched shard once more, because our copies `lost` are damaged or missing.

    Raises Unavailable; Damaged where the provider keeps them no more, unless the job was cancelled: a damaged copy may
    be all there is, and only a person says that nobody has a better one.
    """
    try:
        told: dict[str, Any] = {"files": _copied(desk, job, shard)}
    except (Gone, Unavailable) as error:
        if not _is_gone(desk, job, shard, error):
            raise
        if not job.cancelled:
            raise Damaged(
                f"{_lost(lost, error)}: restore it, or give its answers up with `batchjobs cancel {job.id}`."
            ) from None
        told = {"files": [file for file in shard.files if file["key"] not in lost], "gone": _lost(lost, error)[:500]}
    desk.append(job.id, shard.plan.id, shard.number, "refetched", told)


def _lost(keys: Sequence[str], error: Exception) -> str:
    return f"{', '.join(keys)} is damaged or missing, and the provider cannot send it again ({error})"


def mend_job(desk: Desk, job: Job) -> list[str]:
    """Make every damaged or missing object of settled shards again; a sentence for each that cannot be. Reads all."""
    troubles = []
    for shard in job.shards:
        if shard.phase is Phase.settled and unreadable(desk, _copies(shard) + _tables(shard)):
            try:
                mend(desk, job, shard)
            except (Damaged, Missing, Unavailable) as error:
                troubles.append(f"shard {shard.plan.id}: {error}")
    return troubles


def mend(desk: Desk, job: Job, shard: Shard) -> None:
    """Make the damaged objects of a settled shard again: raw files from the provider, outcomes and strays from those.

    Raises Damaged or Unavailable, saying what cannot be made again.
    """
    files, lost = list(shard.files), unreadable(desk, _copies(shard))
    if job.tombstone is not None:  # there is nothing left to decide outcomes from
        raise Damaged(f"{', '.join(_tables(shard))}: its job was purged, so it cannot be made again: restore it.")
    if lost:
        try:
            files = _copied(desk, job, shard)
        except Gone as error:
            raise Damaged(f"{_lost(lost, error)}: restore it.") from None
    with crew(judge_of(desk, job).judged, workers_for(sum(file["bytes"] for file in files))) as judging:
        settle_again(desk, job, shard, files, judging)


def unreadable(desk: Desk, keys: Iterable[str]) -> list[str]:
    """Those of the objects that are missing, or are not what was written."""
    lost = []
    for key in keys:
        try:
            with desk.intact(key):
                pass
        except (Damaged, Missing):
            lost.append(key)
    return lost


def _copies(shard: Shard) -> list[str]:
    return [file["key"] for file in shard.files]


def _tables(shard: Shard) -> list[str]:
    return [shard.settlement[name] for name in ("outcomes_key", "strays_key") if name in shard.settlement]


def cancel(desk: Desk, job: Job) -> Iterator[str]:
    """Stop a job: nothing more is sent or retried, open batches are asked to stop. Yields sentences about it."""
    while not job.cancelled:  # another process may have written something else first
        desk.append(job.id, "job", job.number, "cancelled", {})
        job = load_job(desk.store, job.id)
    provider = desk.provider_of(job.plan)
    for shard in load_job(desk.store, job.id).shards:
        if shard.phase is not Phase.sent:
            continue
        if not shard.certain:
            yield f"shard {shard.plan.id}: batch {shard.batch_id} may not be ours and is left alone until it ends"
            continue
        try:
            provider.cancel(shard.batch_id)
        except (Unavailable, Gone) as error:
            yield f"shard {shard.plan.id}: batch {shard.batch_id} is not told yet ({error}); run cancel again"
        else:
            yield f"shard {shard.plan.id}: batch {shard.batch_id} was asked to stop"
