"""The life of a batch in virtual time, whatever the provider calls its states."""

import random
import threading
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum

from providers.emulator.faults import Fault
from providers.emulator.work import Done, Sheet, Tally, Work
from providers.emulator.world import Charge, Fate, Patience, World

WINDOW_S = 86_400.0  # both providers: 24 hours (PROVIDERS §1.2, §2.2)
_VALIDATED = 0.05  # shares of a batch's time: until validated, until all items are done
_EXECUTED = 0.95
_GLANCE_S = 1.0  # real seconds that counts wait for the worker at most


class Phase(Enum):
    """Where a batch stands."""

    validating = "validating"
    rejected = "rejected"
    running = "running"
    finalizing = "finalizing"
    completed = "completed"
    stopping = "stopping"
    stopped = "stopped"
    expired = "expired"

    @property
    def over(self) -> bool:
        return self in {Phase.rejected, Phase.completed, Phase.stopped, Phase.expired}


@dataclass(frozen=True, slots=True)
class Plan:
    """When what happens to a batch if nobody cancels it; virtual unix seconds."""

    created: float
    starts: float
    executed: float  # all items done
    ready: float  # results can be read
    expires: float
    stalls: float = 1.0  # the share of items after which it stops, to expire later
    rejected: bool = False

    def phase(self, now: float) -> Phase:
        """Without a cancel."""
        if self.rejected and now >= self.starts:
            return Phase.rejected
        stuck = self.stalls < 1 or self.ready > self.expires
        if stuck and now >= self.expires:
            return Phase.expired
        if now < self.starts:
            return Phase.validating
        if self.stalls < 1 or now < self.executed:
            return Phase.running
        return Phase.finalizing if now < self.ready else Phase.completed

    def share(self, now: float) -> float:
        """The share of items executed by then."""
        elapsed = min(now, self.expires) - self.starts
        length = self.executed - self.starts
        share = 1.0 if length <= 0 and elapsed >= 0 else elapsed / length if length > 0 else 0.0
        return min(max(share, 0.0), self.stalls)


def plan(
    created: float, seconds: float, faults: Iterable[Fault], *, rejected: bool, window_s: float = WINDOW_S
) -> Plan:
    """The plan of a batch that takes `seconds` when nothing is wrong with it."""
    more = {fault.action: fault for fault in faults}
    seconds += more["slow"].seconds if "slow" in more else 0.0
    lag = more["long_finalizing"].seconds if "long_finalizing" in more else 0.0
    return Plan(
        created=created,
        starts=created + seconds * _VALIDATED,
        executed=created + seconds * _EXECUTED,
        ready=created + seconds + lag,
        expires=created + window_s,
        stalls=more["expire"].fraction if "expire" in more else 1.0,
        rejected=rejected,
    )


