"""What `verify` finds, and the second half of it: the results hold what the store holds, row for row."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from batchjobs.desk import Desk
from batchjobs.jobs import Job
from batchjobs.project import catch_up, job_row, object_keys
from storage.contract import Conflict, Damaged, Missing
from storage.layout import jobs_prefix, plan_key
from storage.results import Results


@dataclass(slots=True)
class Proof:
    """What was looked at, in counts, and a sentence for everything that is not as promised."""

    counts: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # what is odd, and breaks no promise

    @property
    def state(self) -> str:
        return "violated" if self.violations else "proved"

    def wrong(self, sentence: str) -> None:
        if sentence not in self.violations:
            self.violations.append(sentence)

    def note(self, sentence: str) -> None:
        self.notes.append(sentence)

    def require(self, holds: bool, sentence: str) -> None:
        if not holds:
            self.wrong(sentence)


COUNTS = (
    "jobs", "items", "succeeded", "failed", "in_flight", "shards", "requests", "outcomes", "records", "objects",
    "bytes", "compared",
)  # fmt: skip


def proof_document(proof: Proof, job: str | None) -> dict[str, Any]:
    """The JSON document of `verify`."""
    counts = {name: proof.counts[name] for name in COUNTS}
    return {"job_id": job, "state": proof.state} | counts | {"violations": proof.violations, "notes": proof.notes}


def proof_lines(proof: Proof) -> list[str]:
    """What was proved, or what was found wrong, for a tired person."""
    n = {name: f"{proof.counts[name]:,}" for name in COUNTS}
    return [
        f"{proof.state}: {n['jobs']} jobs",
        f"  {n['items']} items = {n['succeeded']} succeeded + {n['failed']} failed + {n['in_flight']} in flight",
        f"  {n['requests']} requests in {n['shards']} shards, {n['outcomes']} outcomes, none twice",
        f"  {n['objects']} objects are what was written, {n['bytes']} bytes; {n['records']} ledger records in order",
        f"  {n['compared']} comparisons of DuckDB with an object, row for row",
    ][: None if not proof.violations else 1] + [f"  {sentence}" for sentence in proof.violations + proof.notes]


def compare(desk: Desk, proof: Proof, results: Results, jobs: Sequence[Job], wanted: str | None) -> None:
    """The results, brought up to date, keep their own identities and hold exactly the rows of the store's objects."""
    try:
        troubles = catch_up(desk, results)
    except Conflict as error:
        troubles = [str(error)]
    stored = set(desk.store.children(jobs_prefix()))
    for sentence in troubles + results.violations():
        if wanted is None or not any(other in sentence for other in stored - {wanted}):
            proof.wrong(sentence)
    for name in sorted(results.job_ids() - stored):
        if wanted in (None, name):
            proof.wrong(f"job {name} is in the results and not in {desk.store.url}: restore it, or `batchjobs rebuild`")
    for job in jobs:
        _compare_job(desk, proof, results, job)


def _compare_job(desk: Desk, proof: Proof, results: Results, job: Job) -> None:
    keys = object_keys(job)
    loaded = results.loaded_objects(job.id)
    for key in sorted(loaded - keys):
        proof.wrong(f"{key} is in the results, and no ledger says that it counts")
    for key in sorted(keys - loaded):
        proof.wrong(f"{key} is not in the results")
    proof.require(results.holds_job(job_row(job)), f"{plan_key(job.id)} and the results differ about the job")
    for shard_id, kind, key in _loaded_parts(job):
        try:
            with desk.intact(key) as path:
                count, name = results.differing(kind, path, job.id, shard_id)
        except (Missing, Damaged) as error:
            proof.wrong(str(error))
            continue
        proof.counts["compared"] += 1
        proof.require(count == 0, f"{key} and the results differ in {count} {kind}, one of them {name}")


def _loaded_parts(job: Job) -> Iterator[tuple[str | None, str, str]]:
    """Shard, kind and key of everything that the results were made of."""
    for kind, key in (("carried", job.plan.carried_key), ("rejects", job.plan.rejects_key)):
        if key is not None:
            yield None, kind, key
    for shard in job.shards:
        yield shard.plan.id, "requests", shard.plan.requests_key
        if shard.plan.parent is None:  # a shard made of another holds items that are there already
            yield shard.plan.id, "items", shard.plan.requests_key
        for kind, name in (("outcomes", "outcomes_key"), ("answers", "outcomes_key"), ("strays", "strays_key")):
            if name in shard.settlement:
                yield shard.plan.id, kind, shard.settlement[name]
