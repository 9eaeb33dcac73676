"""The state machine: what people, machines, time and the provider may do, in any order that Hypothesis can think of."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal

import zstandard
from hypothesis import event
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.simulation.house import House, build
from tests.simulation.plans import packed
from tests.simulation.weather import FAULTS, START
from tests.simulation.workers import Worker, accept, collect_only, one_pass, retry, stop

HOUR = 3600.0
DAY = 24 * HOUR
PAUSES = (5.0, 60.0, 400.0, 1200.0, HOUR, 5 * HOUR, DAY, 8 * DAY, 31 * DAY)
CAPS = (None, None, None, Decimal(1), Decimal("0.6"), Decimal("1.5"))
JOBS = (["one"], ["two"], ["three"], ["canary"], ["two", "other"])


@dataclass(slots=True)
class Tally:
    """What all programs of this process came to: only those count in which something went wrong."""

    programs: int = 0
    with_fault: int = 0
    fired: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    virtual_days: float = 0.0

    def count(self, house: House, kills: int) -> None:
        fired = house.weather.fired + Counter(kill=kills)
        self.programs += 1
        self.with_fault += bool(fired)
        self.fired += fired
        self.notes += house.notes
        self.virtual_days += (house.clock.now - START) / timedelta(days=1)
        for kind in fired:
            event(f"fault: {kind}")


TALLY = Tally()


def somebody_elses(flavour: str, shape: str) -> bytes:
    """The lines of a shard of ours under the ids of a stranger."""
    pack = packed(flavour, shape)
    lines = zstandard.ZstdDecompressor().stream_reader(pack.objects[pack.plan.shards[0].key]).read()
    return lines.replace(b'"custom_id":"', b'"custom_id":"0')


machines = st.sampled_from("AB")
any_flavour = st.runner().flatmap(lambda program: st.sampled_from(program.flavours))
any_fault = st.runner().flatmap(lambda program: st.sampled_from(program.faults))


class Simulation(RuleBasedStateMachine):
    """The promises of DESIGN §2 under every fault this suite knows."""

    flavours: tuple[str, ...] = ("openai", "anthropic")
    faults: tuple[str, ...] = FAULTS
    tally: Tally = TALLY
    settles: bool = True  # is it also looked at whether everything lands?
    house: House
    kills = 0

    @initialize(
        flavour=any_flavour,
        shapes=st.sampled_from(JOBS),
        nature=st.sampled_from(["mixed", "kind", "harsh", "hopeless"]),
        seed=st.integers(0, 255),
        attempts=st.integers(1, 3),
        cap=st.sampled_from(CAPS),
        fine=st.booleans(),
        absent=st.booleans(),
        skew=st.sampled_from([0, 0, 150, -150]),
        armed=st.lists(any_fault, min_size=1, max_size=5),
        first=st.none() | st.integers(0, 16),
    )
    def begin(self, flavour, shapes, nature, seed, attempts, cap, fine, absent, skew, armed, first):
        self.house = build(
            flavour, shapes, nature=nature, seed=seed, max_attempts=attempts, cap=cap, absent_cancelled=absent
        )
        for worker in self.house.workers:
            worker.fine = fine
        self.protocol(self.house)
        self.house.workers[1].skew = timedelta(seconds=skew)
        for kind in armed:
            self.house.weather.arm(kind)
        self.worker("A").start(accept(self.house.plans[0]))
        self.worker("A").advance(first)

    def protocol(self, house: House) -> None:
        """How the machines work, where that is not as it should be (bad_protocols.py)."""

    def worker(self, name: str) -> Worker:
        return next(worker for worker in self.house.workers if worker.name == name)

    def verb(self, what: str, which: int):
        """One command; retry and cancel are for jobs that exist."""
        plan = self.house.plans[which % len(self.house.plans)]
        job = self.house.jobs.get(plan.job)
        if what == "accept" or job is None:
            return accept(plan)
        if what == "cancel":
            return stop(plan.job)
        if what == "retry":
            return retry(plan.job, self.house.dead_keys(job))
        return collect_only if what == "collect" else one_pass

    @rule(
        who=machines,
        what=st.sampled_from(["pass", "pass", "accept", "collect", "retry", "cancel"]),
        which=st.integers(0, 1),
        rebuy=st.sampled_from([False, False, False, True]),
        points=st.integers(0, 12),
    )
    def start(self, who, what, which, rebuy, points):
        """A command begins, and comes some points far."""
        worker = self.worker(who)
        if not worker.busy:
            worker.start(self.verb(what, which), rebuy=rebuy)
        worker.advance(points)

    @rule(who=machines, points=st.integers(1, 8), reads=st.booleans())
    def go_on(self, who, points, reads):
        self.worker(who).advance(points, reads=reads)

    @rule(
        who=machines,
        what=st.sampled_from(["pass", "accept", "retry", "cancel"]),
        points=st.integers(1, 14),
        seconds=st.sampled_from(PAUSES),
        other=st.sampled_from(["pass", "pass", "accept", "retry", "cancel"]),
        rebuy=st.sampled_from([False, False, True]),
    )
    def overtake(self, who, what, points, seconds, other, rebuy):
        """A machine pauses in the middle of a command, the other one runs a whole one, the first goes on."""
        slow, quick = self.worker(who), self.worker("B" if who == "A" else "A")
        if not slow.busy:
            slow.start(self.verb(what, 0))
        slow.advance(points)
        self.house.world.tick(seconds)
        quick.advance()
        quick.start(self.verb(other, 0), rebuy=rebuy)
        quick.advance()
        slow.advance()

    @rule(who=machines, times=st.integers(2, 6), seconds=st.sampled_from(PAUSES[:5]))
    def watch(self, who, times, seconds):
        """`poll --watch`."""
        for _ in range(times):
            self.run_all(who, "pass", 0)
            self.house.world.tick(seconds)

    @rule(who=machines, what=st.sampled_from(["pass", "pass", "pass", "accept", "retry"]), which=st.integers(0, 1))
    def run_all(self, who, what, which):
        """A command from its beginning, or from where it paused, to its end."""
        worker = self.worker(who)
        if not worker.busy:
            worker.start(self.verb(what, which))
        worker.advance()

    @precondition(lambda self: any(worker.busy for worker in self.house.workers))
    @rule(who=machines)
    def kill(self, who):
        worker = self.worker(who)
        self.kills += worker.busy
        worker.kill()

    @rule(seconds=st.sampled_from(PAUSES))
    def tick(self, seconds):
        self.house.world.tick(seconds)

    @rule(stages=st.integers(1, 3), only=st.integers(0, 3))
    def provider_works(self, stages, only):
        """All batches, or one of them, come some stages further."""
        batches = list(self.house.world.batches.values())
        for batch in batches if only == 0 else batches[-only : len(batches) - only + 1]:
            for _ in range(stages):
                self.house.world.progress(batch)

    @rule(why=st.sampled_from(["no-room", "no-room-told", "invalid_file"]))
    def provider_rejects(self, why):
        """Whole batches that were not validated yet."""
        if self.house.world.flavour != "openai":
            return
        told = "Enqueued token limit reached. Limit: 200 enqueued tokens." if why == "no-room-told" else ""
        for batch in list(self.house.world.batches.values()):
            if batch.state == "queued":
                self.house.weather.fired[f"rejected-{why}"] += 1
                self.house.world.reject(batch, "token_limit_exceeded" if "no-room" in why else why, told)

    @rule(kind=any_fault, times=st.sampled_from([1, 1, 1, 3]))
    def arm(self, kind, times):
        self.house.weather.arm(kind, times)

    @rule()
    def night_passes(self):
        """Everything goes as it should for some hours."""
        for number in range(3):
            worker = self.house.workers[number % 2]
            if not worker.busy:
                worker.start(one_pass)
            worker.advance()
            self.provider_works(3, 0)
            self.house.world.tick(1200.0)

    @rule(shape=st.sampled_from(["two", "one"]))
    def somebody_else_buys(self, shape):
        """A stranger's batch of the same size, in the same account."""
        self.house.world.buy(somebody_elses(self.house.world.flavour, shape), None)

    @invariant()
    def promises_hold(self):
        if hasattr(self, "house"):
            self.house.check()

    def teardown(self):
        if not hasattr(self, "house"):
            return
        try:
            if self.settles:
                self.house.settle_down()
            self.tally.count(self.house, self.kills)
        finally:
            self.house.close()
