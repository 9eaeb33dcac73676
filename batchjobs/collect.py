"""Collecting: the provider's bytes into our store, then outcomes, then what to try again; each step can be repeated."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import zstandard

from batchjobs.desk import Desk
from batchjobs.errors import Unreachable, UsageError
from batchjobs.grace import still_due
from batchjobs.jobs import Job, load_job, reread
from batchjobs.judge import Judge
from batchjobs.plan import Plan
from batchjobs.retry import plan_retry
from batchjobs.settle import keep, settle, settle_again
from batchjobs.shards import Phase, Shard
from batchjobs.task_files import fingerprint, load_task
from batchjobs.tasks import Task
from providers.contract import Format, Gone, Provider, RawFile, Unavailable
from storage.contract import Damaged, Missing
from storage.layout import raw_key

DOWNLOADS_MAX = 3  # of a file that comes out shorter than the provider's own count, before it is taken as it is


def collect(desk: Desk, job: Job, tokens: int | None = None) -> list[str]:
    """Fetch, settle and plan retries for every shard that is ready; returns sentences of trouble.

    `tokens` is the room of the provider's queue, if known. Raises UsageError for a task that is not here, Unreachable.
    """
    troubles = []
    for shard in job.shards:
        try:
            job = _bring_forward(desk, job, shard, tokens)
        except Unavailable as error:
            if error.kind == "blocked":
                raise Unreachable(f"{error} Fix it and run the same command again.", passing=False) from None
            troubles.append(f"shard {shard.plan.id}: results not fetched yet: {error} They are asked for again.")
        except (Damaged, Missing) as error:
            troubles.append(f"shard {shard.plan.id}: {error}")
    return troubles


def _bring_forward(desk: Desk, job: Job, shard: Shard, tokens: int | None) -> Job:
    if shard.phase is Phase.ended and shard.end.get("code") == "gone":
        _note_gone(desk, job, shard, shard.end.get("message", ""))
        job, shard = _reread(desk, job, shard)
    elif shard.phase is Phase.ended:
        fetch(desk, job, shard, desk.provider_of(job.plan))
        job, shard = _reread(desk, job, shard)
    if shard.phase is Phase.fetched:
        _settle(desk, job, shard)
        job, shard = _reread(desk, job, shard)
    if job.retry_due(shard):
        _plan_retry(desk, job, shard, tokens)
        job, shard = _reread(desk, job, shard)
    return job


def _reread(desk: Desk, job: Job, shard: Shard) -> tuple[Job, Shard]:
    job = reread(desk.store, job, shard)
    return job, next(s for s in job.shards if s.plan.id == shard.plan.id)


def _settle(desk: Desk, job: Job, shard: Shard) -> None:
    judge = judge_of(desk, job)
    try:
        settle(desk, job, shard, judge)
    except (Damaged, Missing):
        lost = unreadable(desk, _copies(shard))
        if not lost:
            raise
        fetch_again(desk, job, shard, lost)
        settle(desk, *_reread(desk, job, shard), judge)


def judge_of(desk: Desk, job: Job) -> Judge:
    """Who judges the answers of a job. Raises UsageError when its task is not here any more."""
    return Judge(desk.format(job.plan.provider, job.plan.endpoint), task_of(job.plan).result)


def _plan_retry(desk: Desk, job: Job, shard: Shard, tokens: int | None) -> None:
    try:
        plan_retry(desk, job, shard, tokens=tokens)
    except (Damaged, Missing):
        if not unreadable(desk, _tables(shard)):
            raise
        mend(desk, job, shard)
        plan_retry(desk, *_reread(desk, job, shard), tokens=tokens)


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


@dataclass(frozen=True, slots=True)
class _Copy:
    """One result file in the spool. `ids`: whose results can be read in it; a line that was cut off is nobody's."""

    kind: str
    path: Path
    lines: int
    bytes: int
    sha256: str
    ids: set[str]


def fetch(desk: Desk, job: Job, shard: Shard, provider: Provider) -> None:
    """Copy every result file into the store, then say so in the ledger. Raises Unavailable."""
    try:
        files = _copied(desk, job, shard, provider)
    except (Gone, Unavailable) as error:
        if not _is_gone(error, desk, job, shard, provider):
            raise
        _note_gone(desk, job, shard, str(error))
    else:
        desk.append(job.id, shard.plan.id, shard.number, "fetched", {"files": files})


def _is_gone(error: Gone | Unavailable, desk: Desk, job: Job, shard: Shard, provider: Provider) -> bool:
    """Does the provider keep the results no more, by its word or by its silence?"""
    absent = isinstance(error, Unavailable) and error.kind == "absent"
    return isinstance(error, Gone) or (absent and not still_due(desk, job, shard, _grace(provider), "results"))


def _grace(provider: Provider) -> timedelta:
    return timedelta(seconds=provider.format.limits.grace_s)


def _note_gone(desk: Desk, job: Job, shard: Shard, why: str) -> None:
    """The provider keeps the results no more: what was paid is lost, and is not bought again without a person."""
    desk.append(job.id, shard.plan.id, shard.number, "fetched", {"files": [], "gone": why[:500]})


