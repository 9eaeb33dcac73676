"""Everything of one program: provider, store, machines; what must hold after every step, and what in the end."""

import shutil
import zlib
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import timedelta
from decimal import Decimal

import msgspec
import pyarrow.parquet

from batchjobs.decide import Hold
from batchjobs.jobs import JOB_LEDGER, Job, assemble, read_plan
from batchjobs.plan import Plan
from batchjobs.proof import Proof
from batchjobs.shards import Phase, Shard
from batchjobs.verify import prove_job, verify
from providers import load_format
from providers.contract import Outcome
from storage.layout import ledger_key
from storage.ledger import Ledger, Record
from tests.simulation.flavours import connect
from tests.simulation.memory import MemoryStore
from tests.simulation.plans import Packed, packed, workplace
from tests.simulation.weather import Clock, Weather
from tests.simulation.workers import Worker, accept, one_pass
from tests.simulation.world import Batch, World

ROUNDS_MAX = 60
ROUND_S = 2 * 3600.0
SAMPLE = 100  # one program in so many is also loaded into DuckDB


class Violation(AssertionError):
    """A promise did not hold."""


@dataclass(slots=True)
class House:
    """One world, one store, some machines, one or two jobs."""

    packs: list[Packed]
    plans: list[Plan]
    clock: Clock
    weather: Weather
    world: World
    store: MemoryStore
    workers: list[Worker]
    rebuy_is_asked: bool = True  # false for protocols that give up by themselves: then nobody asked
    cap_lifted: bool = False
    cursor: int = 0
    ledgers: dict[str, dict[str, list[Record]]] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)
    settled: dict[tuple[str, str], object] = field(default_factory=dict)
    notes: Counter[str] = field(default_factory=Counter)
    rebought: set[tuple[str, str]] = field(default_factory=set)
    eye: MemoryStore = field(init=False)  # the same objects, seen without faults

    def __post_init__(self) -> None:
        self.eye = replace(self.store, weather=Weather())

    # After every step

    def check(self) -> None:
        """The invariants."""
        self._reread()
        for tag, batches in self.world.purchases.items():
            self._require(len(batches) <= 1, f"{tag} was bought {len(batches)} times")
        for request, batches in self.world.bought.items():
            self._check_bought(request, [batch for batch in batches if batch.billable])
        for job in self.jobs.values():
            self._check_cap(job)
            self._check_cancelled(job)

    def _require(self, holds: bool, sentence: str) -> None:
        if not holds:
            raise Violation(sentence)

    def _reread(self) -> None:
        """Fold what was written since the last step; the fold raises Damaged for what cannot be."""
        fresh = self.store.created[self.cursor :]
        self.cursor = len(self.store.created)
        changed = {tuple(key.split("/")[1:4:2]) for key in fresh if "/ledger/" in key}
        for job, name in changed:
            self.ledgers.setdefault(job, {})[name] = Ledger(self.eye, job, name).records()
        accepted = {key.split("/")[1] for key in fresh if key.endswith("/plan.json")}
        for job in accepted | {job for job, _ in changed}:
            self.jobs[job] = assemble(read_plan(self.eye, job), self.ledgers.get(job, {}))
            for shard in self.jobs[job].shards:
                self._check_settled(job, shard)

    def _check_settled(self, job: str, shard: Shard) -> None:
        if shard.phase is Phase.settled:
            before = self.settled.setdefault((job, shard.plan.id), shard.settlement)
            self._require(before == shard.settlement, f"the settled shard {shard.plan.id} changed")
        else:
            self._require((job, shard.plan.id) not in self.settled, f"shard {shard.plan.id} is unsettled again")

    def _check_bought(self, request: tuple[str, str], batches: list[Batch]) -> None:
        """Once per attempt, but for what a person gave up as never bought after the grace period."""
        if len(batches) <= 1:
            return
        given_up = self._given_up(batches)
        self._require(
            len(batches) <= 1 + given_up,
            f"request {request} was bought {len(batches)} times, in {[(b.id, b.tag) for b in batches]}",
        )
        self.rebought.add(request)

    def _given_up(self, batches: list[Batch]) -> int:
        """Purchases of these that were abandoned by somebody who was told to, long enough after the intent."""
        if not self.rebuy_is_asked:
            return 0
        abandoned = 0
        for batch in batches:
            records = self.ledgers[batch.label["job"]][batch.label["shard"]]
            for record in records:
                if record.event == "abandoned" and str(record.data["send"]) == batch.label["send"]:
                    abandoned += self._honestly_given_up(batch, record)
        return abandoned

    def _honestly_given_up(self, batch: Batch, record: Record) -> bool:
        by = msgspec.json.decode(self.store.objects[self._record_key(batch, record)])["by"]
        told = next(worker for worker in self.workers if worker.name == by).rebuys
        self._require(told, f"{by} gave {batch.tag} up, and nobody had told it to")
        if (
            self.world.flavour == "openai" and not batch.forgotten
        ):  # where the tag comes back, a look would have found what was there
            lag = timedelta(seconds=self.world.limits.grace_s / 2)
            late = batch.created_at > record.at - lag
            self._require(late, f"{batch.tag} was given up, and had been there to be found for long")
        return True

    def _record_key(self, batch: Batch, record: Record) -> str:
        return ledger_key(batch.label["job"], batch.label["shard"], record.number)

    def _check_cap(self, job: Job) -> None:
        """What the provider can bill for the job, at the most, is within the cap."""
        if job.plan.max_cost is None or self.cap_lifted:
            return
        spent = sum((self._most(job, shard) for shard in job.shards), Decimal(0))
        self._require(spent <= job.plan.max_cost, f"job {job.id} can cost {spent}, the cap is {job.plan.max_cost}")

    def _most(self, job: Job, shard: Shard) -> Decimal:
        if shard.phase is Phase.settled and not shard.gone:
            return shard.cost
        mine = [b for b in self.world.batches.values() if b.label.get("shard") == shard.plan.id]
        mine = [b for b in mine if b.label["job"] == job.id and b.billable and not b.doubled]
        mine = [b for b in mine if not self._is_abandoned(b)]
        return shard.plan.ceiling_cost if mine else Decimal(0)

    def _is_abandoned(self, batch: Batch) -> bool:
        """Did a person say that it counts as never bought? Then the cap does not count it either."""
        records = self.ledgers[batch.label["job"]].get(batch.label["shard"], [])
        return any(r.event == "abandoned" and str(r.data["send"]) == batch.label["send"] for r in records)

    def _check_cancelled(self, job: Job) -> None:
        """What was not yet under way when a job was cancelled is not bought, unless a person asked for it since."""
        if not job.cancelled:
            return
        records = self.ledgers[job.id]
        cancel = next(record for record in records[JOB_LEDGER] if record.event == "cancelled")
        since = self.store.created.index(ledger_key(job.id, JOB_LEDGER, cancel.number))
        for shard in job.shards:
            for record in () if shard.plan.wanted else records.get(shard.plan.id, ()):
                intended = record.event == "intent" and f"{job.id}/{shard.plan.id}/{record.data['send']}"
                if intended and self.world.purchases.get(intended):
                    place = self.store.created.index(ledger_key(job.id, shard.plan.id, record.number))
                    self._require(place < since, f"{intended} was bought after its job was cancelled")

    # In the end

    def settle_down(self) -> None:
        """Faults stop, time passes, machines run: everything lands, or is held for a person with a sentence."""
        for worker in self.workers:
            worker.advance()
        self.weather.calm()
        self.check()
        live = self._sampled() and self._verified(self.workers[0])
        for plan in self.plans:
            if plan.job not in self.jobs:
                self.workers[0].start(accept(plan))
                self.workers[0].advance()
        self._work(person=False)
        self._check_named()
        if not all(job.finished for job in self.jobs.values()):
            self.notes["held for a person"] += 1
            self._work(person=True)
            self._check_resolved()
        self._check_end()
        self.notes["bought again as told"] += len(self.rebought)
        if live:
            self.notes["loaded into DuckDB"] += 1
            self._verified(self.workers[0])
            self._verified(self.workers[1])

    def _work(self, *, person: bool) -> None:
        """Rounds of both machines until nothing changes any more; a person gives leave to buy again, and more money."""
        self.cap_lifted = self.cap_lifted or person
        quiet = 0
        for number in range(ROUNDS_MAX):
            before = len(self.store.created)
            worker = self.workers[number % len(self.workers)]
            told: dict[str, object] = {"max_cost": Decimal(1000)} if person else {}
            worker.start(one_pass, rebuy=person, **told)
            worker.advance()
            self.check()
            for batch in self.world.batches.values():
                self.world.progress(batch)
            self.world.tick(ROUND_S)
            quiet = quiet + 1 if len(self.store.created) == before else 0
            if quiet > 2 or all(job.finished for job in self.jobs.values()):
                return
        raise Violation(f"after {ROUNDS_MAX} rounds it is still moving: {self.describe()}")

    def holds(self) -> dict[tuple[str, str], Hold]:
        """Why shards wait, as the last machine said."""
        nights = [worker.night for worker in self.workers if worker.night is not None]
        return {
            (job, shard): hold
            for night in nights
            for job, seen in night.rounds.items()
            for shard, hold in seen.holds.items()
        }

    def _check_named(self) -> None:
        holds = self.holds()
        for job in self.jobs.values():
            for shard in job.shards:
                if shard.phase is Phase.settled:
                    self._require(not job.retry_due(shard), f"{shard.plan.id} could be tried again, and is not")
                    continue
                hold = holds.get((job.id, shard.plan.id))
                self._require(hold is not None, f"shard {shard.plan.id} is stuck in silence: {self.describe()}")
                assert hold is not None
                for_somebody = hold.needs_person or hold.over_budget or hold.on_others
                self._require(for_somebody and bool(hold.reason), f"shard {shard.plan.id} waits for nobody: {hold}")
        named = any(hold.needs_person or hold.over_budget for hold in holds.values())
        done = all(job.finished for job in self.jobs.values())
        self._require(done or named, f"something waits, and no person is named: {self.describe()}")

    def _check_resolved(self) -> None:
        """What a person could decide is decided; left are two batches for one tag, and what waits for these."""
        holds = self.holds()
        for job in self.jobs.values():
            for shard in job.shards:
                if shard.phase is not Phase.settled:
                    hold = holds[job.id, shard.plan.id]
                    if hold.on_others and any("may be this shard" in one.reason for one in holds.values()):
                        continue
                    self._require(
                        "may be this shard" in hold.reason or "canary" in hold.reason,
                        f"shard {shard.plan.id} is still held: {hold.reason}",
                    )
                    self.notes["canary held" if "canary" in hold.reason else "two batches for one tag"] += 1

    def _check_end(self) -> None:
        """The identities (DESIGN §2) from the store, and the books of both sides against each other."""
        desk = self.workers[0].desk({})
        for name, job in self.jobs.items():
            proof = Proof()
            prove_job(desk, proof, name)
            self._require(not proof.violations, "; ".join(proof.violations))
            whole = job.succeeded + job.failed + job.in_flight == job.plan.items
            self._require(whole and job.in_flight >= 0, f"{self.describe()}: not every item is in one place")
            for shard in job.shards:
                self._check_booked(job, shard)

    def _check_booked(self, job: Job, shard: Shard) -> None:
        """A settled shard holds what its batch delivered, and costs what the provider charged for it."""
        if shard.phase is not Phase.settled or not shard.bought:
            return
        batch = self.world.batches[shard.batch_id]
        if shard.gone:
            self._require(self.world.gone(batch), f"{batch.id} was given up as gone, and is there")
            return
        delivered = batch.deliverable()
        cost = sum((job.plan.rates.batch_cost(usage) for _, usage in delivered.values()), Decimal(0))
        fact = f"shard {shard.plan.id} is booked with {shard.cost}, {batch.id} was charged {cost}: {shard.counts}"
        self._require(shard.cost == cost, fact)
        right = sum(fate == "ok" for fate, _ in delivered.values())
        self._require(shard.counts.get("succeeded", 0) == right, f"{fact}, {right} answers were there")

    def _sampled(self) -> bool:
        return zlib.crc32("".join(self.store.created).encode()) % SAMPLE == 0

    def _verified(self, worker: Worker) -> bool:
        """The whole store loaded into this machine's DuckDB file, and compared with it row for row."""
        proof = verify(worker.desk({}))
        self._require(not proof.violations, "; ".join(proof.violations))
        return True

    def close(self) -> None:
        for worker in self.workers:
            worker.kill()
            shutil.rmtree(worker.folder, ignore_errors=True)
        shutil.rmtree(self.store.folder, ignore_errors=True)

    def jobs_now(self) -> list[Job]:
        """The jobs as the store tells them at this moment."""
        self._reread()
        return list(self.jobs.values())

    def dead_keys(self, job: Job) -> set[str]:
        """Requests that ended without an answer, as `failures` lists them."""
        keys: set[str] = set()
        for shard in job.shards:
            if job.dead(shard):
                with self.eye.local(shard.settlement["outcomes_key"]) as path:
                    table = pyarrow.parquet.read_table(path, columns=["request_key", "outcome"]).to_pydict()
                pairs = zip(table["request_key"], table["outcome"], strict=True)
                keys |= {key for key, outcome in pairs if outcome != Outcome.succeeded}
        return keys

    def describe(self) -> str:
        return "; ".join(
            f"{job.id} {job.state}: " + ", ".join(f"{s.plan.id} {s.phase} {s.word} {s.counts}" for s in job.shards)
            for job in self.jobs.values()
        )


