"""The overnight loop: passes of poll, collect, retry and publish, until done, the deadline, or a person is needed."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from batchjobs.collect import collect
from batchjobs.desk import Desk
from batchjobs.errors import Unreachable
from batchjobs.jobs import Job, load_all, load_job
from batchjobs.poll import Round, poll
from batchjobs.project import catch_up, open_results, publish
from batchjobs.send import Hold
from batchjobs.shards import Phase
from storage.contract import StoreUnavailable

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
    stopped: str = ""  # why the loop ended before the jobs did

    @property
    def holds(self) -> list[Hold]:
        return [hold for seen in self.rounds.values() for hold in seen.holds.values()]

    @property
    def over_budget(self) -> bool:
        return any(hold.over_budget for hold in self.holds)


def open_jobs(desk: Desk) -> list[Job]:
    """Every job of the store that can be read and is not finished, oldest first."""
    return [job for job in load_all(desk.store)[0] if not job.finished]


def one_pass(desk: Desk, wanted: Sequence[str], send: bool = True) -> Night:
    """Poll, collect and publish once, for these jobs and for those whose answers they wait for. Raises Unreachable."""
    with desk.exclusive("a poll and collect pass"):
        night = Night(())
        everything = open_jobs(desk)
        for job in _in_scope(everything, wanted):
            others = [other for other in everything if other.id != job.id]
            night.rounds[job.id] = poll(desk, job, others, send)
            night.troubles += night.rounds[job.id].troubles
            night.troubles += collect(desk, load_job(desk.store, job.id))
        if desk.dirty:
            night.troubles += project(desk)
        night.jobs = tuple(load_job(desk.store, job) for job in wanted)
        night.finished = all(job.finished for job in night.jobs)
    return night


def _in_scope(everything: Iterable[Job], wanted: Sequence[str]) -> list[Job]:
    """The wanted jobs; all open ones when some wanted job waits for answers that others have bought."""
    waits = any(job.id in wanted and job.plan.carried for job in everything)
    return [job for job in everything if waits or job.id in wanted]


def project(desk: Desk) -> list[str]:
    """Bring the results up to date and publish them if they changed. Inside `desk.exclusive`."""
    with open_results(desk) as results:
        troubles = catch_up(desk, results)
        publish(desk, results)
    return troubles


def wait_s(started: datetime, now: datetime, night: Night, setting: float | None) -> float:
    """Seconds until the next pass: as set, or adaptive, never before the provider wants to be asked again."""
    if setting is not None:
        return setting
    waited = (now - started).total_seconds()
    adaptive = min(max(INTERVAL_FIRST_S, waited * INTERVAL_SHARE), INTERVAL_LAST_S)
    hints = [s.retry_after_s for seen in night.rounds.values() for s in seen.live.values() if s.retry_after_s]
    return max([adaptive, *hints]) if hints else adaptive


def stuck(night: Night) -> str:
    """Why waiting longer cannot help, or nothing: everything left is held for a person or for money."""
    moving = (Phase.sent, Phase.ended, Phase.fetched)
    for job in night.jobs:
        seen = night.rounds.get(job.id, Round())
        unfinished = [s for s in job.shards if s.phase is not Phase.settled]
        if any(s.phase in moving or s.plan.id not in seen.holds for s in unfinished):
            return ""
        if not unfinished and not job.finished:
            return ""  # carried items are waiting for another job
    reasons = {
        hold.reason for hold in night.holds if hold.over_budget or hold.needs_person or "canary failed" in hold.reason
    }
    waiting = [hold for hold in night.holds if hold.reason not in reasons]
    return "; ".join(sorted(reasons)) if reasons and not waiting else ""


def run_until_done(
    desk: Desk, wanted: Sequence[str], deadline: datetime | None, show: Callable[[Night], None]
) -> Night:
    """Passes until every wanted job is finished, the deadline is over, or nothing can move without a person."""
    started = desk.env.now()
    outages = OUTAGES_MAX  # the first pass tells at once; later ones sit out what may pass
    night = Night(())
    while True:
        try:
            night, outages = one_pass(desk, wanted), 0
        except (Unreachable, StoreUnavailable) as error:
            outages += 1
            if outages > OUTAGES_MAX or not getattr(error, "passing", True):
                raise
            night.troubles = [str(error)]
        night.started_at = started
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
