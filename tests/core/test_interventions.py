"""What a person can do to a job: a canary first, retry, cancel, a cap; and what an absent batch does to it."""

from collections.abc import Callable

import pytest

from batchjobs.actions import _plan_retries
from batchjobs.collect import cancel
from batchjobs.errors import Unreachable
from batchjobs.project import catch_up, open_results
from batchjobs.rounds import run_until_done
from providers.emulator import Fault, Rates
from tests.world import World, documents

MakeWorld = Callable[..., World]


def retry(world: World, job_id: str) -> int:
    desk = world.desk()
    with desk.exclusive("test"):
        with open_results(desk) as results:
            catch_up(desk, results)
            keys = {failure.request_key for failure in results.failures(job_id)}
        return _plan_retries(desk, world.job(job_id), keys)


def finish(world: World, job_id: str):
    return run_until_done(world.desk(), [job_id], None, lambda _: None).jobs[0]


def test_the_canary_goes_first_and_the_rest_when_it_went_well(world: World):
    source = world.write(documents(30))
    job = world.send(source, canary=5)
    assert [shard.phase.value for shard in job.shards] == ["sent", "planned"]
    assert world.run(source, canary=5).succeeded == 30
    assert [batch.requests for batch in world.emulator.batches] == [5, 25]


def test_a_canary_that_fails_holds_the_rest_for_a_person(make_world: MakeWorld, provider: str):
    world = make_world(provider, rates=Rates(permanent=1.0))
    night = world.night(world.write(documents(30)), canary=5)
    assert "canary failed" in night.stopped
    assert [batch.requests for batch in world.emulator.batches] == [5]


def test_a_retry_buys_the_dead_letters_and_nothing_else(make_world: MakeWorld, provider: str):
    world = make_world(provider, rates=Rates(invalid=1.0))
    job = world.run(world.write(documents(4)), max_attempts=1)
    assert (job.failed, job.in_flight) == (4, 0)
    assert retry(world, job.id) == 4
    assert world.job(job.id).in_flight == 4
    job = finish(world, job.id)
    assert (job.succeeded + job.failed, job.in_flight) == (4, 0)
    assert sum(batch.requests for batch in world.emulator.batches) == 8


def test_a_retry_without_failures_buys_nothing(world: World):
    job = world.run(world.write(documents(3)))
    assert retry(world, job.id) == 0


def test_a_cancelled_job_can_be_taken_up_again_by_a_retry(world: World):
    job = world.accept(world.write(documents(6)), shard_requests=3).plan.job
    list(cancel(world.desk(), world.job(job)))
    cancelled = world.go_on(job)
    assert (cancelled.state, cancelled.failed) == ("cancelled", 6)
    assert not world.emulator.batches
    assert retry(world, job) == 6
    assert finish(world, job).succeeded == 6


def test_retries_stay_under_the_cap(make_world: MakeWorld, provider: str):
    world = make_world(provider, rates=Rates(invalid=1.0))
    source = world.write(documents(20))
    ceiling = world.accept(source).plan.ceiling_cost
    night = world.night(source, max_cost=str(ceiling))
    assert night.over_budget
    assert night.jobs[0].committed <= ceiling
    assert "over budget" in night.stopped


def test_a_batch_the_provider_forgets_for_a_moment_is_not_given_up(make_world: MakeWorld, provider: str):
    route = "GET /v1/batches/*" if provider == "openai" else "GET /v1/messages/batches/*"
    world = make_world(provider, faults=[Fault(action="not_found", route=route, times=6)])
    job = world.run(world.write(documents(4)))
    assert (job.succeeded, len(world.emulator.batches)) == (4, 1)


def test_a_batch_the_provider_forgets_for_good_is_failed_and_not_bought_again(make_world: MakeWorld, provider: str):
    route = "GET /v1/batches/*" if provider == "openai" else "GET /v1/messages/batches/*"
    world = make_world(provider, faults=[Fault(action="not_found", route=route, times=0)])
    job = world.run(world.write(documents(4)), interval=1800.0)
    assert (job.finished, job.failed, len(world.emulator.batches)) == (True, 4, 1)
    assert world.sql("SELECT DISTINCT code FROM dead_letters") == [("gone",)]


def refuse(world: World, status: int) -> None:
    world.emulator.add_fault(Fault(route="POST /v1/batches", action="status", status=status))


def uploads(world: World) -> int:
    return sum((request.method, request.path) == ("POST", "/v1/files") for request in world.emulator.requests)


def test_another_account_gets_an_upload_of_its_own(make_world: MakeWorld):
    world = make_world("openai")
    refuse(world, 403)
    with pytest.raises(Unreachable, match="refused"):
        world.send(world.write(documents(4)))
    assert world.run(world.folder / "items.jsonl").succeeded == 4
    assert uploads(world) == 2


def test_an_upload_waits_with_its_shard_for_room(make_world: MakeWorld):
    world = make_world("openai")
    refuse(world, 429)
    assert world.run(world.write(documents(4))).succeeded == 4
    assert uploads(world) == 1


def test_a_purchase_that_was_refused_for_now_is_not_tried_again_at_once(make_world: MakeWorld):
    world = make_world("openai")
    refuse(world, 429)
    job = world.send(world.write(documents(4)))
    assert world.go_on(job.id).shards[0].bounces == 1
    assert not world.emulator.batches


def test_a_refusal_of_an_old_upload_is_not_believed_of_the_requests(make_world: MakeWorld):
    world = make_world("openai")
    refuse(world, 429)
    job = world.send(world.write(documents(4)))
    refuse(world, 400)
    world.emulator.advance(3600)
    assert world.go_on(job.id).failed == 0
    assert finish(world, job.id).succeeded == 4
    assert uploads(world) == 2


def test_a_request_that_is_refused_with_a_fresh_upload_is_a_dead_letter(make_world: MakeWorld):
    world = make_world("openai")
    refuse(world, 400)
    assert world.send(world.write(documents(4))).failed == 4
