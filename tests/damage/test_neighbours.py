"""Objects where none was written: copies under a neighbour's legal name, answers whose records were lost."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from batchjobs.collect import fetch
from batchjobs.jobs import Job, load_all
from batchjobs.poll import poll
from batchjobs.rounds import one_pass, run_until_done
from batchjobs.verify import verify
from providers.emulator import Rates
from storage.layout import ledger_prefix
from tests.damage.kit import fetched, raw_of
from tests.world import World, documents

MakeWorld = Callable[..., World]


@pytest.fixture
def two(make_world: MakeWorld) -> tuple[World, Job]:
    """A finished job of two shards with retries, and the files of its store."""
    world = make_world(rates=Rates(transient=0.3))
    return world, world.run(world.write(documents(12)), shard_requests=6)


def named(world: World, path: Path) -> bool:
    return any(str(path.relative_to(world.store)) in sentence for sentence in verify(world.desk()).violations)


def one(world: World, job: Job, pattern: str) -> Path:
    return min((Path(world.store) / "jobs" / job.id).glob(pattern))


@pytest.mark.parametrize(
    ("original", "neighbour"),
    [
        ("ledger/1-00001/000002.json", "ledger/1-00001/{last}.json"),
        ("ledger/1-00001/000003.json", "ledger/1-00002/{last}.json"),
        ("ledger/1-00001/000001.json", "ledger/1-00003/000001.json"),
        ("raw/1-00001/*", "raw/1-00001/1-output.00000000.jsonl.zst"),
        ("outcomes/1-00001.*", "outcomes/1-00001.00000000.parquet"),
        ("shards/1-00001.*.jsonl.zst", "shards/1-00001.00000000.jsonl.zst"),
        ("shards/1-00001.*.parquet", "shards/1-00002.00000000.items.parquet"),
    ],
)
def test_a_copy_under_a_neighbours_name_is_named(two: tuple[World, Job], original: str, neighbour: str):
    world, job = two
    folder = Path(world.store) / "jobs" / job.id
    last = 1 + len(list((folder / neighbour).parent.glob("*.json")))
    target = folder / neighbour.format(last=f"{last:06d}")
    target.parent.mkdir(exist_ok=True)
    shutil.copy(one(world, job, original), target)
    assert named(world, target)


def test_a_record_of_another_shard_is_not_believed(world: World):
    job = world.send(world.write(documents(12)), shard_requests=6)
    world.emulator.advance(1200)
    poll(world.desk(), job, send=False)
    job = world.job(job.id)
    fetch(world.desk(), job, job.shards[0])
    records = sorted((Path(world.store) / ledger_prefix(job.id, "1-00001")).iterdir())
    copy = Path(world.store) / ledger_prefix(job.id, "1-00002") / records[-1].name
    shutil.copy(records[-1], copy)  # it would say that the second shard's answers are those of the first
    assert named(world, copy)
    assert copy.name in load_all(world.desk().store)[1][0]


def test_a_plan_in_another_jobs_place_is_named_and_buys_nothing(two: tuple[World, Job]):
    world, job = two
    other = Path(world.store) / "jobs" / f"{job.id}9"
    other.mkdir()
    shutil.copy(one(world, job, "plan.json"), other)
    batches = len(world.emulator.batches)
    assert named(world, other / "plan.json")
    assert [good.id for good in load_all(world.desk().store)[0]] == [job.id]
    one_pass(world.desk(), [job.id])
    assert len(world.emulator.batches) == batches


@pytest.mark.parametrize("kind", ["raw/1-00001/*", "outcomes/1-00001.*", "shards/1-00001.*.parquet"])
def test_a_sound_object_that_no_record_names_is_a_note(two: tuple[World, Job], kind: str):
    world, job = two
    path = one(world, job, kind)
    copy = path.with_name(path.name.replace("1-", "7-", 1))
    shutil.copy(path, copy)
    proof = verify(world.desk())
    assert proof.violations == []
    assert [str(copy.relative_to(world.store)) in note for note in proof.notes] == [True]


def test_a_shard_whose_answers_are_there_is_not_bought_again_when_its_ledger_is_lost(world: World):
    job = fetched(world)
    raw = raw_of(world, job)
    shutil.rmtree(Path(world.store) / ledger_prefix(job.id, "1-00001"))
    night = one_pass(world.desk(), [job.id])
    assert len(world.emulator.batches) == 1
    assert raw.name in night.rounds[job.id].holds["1-00001"].reason
    assert named(world, raw)


@pytest.mark.parametrize("lost", [1, 2, 3])
def test_a_job_whose_last_records_were_lost_ends_all_the_same_and_pays_once(world: World, lost: int):
    job = fetched(world)
    records = sorted((Path(world.store) / ledger_prefix(job.id, "1-00001")).iterdir())
    assert len(records) == 4  # intent, sent, ended, fetched
    for path in records[-lost:]:
        path.unlink()
    job = run_until_done(world.desk(), [job.id], None, lambda _: None).jobs[0]
    assert (job.state, job.succeeded, len(world.emulator.batches)) == ("finished", 6, 1)
    assert verify(world.desk()).violations == []