def build(
    flavour: str,
    shapes: list[str],
    *,
    nature: str = "mixed",
    seed: int = 0,
    max_attempts: int = 3,
    cap: Decimal | None = None,
    machines: int = 2,
    **world_options: bool,
) -> House:
    """A house whose jobs are packed and not accepted yet. `cap` is a share of what the job could cost."""
    clock, weather = Clock(), Weather()
    packs = [packed(flavour, shape) for shape in shapes]
    folder = workplace() / "objects"
    folder.mkdir(exist_ok=True)
    store = MemoryStore(folder, clock, weather)
    for pack in packs:
        for key, data in pack.objects.items():
            store._put(key, data)
        store.files |= pack.files
    limits = load_format(flavour).limits
    world = World(flavour, limits, clock, weather, nature, seed, **world_options)
    plans = [
        msgspec.structs.replace(
            pack.plan, max_attempts=max_attempts, max_cost=None if cap is None else pack.plan.ceiling_cost * cap
        )
        for pack in packs
    ]
    workers = [_worker(name, world, store) for name in "ABC"[:machines]]
    return House(packs, plans, clock, weather, world, store, workers)


def _worker(name: str, world: World, store: MemoryStore) -> Worker:
    return Worker(name, workplace() / f"machine-{name}", world.clock, store, connect(world), world.flavour)
