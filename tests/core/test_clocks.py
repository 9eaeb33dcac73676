"""Clocks that jump by a day: nothing is given up early, nothing is bought twice (RELIABILITY §5, row 17)."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from batchjobs.rounds import run_until_done
from providers.emulator import Fault
from tests.world import World, documents

MakeWorld = Callable[..., World]
DAY = timedelta(days=1)


def creates(provider: str) -> str:
    return "POST /v1/batches" if provider == "openai" else "POST /v1/messages/batches"


def results(provider: str) -> str:
    return "GET /v1/files/*" if provider == "openai" else "GET /v1/messages/batches/*/results"


def finish(world: World, job_id: str, **settings: object):
    deadline = world.env().now() + timedelta(hours=30)
    return run_until_done(world.desk(**settings), [job_id], deadline, lambda _: None).jobs[0]


def lost(make_world: MakeWorld, provider: str, **batch: object) -> tuple[World, str]:
    """A purchase that was made, with its answer lost."""
    faults = [Fault(action="accept_then_drop", route=creates(provider))]
    faults += [Fault(action="list_lag", seconds=120.0)] * bool(batch.get("lag"))
    world = make_world(provider, faults=faults)
    world.ahead = DAY * int(bool(batch.get("ahead")))
    return world, world.send(world.write(documents(6))).id


def test_a_clock_that_jumps_ahead_ends_no_grace_while_the_listing_lags(make_world: MakeWorld, provider: str):
    world, job = lost(make_world, provider, lag=True)
    world.ahead = DAY
    assert finish(world, job, rebuy_unknown=True).succeeded == 6
    assert len(world.emulator.batches) == 1


def test_a_purchase_noted_by_a_clock_that_was_ahead_is_found(make_world: MakeWorld, provider: str):
    world, job = lost(make_world, provider, ahead=True)
    world.ahead = timedelta(0)
    world.emulator.advance(1200)
    assert finish(world, job, rebuy_unknown=True).succeeded == 6
    assert len(world.emulator.batches) == 1


def test_a_clock_that_jumps_ahead_gives_up_no_batch_that_is_absent_for_a_moment(make_world: MakeWorld, provider: str):
    world = make_world(provider)
    job = world.send(world.write(documents(6))).id
    world.emulator.add_fault(Fault(action="not_found", route=creates(provider).replace("POST", "GET") + "/*", times=2))
    world.go_on(job)
    world.ahead = DAY
    world.go_on(job)
    assert finish(world, job).succeeded == 6


def test_results_that_are_absent_for_a_moment_after_a_pause_are_not_given_up(make_world: MakeWorld, provider: str):
    world = make_world(provider)
    job = world.send(world.write(documents(6))).id
    world.emulator.advance(600)
    world.emulator.add_fault(Fault(action="status", status=503, route=results(provider), times=4))
    assert world.go_on(job).state == "in flight"
    world.emulator.clear_faults()
    world.emulator.advance(12 * 3600)
    world.emulator.add_fault(Fault(action="cut", route=results(provider), framing="close", at="line", after=9, times=3))
    world.go_on(job)
    assert finish(world, job).succeeded == 6
    assert set(world.billed().values()) == {1}


@pytest.mark.parametrize("jump", [DAY, -DAY])
@pytest.mark.parametrize("after", [1, 2, 3, 4])
def test_a_jump_between_two_passes_changes_nothing(world: World, jump: timedelta, after: int):
    job = world.accept(world.write(documents(9)), shard_requests=3).plan.job
    for number in range(1, 6):
        world.go_on(job)
        world.emulator.advance(300)
        world.ahead += jump * (number == after)
    assert finish(world, job).succeeded == 9
    assert set(world.billed().values()) == {1}
    assert len(world.emulator.batches) == 3