def _download_whole(desk: Desk, job: Job, shard: Shard, provider: Provider, spool: Path) -> list[_Copy]:
    """A download can end early without an error (PROVIDERS §0.3), so lines are counted against the provider's word."""
    done, failed = _counted(shard)
    best: list[_Copy] = []
    most = -1
    for attempt in range(1, DOWNLOADS_MAX + 1):
        folder = spool / str(attempt)
        folder.mkdir()
        copies = [_download(raw, folder / raw.kind, provider.format) for raw in provider.raw(shard.batch_id)]
        answered = _answered(copies, shard)
        if done == 0 or _whole(answered, done, failed):
            return copies
        if (found := len(answered["output"] | answered["error"])) > most:
            best, most = copies, found
        desk.say(f"shard {shard.plan.id}: fewer results than the provider counts ({done}) arrived, asking again")
    # What is missing was paid and may still come. A loss that has just grown is a new one, with a period of its own.
    if still_due(desk, job, shard, _grace(provider), f"some results, but for {most}"):
        raise Unavailable(f"{done} results were counted, {most} can be read.")
    return best


def _counted(shard: Shard) -> tuple[int, int]:
    """How many results there are, and failed ones among them; where the provider does not say, one for each request."""
    done, failed = shard.end.get("done"), shard.end.get("failed")
    if done is None and not shard.end.get("rejected"):
        return shard.plan.requests, shard.plan.requests
    return done or 0, failed or 0


def _whole(answered: dict[str, set[str]], done: int, failed: int) -> bool:
    """Are as many answers here as were counted? The output is counted by itself: expired rows fill the error file."""
    return len(answered["output"]) >= done - failed and len(answered["output"] | answered["error"]) >= done


def _answered(copies: list[_Copy], shard: Shard) -> dict[str, set[str]]:
    """Whose results can be read in which kind of file: twins and strangers make up for nobody.

    In a batch that turns out to be another's, everybody's.
    """
    found: dict[str, set[str]] = {"output": set(), "error": set(), "batch": set()}
    for copy in copies:
        found[copy.kind] |= copy.ids
    ours = {kind: {one for one in ids if one.startswith(shard.plan.id_prefix)} for kind, ids in found.items()}
    return ours if shard.certain or any(ours.values()) else found


def _download(raw: RawFile, path: Path, lines: Format) -> _Copy:
    """Copy a result file to the disk, and note on the way whose results it holds."""
    watch = _Watch(lines)
    with path.open("wb") as out, zstandard.ZstdCompressor(level=3).stream_writer(out) as packed:
        for chunk in raw.chunks:
            packed.write(chunk)
            watch.see(chunk)
    watch.end()
    return _Copy(raw.kind, path, watch.lines, watch.size, watch.sha.hexdigest(), watch.ids)


@dataclass(slots=True)
class _Watch:
    """Sees a file go by."""

    format: Format
    sha: "hashlib._Hash" = field(default_factory=hashlib.sha256)
    lines: int = 0
    size: int = 0
    ids: set[str] = field(default_factory=set)
    rest: list[bytes] = field(default_factory=list)  # of the line that has not ended yet

    def see(self, chunk: bytes) -> None:
        self.sha.update(chunk)
        self.size += len(chunk)
        end = chunk.rfind(b"\n") + 1
        if end:
            self._count(b"".join((*self.rest, chunk[:end])))
            self.rest = []
        self.rest.append(chunk[end:])

    def end(self) -> None:
        """The last line, if no line break ended it."""
        if last := b"".join(self.rest):
            self._count(last)

    def _count(self, block: bytes) -> None:
        self.lines += block.count(b"\n") + (not block.endswith(b"\n"))
        self.ids.update(self.format.whose(block))


def _copied(desk: Desk, job: Job, shard: Shard, provider: Provider) -> list[dict[str, Any]]:
    """Copy every result file into the store; what the ledger tells of the copies. Raises Gone, Unavailable."""
    with desk.spool() as spool:
        copies = enumerate(_download_whole(desk, job, shard, provider, spool), start=1)
        return [_keep(desk, job, shard, number, copy) for number, copy in copies]


def _keep(desk: Desk, job: Job, shard: Shard, number: int, copy: _Copy) -> dict[str, Any]:
    def key_of(sha8: str, free: int) -> str:
        return raw_key(job.id, shard.plan.id, free, copy.kind, sha8)

    key = keep(desk, copy.path, key_of, number)
    return {"key": key, "kind": copy.kind, "lines": copy.lines, "bytes": copy.bytes, "sha256": copy.sha256}


def fetch_again(desk: Desk, job: Job, shard: Shard, lost: Sequence[str]) -> None:
    """Copy the results of a fetched shard once more, because our copies `lost` are damaged or missing.

    Raises Unavailable; Damaged where the provider keeps them no more, unless the job was cancelled: a damaged copy may
    be all there is, and only a person says that nobody has a better one.
    """
    provider = desk.provider_of(job.plan)
    try:
        told: dict[str, Any] = {"files": _copied(desk, job, shard, provider)}
    except (Gone, Unavailable) as error:
        if not _is_gone(error, desk, job, shard, provider):
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
            files = _copied(desk, job, shard, desk.provider_of(job.plan))
        except Gone as error:
            raise Damaged(f"{_lost(lost, error)}: restore it.") from None
    settle_again(desk, job, shard, files, judge_of(desk, job))


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
