"""Asking about many batches at a time: only the asking is done side by side."""

from dataclasses import replace

import pytest

from batchjobs.desk import Desk
from batchjobs.observed import statuses
from batchjobs.rounds import one_pass
from providers.contract import State, Unavailable
from tests.world import World, documents


def desk_of_many(world: World) -> Desk:
    desk = world.desk(shard_requests=1)
    desk.env = replace(desk.env, threads=4)
    return desk


def test_every_batch_is_asked_about_and_noted_in_order(world: World):
    job = world.send(world.write(documents(6)), shard_requests=1)
    world.emulator.advance(30)
    world.faults.clear()
    one_pass(desk_of_many(world), [job.id])
    asked = ["status.before", "status.after", "ledger-seen.before", "ledger-seen.after"]
    assert world.faults[:24] == asked * 6
    assert {shard.number for shard in world.job(job.id).shards} == {3}


def test_the_answers_are_those_of_asking_one_by_one(world: World):
    job = world.send(world.write(documents(5)), shard_requests=1)
    desk = desk_of_many(world)
    refs = [shard.batch_id for shard in job.shards]
    provider = desk.provider_of(job.plan)
    assert [answer() for answer in statuses(provider, refs, 3)] == [provider.status(ref) for ref in refs]


def test_a_batch_that_cannot_be_asked_about_leaves_the_others(world: World):
    job = world.send(world.write(documents(3)), shard_requests=1)
    provider = desk_of_many(world).provider_of(job.plan)
    refs = [job.shards[0].batch_id, "batch_nobody_knows", job.shards[2].batch_id]
    answers = statuses(provider, refs, 2)
    first = next(answers)()
    with pytest.raises(Unavailable):
        next(answers)()
    assert {first.state, next(answers)().state} <= {State.queued, State.running}
