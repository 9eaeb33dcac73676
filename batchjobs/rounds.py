"""The overnight loop: passes of poll, collect, retry and publish, until done, the deadline, or a person is needed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from batchjobs.collect import collect
from batchjobs.decide import Hold
from batchjobs.desk import Desk
from batchjobs.errors import BatchJobsError, Unreachable, UsageError
from batchjobs.jobs import Job, load_all, load_job
from batchjobs.poll import Round, poll, same_queue, token_limit
from batchjobs.project import catch_up, publish, with_results
from batchjobs.shards import Phase
from storage.contract import StoreUnavailable
from storage.results import Results

OUTAGES_MAX = 10  # passes in a row without provider or store, before the night is given up
INTERVAL_FIRST_S = 5.0
INTERVAL_LAST_S = 300.0
INTERVAL_SHARE = 0.05  # of the time waited so far: quick at first, slower later


@dataclass(slots=True)
class Night:
    """What the loop has seen so far, for the screen and the exit code."""

    jobs: tuple[Job, ...]
    rounds: dict[str, Round] = field(default_factory=dict)
    troubles: list[str] = field(default_factory=list)
    started_at: datetime | None = None
    finished: bool = False
    moving: bool = False  # something comes forward by waiting
    stopped: str = ""  # why the loop ended before the jobs did

    @property
    def holds(self) -> list[Hold]:
        return [hold for seen in self.rounds.values() for hold in seen.holds.values()]

    @property
    def answered(self) -> bool:
        """Did the provider answer about anything, or was there nothing to ask?"""
        asked = sum(len(seen.live) + seen.unanswered for seen in self.rounds.values())
        return not asked or any(seen.live for seen in self.rounds.values())

    @property
    def over_budget(self) -> bool:
        return any(hold.over_budget for hold in self.holds)


def open_jobs(desk: Desk) -> list[Job]:
    """Every job of the store that can be read and is not finished, oldest first."""
    return [job for job in load_all(desk.store)[0] if not job.finished]


def one_pass(desk: Desk, wanted: Sequence[str], send: bool = True) -> Night:
    """Poll, collect and publish once, for every open job; only wanted ones, and those they wait for, are sent.

    One job's trouble stops no other; that of a wanted job is raised once everything else is done. Raises Unreachable,
    UsageError.
    """
    with desk.exclusive("a poll and collect pass"):
        night = Night(())
        before = desk.written
        everything = open_jobs(desk)
        waiting = any(job.id in wanted and _waits_for_others(job) for job in everything)
        stopped: list[BatchJobsError] = []
        for job in everything:
            others = [other for other in everything if other.id != job.id]
            own = job.id in wanted
            try:
                _advance(desk, job, others, night, send=send and (own or waiting), own=own)
            except (Unreachable, UsageError) as error:
                if own:
                    stopped.append(error)
                night.troubles.append(str(error))
        if desk.dirty:
            night.troubles += project(desk)
        night.jobs = tuple(load_job(desk.store, job) for job in wanted)
        night.finished = all(job.finished for job in night.jobs)
        night.moving = desk.written > before or any(
            _moving(job, night.rounds.get(job.id, Round())) for job in open_jobs(desk)
        )
    if stopped and not night.finished:
        raise stopped[0]
    return night


def _advance(desk: Desk, job: Job, others: list[Job], night: Night, *, send: bool, own: bool) -> None:
    """Poll and collect one job; what it has is collected even when nothing can be sent."""
    failure: Unreachable | None = None
    try:
        night.rounds[job.id] = poll(desk, job, others, send, own)
        night.troubles += night.rounds[job.id].troubles
    except Unreachable as error:
        failure = error
    job = load_job(desk.store, job.id)
    tokens = token_limit(desk.settings.max_enqueued_tokens, same_queue(job, others))
    night.troubles += collect(desk, job, tokens)
    if failure is not None:
        raise failure


def _waits_for_others(job: Job) -> bool:
    """Is everything of its own done, and what is left bought by other jobs?"""
    own = all(shard.phase is Phase.settled and not job.retry_due(shard) for shard in job.shards)
    return own and bool(job.plan.carried) and not job.finished


def _moving(job: Job, seen: Round) -> bool:
    """Will time alone bring this job forward: a batch under way, or a shard that is held for nothing but time?"""
    for shard in job.shards:
        if shard.phase in (Phase.sent, Phase.ended, Phase.fetched) or job.retry_due(shard):
            return True
        hold = seen.holds.get(shard.plan.id)
        if hold is not None and not (hold.needs_person or hold.over_budget or hold.on_others):
            return True
    return False


def project(desk: Desk) -> list[str]:
    """Bring the results up to date and publish them if they changed. Inside `desk.exclusive`."""

    def brought_up_to_date(results: Results) -> list[str]:
        troubles = catch_up(desk, results)
        publish(desk, results)
        return troubles

    return with_results(desk, brought_up_to_date)


def wait_s(started: datetime, now: datetime, night: Night, setting: float | None) -> float:
    """Seconds until the next pass: as set, or adaptive, never before the provider wants to be asked again."""
    if setting is not None:
        return setting
    waited = (now - started).total_seconds()
    adaptive = min(max(INTERVAL_FIRST_S, waited * INTERVAL_SHARE), INTERVAL_LAST_S)
    hints = [s.retry_after_s for seen in night.rounds.values() for s in seen.live.values() if s.retry_after_s]
    return max([adaptive, *hints]) if hints else adaptive


def stuck(night: Night) -> str:
    """Why waiting longer cannot help, or nothing: no batch is under way, and what is left waits for a person."""
    if night.moving or any(_unseen(job, night.rounds.get(job.id, Round())) for job in night.jobs):
        return ""
    reasons = {hold.reason for hold in night.holds if not hold.on_others} or {hold.reason for hold in night.holds}
    return "; ".join(sorted(reasons)) or "what is left was bought by other jobs, and they need a person"


def _unseen(job: Job, seen: Round) -> bool:
    """Was a shard planned after this pass looked at what to send?"""
    waiting = (Phase.planned, Phase.unknown)
    return any(shard.phase in waiting and shard.plan.id not in seen.holds for shard in job.shards)


def run_until_done(
    desk: Desk, wanted: Sequence[str], deadline: datetime | None, show: Callable[[Night], None]
) -> Night:
    """Passes until every wanted job is finished, the deadline is over, or nothing can move without a person."""
    started, silent, first = desk.env.now(), 0, True
    night = Night(())
    while True:
        try:
            night = one_pass(desk, wanted)
            silent = 0 if night.answered else silent + 1
        except (Unreachable, StoreUnavailable) as error:
            if first or not getattr(error, "passing", True):
                raise  # a person is still there to read it, or is needed
            silent += 1
            night.troubles = [str(error)]
        if silent > OUTAGES_MAX and not night.finished:
            raise Unreachable("Provider or store did not answer for too many passes: run the same command again later.")
        first, night.started_at = False, started
        now = desk.env.now()
        if not night.finished:
            night.stopped = stuck(night) or ("the deadline is over" if deadline and now >= deadline else "")
        show(night)
        if night.finished or night.stopped:
            return night
        pause = wait_s(started, now, night, desk.settings.interval)
        if deadline is not None:
            pause = min(pause, max((deadline - now).total_seconds(), 0.0))
        desk.env.sleep(pause)
