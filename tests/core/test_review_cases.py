"""Ways to lose money that a review found: each one was real, each one stays shut."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from batchjobs.errors import Unreachable, UsageError
from batchjobs.rehearsal import variables
from batchjobs.rounds import one_pass, run_until_done
from batchjobs.shards import Phase
from providers.emulator import Emulator, Fault, Rates
from tests.core.test_interventions import finish, retry
from tests.world import World, documents

MakeWorld = Callable[..., World]


def counted(world: World, job_id: str) -> tuple[int, int]:
    job = world.job(job_id)
    return job.succeeded + job.failed + job.in_flight, job.in_flight


def test_a_retry_after_exhausted_attempts_plans_each_dead_letter_once(make_world: MakeWorld):
    world = make_world("openai", rates=Rates(invalid=0.3, permanent=0.2))
    job = world.run(world.write(documents(40)), max_attempts=2)
    assert retry(world, job.id) == job.failed > 0
    assert counted(world, job.id) == (40, job.failed)
    assert retry(world, job.id) == 0
    assert finish(world, job.id).in_flight == 0
    assert set(Counter(charge.custom_id for charge in world.emulator.charges).values()) == {1}


def test_a_task_changed_after_acceptance_stops_its_job_before_anything_is_misjudged(
    make_world: MakeWorld, tmp_path: Path
):
    task = tmp_path / "task.toml"
    text = (Path(__file__).parents[2] / "examples/summarise/task.toml").read_text()
    task.write_text(text)
    world = make_world("openai")
    source = Path(__file__).parents[2] / "examples/summarise/documents.jsonl"
    job = world.send(source, task=str(task), shard_requests=2)
    task.write_text(text.replace("version = 1", "version = 2"))
    world.emulator.advance(600)
    with pytest.raises(UsageError, match="was changed after job"):
        one_pass(world.desk(), [job.id])
    assert {shard.phase for shard in world.job(job.id).shards} == {Phase.fetched}  # it is ours, whoever will read it
    task.write_text(text)
    assert finish(world, job.id).succeeded == job.plan.items
    assert len(world.emulator.batches) == len(job.shards) > 1


def test_a_job_is_never_sent_to_another_address(make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch):
    world = make_world("openai")
    job = world.accept(world.write(documents(3))).plan.job
    monkeypatch.setenv("OPENAI_BASE_URL", world.emulator.url.replace("127.0.0.1", "localhost") + "/v1")
    with pytest.raises(Unreachable, match=r"was made for 127\.0\.0\.1"):
        one_pass(world.desk(), [job])
    assert not world.emulator.batches


def test_shards_that_are_packed_anew_twice_never_share_a_name(make_world: MakeWorld):
    world = make_world("openai", rates=Rates(transient=0.5))
    job = world.accept(world.write(documents(60)), shard_requests=60).plan.job
    for size in (20, 7, 3):
        world.emulator.advance(600)
        one_pass(world.desk(shard_requests=size), [job])
    assert finish(world, job).succeeded + world.job(job).failed == 60
    names = [shard.plan.id for shard in world.job(job).shards]
    assert len(names) == len(set(names))


def test_one_jobs_cap_and_rebuy_are_not_lent_to_another(make_world: MakeWorld):
    world = make_world("openai", faults=[Fault(route="POST /v1/batches", action="drop_before")])
    held = world.send(world.write(documents(5)))
    assert held.state == "unknown purchase"
    world.emulator.advance(7200)
    night = world.night(world.write(documents(8), "more.jsonl"), rebuy_unknown=True, max_cost="50")
    assert world.job(held.id).state == "unknown purchase"
    assert not night.finished
    assert night.stopped


def test_no_price_does_not_switch_the_cap_off(make_world: MakeWorld):
    world = make_world("openai")
    with pytest.raises(UsageError, match="max-cost"):
        world.accept(world.write(documents(3)), no_price=True, max_cost="1", model="no-such-model")
    assert world.accept(world.write(documents(3)), no_price=True).plan.ceiling_cost > 0


def test_a_job_found_after_its_cancel_is_stopped_at_the_provider(make_world: MakeWorld):
    from batchjobs.collect import cancel

    world = make_world("openai", faults=[Fault(route="POST /v1/batches", action="accept_then_drop")])
    job = world.send(world.write(documents(5)))
    list(cancel(world.desk(), job))
    world.go_on(job.id)
    assert world.emulator.batches[0].status == "cancelling"


def test_an_unknown_canary_does_not_keep_a_run_waiting_for_ever(make_world: MakeWorld):
    world = make_world("openai", faults=[Fault(route="POST /v1/batches", action="drop_before")])
    job = world.accept(world.write(documents(9)), canary=3).plan.job
    night = run_until_done(world.desk(), [job], None, lambda _: None)
    assert "rebuy-unknown" in night.stopped


def test_what_ended_is_collected_even_when_nothing_can_be_sent(make_world: MakeWorld):
    world = make_world("openai", rates=Rates(transient=1.0))
    job = world.send(world.write(documents(6)), shard_requests=3)
    world.emulator.advance(600)
    world.emulator.add_fault(Fault(route="POST /v1/files", action="status", status=403, times=0))
    one_pass(world.desk(), [job.id])
    with pytest.raises(Unreachable):
        one_pass(world.desk(), [job.id])
    assert {shard.phase.value for shard in world.job(job.id).shards} == {"settled", "planned"}


def test_a_stranger_folder_among_the_jobs_stops_nothing(make_world: MakeWorld):
    world = make_world("openai")
    (Path(world.store) / "jobs/_trash").mkdir(parents=True)
    assert world.run(world.write(documents(2))).succeeded == 2


def test_prompts_of_a_killed_process_are_swept(make_world: MakeWorld):
    world = make_world("openai")
    desk = world.desk()
    left = desk.state_dir / "spool-dead"
    left.mkdir()
    (left / "shard.jsonl").write_text("a prompt")
    with desk.exclusive("test"):
        assert not left.exists()


def test_two_stores_never_share_a_database(make_world: MakeWorld, tmp_path: Path):
    world = make_world("openai")
    world.run(world.write(documents(4)))
    other = World(world.emulator, str(tmp_path / "other"), tmp_path, "openai")
    assert other.run(world.folder / "items.jsonl").plan.reused == 0
    other.close()


def test_variables_point_every_sdk_at_the_emulator():
    with Emulator() as emulator:
        assert set(variables(emulator.url)) == {
            "OPENAI_BASE_URL",
            "OPENAI_API_KEY",
            "ANTHROPIC_BASE_URL",
            "AZURE_OPENAI_ENDPOINT",
            "AZURE_OPENAI_API_KEY",
            "OPENAI_API_VERSION",
            "GROQ_BASE_URL",
            "GROQ_API_KEY",
            "AWS_ENDPOINT_URL_BEDROCK",
            "AWS_ENDPOINT_URL_BEDROCK_RUNTIME",
            "AWS_ENDPOINT_URL_SERVICE_QUOTAS",
            "ANTHROPIC_API_KEY",
        }
