"""What is damaged and can be got or made again is got or made again; what cannot is said, and waits for a person."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from msgspec import structs
from pydantic import Field

from batchjobs.collect import cancel, mend_job
from batchjobs.judge import Judge
from batchjobs.rounds import one_pass, project
from batchjobs.settle import settle_again
from batchjobs.shards import Phase
from batchjobs.verify import verify
from providers.emulator import Fault, Rates
from storage.contract import Damaged
from tests.damage.kit import DAMAGES, fetched, flip, judging, outcomes_of, raw_of, settled
from tests.small_task import Label
from tests.world import World, documents

MakeWorld = Callable[..., World]
RETENTION_S = 31 * 86_400


def mended(world: World, job_id: str) -> list[str]:
    """`batchjobs collect JOB`, for a job that has ended."""
    desk = world.desk()
    with desk.exclusive("test"):
        return mend_job(desk, world.job(job_id)) + project(desk)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_raw_file_that_is_not_settled_yet_is_fetched_again(world: World, damage: str):
    job = fetched(world)
    DAMAGES[damage](raw_of(world, job))
    job = world.go_on(job.id)
    assert (job.state, job.succeeded) == ("finished", 6)
    assert verify(world.desk()).violations == []


def test_what_the_provider_keeps_no_more_is_said_and_waits_for_a_person(world: World):
    job = fetched(world)
    flip(raw_of(world, job))
    world.emulator.advance(RETENTION_S)
    night = one_pass(world.desk(), [job.id])
    assert raw_of(world, job).name in night.troubles[0]
    assert f"batchjobs cancel {job.id}" in night.troubles[0]
    assert night.jobs[0].shards[0].phase is Phase.fetched


def test_restoring_the_object_is_enough(world: World):
    job = fetched(world)
    shutil.copy(raw_of(world, job), world.folder / "backup")
    flip(raw_of(world, job))
    world.emulator.advance(RETENTION_S)
    one_pass(world.desk(), [job.id])
    shutil.copy(world.folder / "backup", raw_of(world, job))
    assert world.go_on(job.id).succeeded == 6


def test_a_cancelled_job_gives_up_what_nobody_has(world: World):
    job = fetched(world)
    flip(raw_of(world, job))
    world.emulator.advance(RETENTION_S)
    list(cancel(world.desk(), job))
    job = world.go_on(job.id)
    assert (job.finished, job.failed) == (True, 6)
    assert "damaged or missing" in world.sql("SELECT DISTINCT message FROM dead_letters")[0][0]
    assert verify(world.desk()).violations == []


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("kind", ["outcomes", "raw", "both"])
def test_the_objects_of_a_finished_job_are_made_again(make_world: MakeWorld, kind: str, damage: str):
    world = make_world(rates=Rates(permanent=0.2))
    job = world.run(world.write(documents(12)))
    before = world.sql("SELECT * FROM label ORDER BY ALL")
    for path in {"outcomes": [outcomes_of], "raw": [raw_of], "both": [outcomes_of, raw_of]}[kind]:
        DAMAGES[damage](path(world, job))
    assert verify(world.desk()).violations
    assert mended(world, job.id) == []
    assert verify(world.desk()).violations == []
    assert world.sql("SELECT * FROM label ORDER BY ALL") == before
    assert len(world.emulator.batches) == 1


def test_an_object_that_is_missing_gets_its_own_key_back_and_no_record(world: World):
    job = world.run(world.write(documents(6)))
    outcomes_of(world, job).unlink()
    assert mended(world, job.id) == []
    assert world.job(job.id) == job


def test_what_is_made_again_serves_a_rebuild(world: World):
    job = world.run(world.write(documents(6)))
    flip(outcomes_of(world, job))
    mended(world, job.id)
    world.desk().database.unlink()
    assert mended(world, job.id) == []
    assert world.sql("SELECT count(*) FROM label") == [(6,)]


def test_damaged_outcomes_do_not_stop_a_retry(make_world: MakeWorld, provider: str):
    world = make_world(provider, rates=Rates(transient=0.4))
    job = settled(world, 12)
    assert job.retry_due(job.shards[0])
    flip(outcomes_of(world, job))
    job = world.go_on(job.id)
    assert job.shards[0].handed_on == 12 - job.succeeded > 0
    assert verify(world.desk()).violations == []


def test_strays_are_made_again(make_world: MakeWorld):
    world = make_world(faults=[Fault(action="stranger_lines", count=2)])
    job = world.run(world.write(documents(6)))
    flip(Path(world.store) / job.shards[0].settlement["strays_key"])
    assert mended(world, job.id) == []
    assert verify(world.desk()).violations == []
    assert world.sql("SELECT count(*) FROM strays") == [(2,)]


def test_outcomes_of_what_was_never_bought_are_made_again_too(world: World):
    job = world.accept(world.write(documents(6))).plan.job
    list(cancel(world.desk(), world.job(job)))
    done = world.go_on(job)
    flip(outcomes_of(world, done))
    assert mended(world, job) == []
    assert verify(world.desk()).violations == []
    assert world.sql("SELECT DISTINCT message FROM dead_letters") == [("cancelled before it was sent",)]


class StricterLabel(Label):
    score: int = Field(ge=0, le=0)


def test_outcomes_that_would_come_out_otherwise_replace_nothing(world: World):
    job = world.run(world.write(documents(6)))
    desk, shard = world.desk(), job.shards[0]
    flip(outcomes_of(world, job))
    stricter = Judge(desk.format(world.provider, job.plan.endpoint), StricterLabel)
    with pytest.raises(Damaged, match="judged differently"):
        settle_again(desk, job, shard, shard.files, partial(map, stricter.judged))
    assert world.job(job.id) == job


def test_a_download_that_comes_out_shorter_replaces_nothing(world: World):
    job = world.run(world.write(documents(6)))
    flip(raw_of(world, job))
    world.emulator.add_fault(Fault(action="missing_lines", count=1, times=0))
    assert "can be read" in mended(world, job.id)[0]
    assert world.job(job.id).shards[0].files == job.shards[0].files


def test_raw_files_that_nobody_has_are_said_and_their_answers_stay(world: World):
    job = world.run(world.write(documents(6)))
    flip(raw_of(world, job))
    world.emulator.advance(RETENTION_S)
    [sentence] = mended(world, job.id)
    assert raw_of(world, job).name in sentence
    assert world.job(job.id).succeeded == 6
    assert world.sql("SELECT count(*) FROM label") == [(6,)]


def test_money_in_the_words_of_an_earlier_release_is_the_same_money(world: World):
    job = world.run(world.write(documents(6)))
    shard = job.shards[0]
    zeros = {name: f"{shard.settlement[name]}000" for name in ("cost", "sync_cost")}
    old = structs.replace(shard, settlement=shard.settlement | zeros)
    settle_again(world.desk(), job, old, old.files, judging(world.desk(), job))
    assert world.job(job.id) == job
