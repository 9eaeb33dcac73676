"""Machines that share nothing but the store and the provider; each runs one command at a time, point by point."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from greenlet import getcurrent, greenlet

from batchjobs import rounds
from batchjobs.accept import accept as accept_as
from batchjobs.accept import last_accepted
from batchjobs.collect import cancel
from batchjobs.desk import Desk
from batchjobs.env import Env
from batchjobs.errors import Unreachable, UsageError
from batchjobs.jobs import job_ids, load_job
from batchjobs.observed import ObservedProvider, ObservedStore
from batchjobs.plan import Plan
from batchjobs.retry import plan_retry
from batchjobs.rounds import Night, open_jobs
from batchjobs.settings import Settings
from providers.contract import Provider
from storage.contract import ObjectStore, StoreUnavailable
from tests.simulation.weather import Clock


class Death(BaseException):
    """SIGKILL: nothing after this point happens."""


Verb = Callable[[Desk], Night | None]


@dataclass
class Worker:
    """One machine. `points` are the fault points it has passed; between two of them it may pause for any time."""

    name: str
    folder: Path
    clock: Clock
    store: ObjectStore
    provider: Provider
    flavour: str
    skew: timedelta = timedelta()
    settings: dict[str, object] = field(default_factory=dict)
    life: greenlet | None = None
    rebuys: bool = False  # a person at this machine has passed --rebuy-unknown
    ids: int = 0
    said: list[str] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)  # the errors that commands here ended with
    night: Night | None = None  # of the last pass that came to its end
    protocol: Callable[[ObjectStore], ObjectStore] = lambda store: store  # how each process here uses the store
    fine: bool = False  # listings and reads of the store are points too

    @property
    def busy(self) -> bool:
        return self.life is not None and not self.life.dead

    def start(self, verb: Verb, *, rebuy: bool = False, **settings: object) -> None:
        """Begin a command: a new process, which knows nothing but the store."""
        self.rebuys = self.rebuys or rebuy
        self.life = greenlet(lambda: self._run(verb, {"rebuy_unknown": rebuy} | settings))

    def advance(self, points: int | None = None, *, reads: bool = False) -> None:
        """Pass a number of points, or all; of the store's reads only when they are asked for."""
        while self.busy and points != 0:
            assert self.life is not None
            passed = self.life.switch()
            if points is not None and (reads or not str(passed).startswith("store-")):
                points -= 1

    def kill(self) -> None:
        if self.life is not None and self.life:
            self.life.throw(Death)
        self.life = None

    def _run(self, verb: Verb, settings: dict[str, object]) -> None:
        try:
            desk = self.desk(settings)
            with desk.exclusive("the simulation"):
                self.night = verb(desk) or self.night
        except (Unreachable, UsageError, StoreUnavailable) as error:
            self.ends.append(str(error))
        except Death:
            return

    def _point(self, name: str) -> None:
        if getcurrent() is self.life:
            self.life.parent.switch(name)

    def _new_id(self) -> str:
        self.ids += 1
        return f"{self.name}-{self.ids}"

    def desk(self, settings: dict[str, object]) -> Desk:
        env = Env(lambda: self.clock.now + self.skew, self.clock.tick, self._new_id, self._point, self.name)
        made = Settings(store=self.store.url, state_dir=str(self.folder), **{**settings, **self.settings})
        provider = ObservedProvider(self.provider, self._point)
        store = self.protocol(
            ObservedStore(FineStore(self.store, self._point) if self.fine else self.store, self._point)
        )
        desk = Desk(env, made, store, self.said.append, _providers={(self.flavour, ""): provider})
        desk.state_dir.mkdir(parents=True, exist_ok=True)
        return desk


@dataclass(slots=True)
class FineStore:
    """Other machines may come in between a listing and the reads that follow it, too."""

    inner: ObjectStore
    point: Callable[[str], None]

    def __getattr__(self, name: str) -> object:
        if name in ("read", "keys", "local"):
            self.point(f"store-{name}")
        return getattr(self.inner, name)


# The commands, as actions.py runs them, but for DuckDB.


def one_pass(desk: Desk, send: bool = True) -> Night:
    """`rounds.one_pass` without the projection."""
    night = Night(())
    everything = open_jobs(desk)
    for job in everything:
        others = [other for other in everything if other.id != job.id]
        try:
            rounds._advance(desk, job, others, night, send=send, own=True)
        except (Unreachable, UsageError) as error:
            night.troubles.append(str(error))
    return night


def accept(plan: Plan) -> Verb:
    """`submit`: two machines that packed the same input accept two plans that differ in their time."""

    def verb(desk: Desk) -> Night:
        last = last_accepted(desk)
        while plan.job not in job_ids(desk.store) and not accept_as(desk, plan, last):
            last = last_accepted(desk)
        return one_pass(desk)

    return verb


def collect_only(desk: Desk) -> Night:
    return one_pass(desk, send=False)


def stop(job: str) -> Verb:
    """`cancel`."""

    def verb(desk: Desk) -> Night:
        list(cancel(desk, load_job(desk.store, job)))
        return one_pass(desk)

    return verb


def retry(job: str, wanted: set[str]) -> Verb:
    """`retry` of dead items, as `actions._plan_retries` does it."""

    def verb(desk: Desk) -> Night:
        now = load_job(desk.store, job)
        for shard in now.shards:
            if now.dead(shard):
                plan_retry(desk, now, shard, wanted)
                now = load_job(desk.store, job)
        return one_pass(desk)

    return verb
