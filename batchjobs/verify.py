"""Proving a job (DESIGN §2): its identities from the store alone, one shard at a time, then the results against it."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pyarrow.parquet

from batchjobs.accept import order_faults
from batchjobs.desk import Desk
from batchjobs.jobs import JOB_LEDGER, Job, assemble, read_plan
from batchjobs.leftovers import damaged, drafts, lost_records, nameless
from batchjobs.project import with_results
from batchjobs.proof import Proof, compare
from batchjobs.purge import is_purged, texts_left
from batchjobs.settle import raw_lines
from batchjobs.shards import Phase, Shard
from providers.contract import Outcome
from storage.contract import Damaged, Missing
from storage.layout import jobs_prefix, ledger_key, ledgers_prefix, plan_key
from storage.ledger import Record, read_ledgers
from storage.results import Results
from storage.tables import NANO_DOLLAR

LOOKS_MAX = 5  # at a store that another machine is writing to
NAMED_MAX = 3  # ids told of many that are wrong in the same way
Columns = dict[str, list[Any]]

# Where a shard must stand before a record, and where it stands after: the life of a shard, once more and independently.
_STEPS: Mapping[str, tuple[tuple[Phase, ...], Phase | None]] = {
    "intent": ((Phase.planned,), Phase.unknown),
    "sent": ((Phase.unknown,), Phase.sent),
    "refused": ((Phase.unknown,), Phase.planned),
    "abandoned": ((Phase.unknown,), Phase.planned),
    "missed": ((Phase.unknown, Phase.sent, Phase.ended, Phase.fetched, Phase.settled), None),  # where it stood
    "seen": ((Phase.sent,), Phase.sent),
    "returned": ((Phase.sent,), Phase.planned),
    "ended": ((Phase.sent,), Phase.ended),
    "fetched": ((Phase.ended,), Phase.fetched),
    "refetched": ((Phase.fetched,), Phase.fetched),
    "disowned": ((Phase.fetched,), Phase.unknown),
    "settled": ((Phase.planned, Phase.fetched), Phase.settled),
    "resettled": ((Phase.settled,), Phase.settled),
    "retried": ((Phase.settled,), Phase.settled),
}
_JOB_EVENTS = ("cancelled", "carried", "purging", "purged")


def verify(desk: Desk, wanted: str | None = None) -> Proof:
    """Prove one job or all; whatever does not hold is a sentence of the proof. Changes nothing but the projection.

    Holds the desk throughout, so that no pass of this machine changes what is being counted; where another machine
    wrote meanwhile, what does not hold is looked at again. Raises StoreUnavailable.
    """
    with desk.exclusive("verifying"):
        for look in range(1, LOOKS_MAX + 1):
            before = _records(desk)
            proof = with_results(desk, lambda results: _prove(desk, results, wanted))
            if not proof.violations or before == _records(desk):
                break
            desk.say(f"another machine wrote while look {look} of {LOOKS_MAX} was taken")
    return proof


def _records(desk: Desk) -> set[str]:
    """Every ledger record there is."""
    return {key for job in desk.store.children(jobs_prefix()) for key in desk.store.keys(ledgers_prefix(job))}


def _prove(desk: Desk, results: Results, wanted: str | None) -> Proof:
    proof, jobs = Proof(), []
    for name in desk.store.children(jobs_prefix()):
        job = prove_job(desk, proof, name) if wanted in (None, name) else None
        if job is not None:
            jobs.append(job)
    for sentence in order_faults(desk.store) if wanted is None else ():
        proof.wrong(sentence)
    compare(desk, proof, results, jobs, wanted)
    return proof


def prove_job(desk: Desk, proof: Proof, name: str) -> Job | None:
    """Prove one job from the store alone; the job, where its plan and ledgers can be read. Raises StoreUnavailable."""
    return _JobProof(desk, proof, name).run()


@dataclass(slots=True)
class _JobProof:
    """The proof of one job from the store."""

    desk: Desk
    proof: Proof
    name: str
    ledgers: dict[str, list[Record]] = field(default_factory=dict)

    def run(self) -> Job | None:
        """The job, where its plan and its ledgers can be read; None where nothing more can be said of it."""
        before = len(self.proof.violations)
        damaged: dict[str, Damaged] = {}
        self.ledgers = read_ledgers(self.desk.store, self.name, damaged, afresh=True)
        for error in damaged.values():
            self.wrong(str(error))
        self._check_steps()
        try:
            plan = read_plan(self.desk.store, self.name)
            job = assemble(plan, self.ledgers)
        except Missing:  # without a ledger it is what an interrupted packing left, and was never accepted
            self.require(not self.ledgers and not damaged, f"{plan_key(self.name)} is gone, its ledgers are there")
            return None
        except Damaged as error:
            self.wrong(str(error))
            return None
        self._count(job)
        self._prove(job, whole=len(self.proof.violations) == before)
        if len(self.proof.violations) > before:
            return None
        self._balance(job)
        return job

    def wrong(self, sentence: str) -> None:
        self.proof.wrong(f"Job {self.name}: {sentence}")

    def require(self, holds: bool, sentence: str) -> None:
        if not holds:
            self.wrong(sentence)

    def _check_steps(self) -> None:
        """Every record can follow the one before it; a history that cannot be is not believed any further."""
        for name, records in list(self.ledgers.items()):
            odd = _odd_record(name, records)
            if odd is not None:
                key = ledger_key(self.name, name, odd.number)
                self.wrong(f"{key} ({odd.event}) cannot follow what was written before it")
                del self.ledgers[name]

    def _count(self, job: Job) -> None:
        self.proof.counts.update(
            jobs=1,
            items=job.plan.items,
            succeeded=job.succeeded,
            failed=job.failed,
            in_flight=job.in_flight,
            shards=len(job.shards),
            records=sum(map(len, self.ledgers.values())),
        )

    def _prove(self, job: Job, whole: bool) -> None:
        """`whole`: every ledger can be read, so that a shard nobody planned is none whose planning cannot be read."""
        known = {JOB_LEDGER} | {shard.plan.id for shard in job.shards}
        for name in sorted(self.ledgers.keys() - known) if whole else ():
            self.wrong(f"{ledger_key(self.name, name, 1)} belongs to no shard that was planned")
        if whole:
            self._check_nameless(job)
        self._rows(job.plan.carried_key, job.plan.reused + job.plan.carried, "carried items")
        self._rows(job.plan.rejects_key, job.plan.rejected + job.plan.duplicates, "rejected lines")
        if job.tombstone is not None:
            self._check_purged(job)
        for shard in job.shards:
            _ShardProof(self, shard, self.ledgers.get(shard.plan.id, []), is_purged(job, shard)).run()

    def _check_purged(self, job: Job) -> None:
        """Nothing is left but what a purge keeps."""
        left = texts_left(self.desk.store, job)
        self.require(not left, f"{_some(left)} should have been purged: `batchjobs purge {self.name}` again")
        done = job.tombstone is not None and job.tombstone.ended_at is not None
        self.require(done, f"its purge was not finished: `batchjobs purge {self.name}` again")

    def _check_nameless(self, job: Job) -> None:
        """What no record names was left by an interrupted command, or its record was lost; only some can be told."""
        keys = nameless(self.desk, job, self.ledgers)
        wrong = [*damaged(self.desk, keys + drafts(self.desk, self.name)), *lost_records(job, keys)]
        for sentence in wrong:
            self.wrong(sentence)
        for key in keys:
            if not any(sentence.startswith(key) for sentence in wrong):
                self.proof.note(f"Job {self.name}: {key} is named by no record: an interrupted command left it")

    def _rows(self, key: str | None, expected: int, what: str) -> None:
        """The object with a part of the input holds as many rows as the plan says."""
        rows = 0
        if key is not None:
            with self.reading(), self.object(key) as path:
                rows = pyarrow.parquet.read_metadata(path).num_rows
                self.require(rows == expected, f"{key} holds {rows} {what}, the plan counts {expected}")
            return
        self.require(expected == 0, f"the plan counts {expected} {what} and names no object with them")

    def _balance(self, job: Job) -> None:
        """Every item is in exactly one place."""
        plan = job.plan
        first = sum(shard.requests for shard in plan.shards)
        self.require(first == plan.requests, f"{first} requests were packed, the plan counts {plan.requests}")
        parts = first + plan.reused + plan.carried
        self.require(plan.items == parts, f"{plan.items} items, but {parts} requests, reused and carried ones")
        waiting = plan.carried - job.carried_succeeded - job.carried_failed
        moving = sum(_in_flight(job, shard) for shard in job.shards)
        total = job.succeeded + job.failed + moving + waiting
        fact = f"{job.succeeded} succeeded, {job.failed} failed, {moving + waiting} in flight"
        self.require(total == plan.items and waiting >= 0, f"{plan.items} items, but {fact}")

    @contextmanager
    def reading(self) -> Iterator[None]:
        """What goes wrong with one object is told, and stops nothing else."""
        try:
            yield
        except (Missing, Damaged) as error:
            self.wrong(str(error))

    @contextmanager
    def object(self, key: str) -> Iterator[Path]:
        """An object that still is what its key promises. Raises Missing, Damaged."""
        with self.desk.intact(key) as path:
            self.proof.counts.update(objects=1, bytes=path.stat().st_size)
            yield path

    def table(self, key: str, columns: Sequence[str]) -> Columns:
        with self.object(key) as path:
            read: Columns = pyarrow.parquet.read_table(path, columns=list(columns)).to_pydict()
            return read


def _odd_record(name: str, records: Sequence[Record]) -> Record | None:
    """The first record that cannot follow the ones before it."""
    if name == JOB_LEDGER:
        return next((record for record in records if record.event not in _JOB_EVENTS), None)
    phase = Phase.planned
    for record in records:
        before, after = _STEPS.get(record.event, ((), None))
        if phase not in before:
            return record
        phase = after or phase
    return None


def _in_flight(job: Job, shard: Shard) -> int:
    """Requests of a shard that have no end yet, in this shard or in one that is about to be made of it."""
    if shard.phase is not Phase.settled:
        return shard.plan.requests
    return shard.plan.requests - shard.counts.get("succeeded", 0) if job.retry_due(shard) else 0


@dataclass(slots=True)
class _ShardProof:
    """The proof of one shard: what was packed, what came back, how it ended, what was handed on."""

    job: _JobProof
    shard: Shard
    records: Sequence[Record]
    purged: bool = False  # its requests and raw answers are gone, and are not missed
    asked: Columns = field(default_factory=dict)

    def run(self) -> None:
        self.job.proof.counts["requests"] += self.shard.plan.requests
        with self.job.reading():
            self.asked = self.job.table(self.shard.plan.requests_key, ["custom_id", "request_key"])
            self._check_requests()
        lines = None
        if not self.purged:
            with self.job.reading():
                self._check_packed()
            lines = self._check_files()
        if self.shard.phase is not Phase.settled or not self.asked:
            return
        with self.job.reading():
            outcomes = self._outcomes()
            self._check_settled(outcomes, lines)
            self._check_handed_on(outcomes)

    def require(self, holds: bool, sentence: str) -> None:
        self.job.require(holds, f"shard {self.shard.plan.id}: {sentence}")

    def _check_requests(self) -> None:
        plan, ids = self.shard.plan, self.asked["custom_id"]
        self.require(len(ids) == plan.requests, f"{plan.requests_key} holds {len(ids)} requests, not {plan.requests}")
        for name, values in self.asked.items():
            twins = _repeated(values)
            self.require(not twins, f"{name} {_some(twins)} is there more than once in {plan.requests_key}")
        foreign = [one for one in ids if not one.startswith(plan.id_prefix)]
        self.require(not foreign, f"{_some(foreign)} in {plan.requests_key} is not one of its ids")

    def _check_packed(self) -> None:
        """The bytes that were or will be bought: line for line the requests that the shard is said to hold."""
        plan, sha, odd, rows = self.shard.plan, hashlib.sha256(), [], 0
        with self.job.object(plan.key) as path:
            for line, custom_id in zip_longest(raw_lines(path, sha.update), self.asked.get("custom_id", ())):
                rows += line is not None
                if line is not None and custom_id is not None and custom_id.encode() not in line:
                    odd.append(custom_id)
        self.require(rows == plan.requests, f"{plan.key} holds {rows} requests, not {plan.requests}")
        self.require(not odd, f"{_some(odd)} is not in its line of {plan.key}")
        self.require(sha.hexdigest() == plan.body_sha256, f"{plan.key} does not hold the bytes that were packed")

    def _check_files(self) -> int | None:
        """The provider's bytes, of every fetch; the lines with an answer in those that count, None if unreadable."""
        fetches: list[Sequence[Mapping[str, Any]]] = [()]
        for record in self.records:
            if record.event in ("fetched", "disowned"):
                fetches.append(record.data.get("files", ()))
            elif record.event in ("refetched", "resettled"):  # what they replaced was damaged
                fetches[-1] = record.data["files"]
        found = [[self._check_file(file) for file in files] for files in fetches]
        return None if None in found[-1] else sum(lines or 0 for lines in found[-1])

    def _check_file(self, file: Mapping[str, Any]) -> int | None:
        sha, lines, answers = hashlib.sha256(), 0, 0
        key = file["key"]
        with self.job.reading(), self.job.object(key) as path:
            for line in raw_lines(path, sha.update):
                lines += 1
                answers += bool(line.strip())
            same = (lines, sha.hexdigest()) == (file["lines"], file["sha256"])
            self.require(same, f"{key} does not hold the {file['lines']} lines that were fetched")
            return answers if file["kind"] != "batch" else 0
        return None

    def _outcomes(self) -> Columns:
        columns = ["custom_id", "request_key", "outcome", "raw_key", "raw_line"]
        return self.job.table(self.shard.settlement["outcomes_key"], columns + list(_SUMS))

    def _check_settled(self, outcomes: Columns, lines: int | None) -> None:
        """Outcomes and requests are one to one, and what the ledger says of them is what they come to."""
        key, settlement = self.shard.settlement["outcomes_key"], self.shard.settlement
        self.job.proof.counts["outcomes"] += len(outcomes["custom_id"])
        asked, told = (list(zip(t["custom_id"], t["request_key"], strict=True)) for t in (self.asked, outcomes))
        if asked != told:
            self.require(not (missing := set(asked) - set(told)), f"{_some_ids(missing)} has no outcome in {key}")
            self.require(not (strange := set(told) - set(asked)), f"{_some_ids(strange)} in {key} was never asked")
            twins = _repeated(outcomes["custom_id"])
            self.require(not twins, f"{_some(twins)} has more than one outcome in {key}")
        counts = dict(Counter(outcomes["outcome"]))
        self.require(counts == settlement["counts"], f"{key} holds {counts}, the ledger says {settlement['counts']}")
        self.require(counts.keys() <= set(Outcome), f"{key} holds outcomes that do not exist: {sorted(counts)}")
        ends = {end for end, mended in zip(outcomes["outcome"], outcomes["repaired"], strict=True) if mended}
        self.require(ends <= {"succeeded"}, f"{key} holds repaired answers that did not succeed")
        for column, name in _SUMS.items():
            self._check_sum(outcomes[column], name, key)
        self._check_lines(outcomes, lines, key)

    def _check_sum(self, values: Sequence[Any], name: str, key: str) -> None:
        """Money is rounded to a nano-dollar in every row, not in the ledger; old ledgers do not speak of repairs."""
        total = sum(values, Decimal(0))
        said = Decimal(({"repaired": total} | self.shard.settlement)[name])
        near = abs(total - said) <= len(values) * NANO_DOLLAR / 2 if name.endswith("cost") else total == said
        self.require(near, f"the {name} of {key} comes to {total}, the ledger says {said}")

    def _check_lines(self, outcomes: Columns, lines: int | None, key: str) -> None:
        """Every line the provider sent is the source of one outcome, or is kept as a stray."""
        strays = self.shard.settlement["strays"]
        stray_key = self.shard.settlement.get("strays_key")
        if stray_key is not None:
            with self.job.object(stray_key) as path:
                rows = pyarrow.parquet.read_metadata(path).num_rows
                self.require(rows == strays, f"{stray_key} holds {rows} strays, the ledger says {strays}")
        pairs = zip(outcomes["raw_key"], outcomes["raw_line"], strict=True)
        sources = [(file, line) for file, line in pairs if file is not None]
        fact = f"{len(sources)} outcomes and {strays} strays of {key} come from {lines} lines of the provider"
        self.require(lines in (None, len(sources) + strays) and not _repeated(sources), fact)
        foreign = {file for file, _ in sources} - {file["key"] for file in self.shard.files}
        self.require(not foreign, f"{_some(foreign)} is named by {key} and was never fetched")

    def _check_handed_on(self, outcomes: Columns) -> None:
        """Shards made of this one hold requests of it that did not succeed, and none of them twice."""
        parent = dict(zip(outcomes["request_key"], outcomes["outcome"], strict=True))
        seen: set[str] = set()
        for child in self.shard.children:
            with self.job.desk.intact(child.requests_key) as path:
                keys = pyarrow.parquet.read_table(path, columns=["request_key"]).column(0).to_pylist()
            fresh = [key for key in keys if parent.get(key, Outcome.succeeded) == Outcome.succeeded]
            self.require(not fresh, f"{_some(fresh)} was not for shard {child.id} to try again")
            twice = seen & set(keys)
            self.require(not twice, f"{_some(twice)} was handed on twice, the second time to shard {child.id}")
            seen |= set(keys)


_SUMS = {name: name for name in ("repaired", "input_tokens", "output_tokens")}
_SUMS |= {"cost_usd": "cost", "sync_cost_usd": "sync_cost"}


def _repeated(values: Sequence[Any]) -> list[Any]:
    return [] if len(set(values)) == len(values) else [value for value, n in Counter(values).items() if n > 1]


def _some(names: Any) -> str:
    """A few of the names, and how many more there are."""
    told = sorted(map(str, names))
    more = f" and {len(told) - NAMED_MAX} more" if len(told) > NAMED_MAX else ""
    return ", ".join(told[:NAMED_MAX]) + more


def _some_ids(pairs: Any) -> str:
    return _some(custom_id for custom_id, _ in pairs)