@dataclass(slots=True)
class Batch:
    """One accepted batch. What it looks like at a moment is a function of its plan, its cancel and that moment."""

    provider: str
    id: str
    plan: Plan
    sheet: Sheet
    label: Mapping[str, str]
    faults: tuple[Fault, ...]
    cancel_seconds: float
    work: Work | None = None  # None when it was rejected
    cancelled_at: float | None = None
    closed: bool = False  # its results are final
    deleted: bool = False
    lock: threading.RLock = field(default_factory=threading.RLock)

    def phase(self, now: float) -> Phase:
        """By the clock; the results of a phase that is `over` may still be in the making."""
        if self.cancelled_at is None or now < self.cancelled_at:
            return self.plan.phase(max(now, self.plan.created))
        return Phase.stopping if now < self.cancelled_at + self.cancel_seconds else Phase.stopped

    def executed(self, now: float) -> int:
        """How many items are executed by then."""
        if self.work is None or self.plan.rejected:
            return 0
        if self.cancelled_at is not None:
            now = min(now, self.cancelled_at)
        return int(self.plan.share(now) * self.work.total)

    def ended_at(self) -> float:
        """When a batch that is over ended."""
        if self.cancelled_at is not None:
            return self.cancelled_at + self.cancel_seconds
        if self.plan.rejected:
            return self.plan.starts
        stuck = self.plan.stalls < 1 or self.plan.ready > self.plan.expires
        return self.plan.expires if stuck else self.plan.ready

    def results_at(self) -> float:
        """When the results of a batch that is over can be found."""
        return self.ended_at() + self._longest("late_output")

    def _longest(self, action: str) -> float:
        return max((fault.seconds for fault in self.faults if fault.action == action), default=0.0)

    def tally(self, now: float, patience: Patience) -> Tally:
        """Counts and tokens so far, as far as the worker has come."""
        if self.work is None:
            return Tally(0, 0)
        count = self.executed(now)
        self.work.wait(count, min(patience.left(), _GLANCE_S))
        return self.work.tally(min(count, self.work.reached))

    def charges(self, now: float) -> Iterable[Charge]:
        """Everything billed so far."""
        if self.work is None:
            return
        count = self.executed(now)
        self.work.wait(count, None)
        for custom_id, prompt_hash, spent, produced in self.work.charges(count):
            yield Charge(self.provider, self.id, self.label, custom_id, prompt_hash, spent, produced)

    def listed(self, now: float) -> bool:
        """Whether listings show it."""
        return now >= self.plan.created + self._longest("list_lag") and not self.deleted

    def forced(self) -> Fate | None:
        """What becomes of every item, when that was ordered."""
        kinds = [fault.kind for fault in self.faults if fault.action == "all_fail"]
        return (Fate.transient if kinds[0] == "transient" else Fate.permanent) if kinds else None

    def has(self, action: str) -> bool:
        return any(fault.action == action for fault in self.faults)


Close = Callable[[Batch, Iterator[bytes]], None]


class Registry:
    """The batches of one provider, oldest first.

    `close` writes what the provider puts in place of the items that were never executed, given their input lines.
    """

    def __init__(self, world: World, close: Close) -> None:
        self._world = world
        self._close = close
        self._batches: dict[str, Batch] = {}

    def all(self) -> list[Batch]:
        with self._world.lock:
            return list(self._batches.values())

    def find(self, batch_id: str) -> Batch | None:
        """The batch, unless it was deleted."""
        batch = self._batches.get(batch_id)
        return None if batch is None or batch.deleted else batch

    def accept(self, batch: Batch, execute: Callable[[bytes], Done], *, together: bool = False) -> None:
        """Take a batch in; its items are executed from now on, unless it is to be rejected."""
        if not batch.plan.rejected:
            order = _order(self._world, batch.id, batch.sheet.total)
            batch.work = Work(batch.sheet, order, execute, self._world.folder / batch.id, together=together)
            self._world.worker.submit(batch.work.run)
        with self._world.lock:
            self._batches[batch.id] = batch

    def settled(self, batch: Batch, patience: Patience) -> bool:
        """Whether the batch is over and its results are final; makes them final when it is time."""
        with batch.lock:
            if not batch.closed and batch.phase(self._world.clock.now()).over:
                batch.closed = batch.work is None or self._finish(batch, batch.work, patience)
            return batch.closed

    def _finish(self, batch: Batch, work: Work, patience: Patience) -> bool:
        count = batch.executed(batch.ended_at())
        if not work.wait(count, patience.left()):
            return False
        if count < work.total:
            work.stop()
            work.keep(count)
            for prompt in work.unstruck(count):
                self._world.dice.forget(prompt)
        self._close(batch, work.rest(count))
        batch.sheet.source.unlink()
        return True


def _order(world: World, batch_id: str, total: int) -> "array[int]":
    """The order in which the items of a batch are executed and come out."""
    order = array("I", range(total))
    if world.settings.shuffled:
        random.Random(f"{world.settings.seed} {batch_id}").shuffle(order)  # noqa: S311 -- repeatable on purpose
    return order
