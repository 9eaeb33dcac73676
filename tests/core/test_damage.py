"""Damage to one object is named, and stops nothing else."""

from collections.abc import Callable
from pathlib import Path

import pytest

from batchjobs.errors import Broken
from batchjobs.jobs import load_all
from batchjobs.rounds import one_pass, run_until_done
from storage.layout import ledger_key
from tests.damage.kit import flip
from tests.world import World, documents

MakeWorld = Callable[..., World]


def test_a_damaged_job_is_named_and_the_others_go_on(make_world: MakeWorld):
    world = make_world()
    broken = world.run(world.write(documents(3, "old"), "old.jsonl"))
    accepted = world.accept(world.write(documents(4))).plan.job
    flip(Path(world.store) / ledger_key(broken.id, "1-00001", 1))
    job = run_until_done(world.desk(), [accepted], None, lambda _: None).jobs[0]
    assert (job.succeeded, job.state) == (4, "finished")
    jobs, troubles = load_all(world.desk().store)
    assert [one.id for one in jobs] == [job.id]
    assert broken.id in troubles[0]


def test_nothing_new_is_packed_while_what_was_bought_cannot_be_read(make_world: MakeWorld):
    world = make_world()
    broken = world.run(world.write(documents(3)))
    flip(Path(world.store) / ledger_key(broken.id, "1-00001", 1))
    with pytest.raises(Broken, match="Nothing was packed"):
        world.accept(world.write(documents(4), "more.jsonl"))


def test_a_damaged_shard_is_never_bought(make_world: MakeWorld):
    world = make_world()
    accepted = world.accept(world.write(documents(8)), shard_requests=4).plan
    flip(Path(world.store) / accepted.shards[0].key)
    night = one_pass(world.desk(), [accepted.job])
    assert "1-00001" in night.rounds[accepted.job].holds
    assert [batch.requests for batch in world.emulator.batches] == [4]
    assert len(world.emulator.batches) == 1


def test_damaged_outcomes_are_named_and_other_shards_are_merged(make_world: MakeWorld):
    world = make_world()
    job = world.run(world.write(documents(8)), shard_requests=4)
    damaged = Path(world.store) / job.shards[0].settlement["outcomes_key"]
    flip(damaged)
    desk = world.desk()
    desk.database.unlink()
    troubles = one_pass(desk, [job.id]).troubles
    assert damaged.name in troubles[0]
    assert world.sql("SELECT count(*) FROM label") == [(4,)]
