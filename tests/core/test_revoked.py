"""A key revoked in the middle of a night: stop before anything is written, go on with the right one (row 12)."""

from collections.abc import Callable

import pytest

from batchjobs.errors import Unreachable
from providers.emulator import Fault
from tests.world import World, documents

MakeWorld = Callable[..., World]


@pytest.fixture(params=[401, 403])
def revoke(request: pytest.FixtureRequest) -> Fault:
    return Fault(action="status", status=request.param, times=0)


def records(world: World) -> list[str]:
    return [key for key in world.desk().store.keys("jobs/") if "/ledger/" in key]


def test_a_key_revoked_before_the_purchase_buys_nothing(world: World, revoke: Fault):
    world.emulator.add_fault(revoke)
    with pytest.raises(Unreachable, match=r"refused .*run the same command again") as caught:
        world.send(world.write(documents(4)))
    assert not caught.value.passing
    assert not world.emulator.batches
    world.emulator.clear_faults()
    assert world.run(world.folder / "items.jsonl").succeeded == 4


@pytest.mark.parametrize("advance", [60.0, 600.0])
def test_a_key_revoked_in_flight_stops_the_pass_before_it_writes(world: World, revoke: Fault, advance: float):
    job = world.send(world.write(documents(4)))
    before = records(world)
    world.emulator.advance(advance)
    world.emulator.add_fault(revoke)
    with pytest.raises(Unreachable, match=r"needs a person.*run the same command again"):
        world.go_on(job.id)
    assert records(world) == before
    world.emulator.clear_faults()
    assert world.run(world.folder / "items.jsonl").succeeded == 4
    assert len(world.emulator.batches) == 1


def test_a_key_revoked_before_the_download_leaves_the_results_to_be_fetched(world: World, revoke: Fault):
    job = world.send(world.write(documents(4)))
    world.emulator.advance(600)
    route = "GET /v1/files/*" if world.provider == "openai" else "GET /v1/messages/batches/*/results"
    world.emulator.add_fault(Fault(action="status", status=revoke.status, route=route, times=0))
    with pytest.raises(Unreachable):
        world.go_on(job.id)
    assert {shard.phase.value for shard in world.job(job.id).shards} == {"ended"}
    world.emulator.clear_faults()
    assert world.go_on(job.id).succeeded == 4
