"""A whole night on Bedrock: shards and answers in one S3 bucket, a token that buys once (RELIABILITY §4.1)."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from batchjobs.errors import OverBudget, Unreachable, UsageError
from batchjobs.rounds import one_pass
from batchjobs.submit import resolve, submit
from batchjobs.verify import verify
from providers.emulator import BedrockSettings, Fault, Rates
from storage import open_store
from tests.world import World, documents

MODEL = "us.anthropic.claude-haiku-4-5-20251001-v1:0"
CREATE, INVOKE = "POST /model-invocation-job", "POST /model/*"
ASKED: dict[str, Any] = {"model": MODEL, "bedrock_role_arn": "arn:aws:iam::000000000000:role/batch"}


@pytest.fixture
def make_aws(make_world: Callable[..., World], s3_url: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., World]:
    def make(**options: Any) -> World:
        world = make_world("bedrock", s3_url, **({"bedrock": BedrockSettings()} | options))
        for name in ("AWS_ENDPOINT_URL_BEDROCK", "AWS_ENDPOINT_URL_BEDROCK_RUNTIME"):
            monkeypatch.setenv(name, world.emulator.url)
        return world

    return make


@pytest.fixture
def world(make_aws: Callable[..., World]) -> World:
    return make_aws()


def keys(world: World, prefix: str) -> list[str]:
    return list(open_store(world.store).keys(prefix))


def asked(world: World) -> int:
    return sum(one.path.startswith("/model/") for one in world.emulator.requests)


def test_a_night_ends_with_every_answer_and_its_proof(world: World) -> None:
    job = world.run(world.write(documents(250)), shard_requests=100, **ASKED)
    assert (job.state, job.succeeded, [s.plan.requests for s in job.shards]) == ("finished", 250, [100, 150])
    assert sum(world.billed().values()) == 250
    proof = verify(world.desk(**ASKED))
    assert (proof.violations, proof.counts["outcomes"]) == ([], 250)
    assert world.sql("SELECT count(*) FROM results") == [(250,)]


def test_shards_and_answers_lie_side_by_side(world: World) -> None:
    job = world.run(world.write(documents(100)), **ASKED)
    keys = list(open_store(world.store).keys(f"jobs/{job.id}/"))
    assert any(key.startswith(f"jobs/{job.id}/shards/") and key.endswith(".jsonl") for key in keys)
    assert any(key.startswith(f"jobs/{job.id}/bedrock/1-00001/") and key.endswith(".jsonl.out") for key in keys)


def test_a_lost_answer_is_repeated_with_its_own_token_and_paid_once(world: World) -> None:
    """The list hides the job for longer than the night could wait (PROVIDERS §3.9)."""
    world.emulator.add_fault(Fault(action="accept_then_drop", route=CREATE))
    world.emulator.add_fault(Fault(action="list_lag", route=CREATE, seconds=9_000.0))
    job = world.run(world.write(documents(100)), **ASKED)
    posts = [one for one in world.emulator.requests if f"{one.method} {one.path}" == CREATE]
    assert (job.succeeded, len(posts), len(world.emulator.batches)) == (100, 2, 1)
    assert set(world.billed().values()) == {1}


def test_no_shard_stays_unpacked_after_it_was_bought_or_repeated(world: World) -> None:
    left: list[int] = []

    class Watching(list[str]):
        def append(self, point: str) -> None:
            if point == "ledger-sent.before":
                left.append(len(list(world.folder.glob("state/*/spool-*/*.jsonl"))))

    world.faults = Watching()
    world.emulator.add_fault(Fault(action="accept_then_drop", route=CREATE, times=2))
    world.emulator.add_fault(Fault(action="list_lag", route=CREATE, seconds=9_000.0))
    world.run(world.write(documents(300)), shard_requests=100, **ASKED)
    assert sorted(left) == [0, 0, 1]  # two were repeated; one was sent while it lay there


@pytest.mark.parametrize(("status", "code"), [(400, "ValidationException"), (429, "ThrottlingException")])
def test_a_repetition_that_is_refused_proves_nothing(world: World, status: int, code: str) -> None:
    """The first may have been bought: taking the refusal's word for it could buy twice."""
    world.emulator.add_fault(Fault(action="accept_then_drop", route=CREATE))
    world.emulator.add_fault(Fault(action="list_lag", route=CREATE, seconds=900.0))
    world.emulator.add_fault(Fault(action="status", route=CREATE, nth=2, times=3, status=status, code=code))
    job = world.run(world.write(documents(100)), **ASKED)
    assert (job.succeeded, len(world.emulator.batches)) == (100, 1)
    assert set(world.billed().values()) == {1}


def test_what_is_too_little_for_a_batch_is_answered_one_by_one_at_the_full_price(world: World) -> None:
    """PROVIDERS §3.2: never padded."""
    job = world.run(world.write(documents(3)), **ASKED)
    assert (job.state, job.succeeded, len(job.shards), world.emulator.batches) == ("finished", 3, 3, [])
    assert (sum(world.billed().values()), job.cost) == (3, job.sync_cost)
    assert verify(world.desk(**ASKED)).violations == []
    assert world.sql("SELECT count(*), sum(cost_usd) FROM results") == [(3, job.cost)]


def test_failed_records_too_few_for_a_batch_are_answered_one_by_one(make_aws: Callable[..., World]) -> None:
    world = make_aws(rates=Rates(transient=0.1))
    job = world.run(world.write(documents(200)), max_attempts=6, **ASKED)
    assert (job.succeeded, job.failed, len(world.emulator.batches)) == (200, 0, 1)
    assert sum(shard.plan.at_once for shard in job.shards) > 10
    assert verify(world.desk(**ASKED)).violations == []


def test_a_lost_answer_that_no_token_protects_is_held_and_asked_for_once(world: World) -> None:
    world.emulator.add_fault(Fault(action="accept_then_drop", route=INVOKE))
    job = world.run(world.write(documents(3)), rebuy_unknown=False, **ASKED)
    assert (job.succeeded, job.in_flight, asked(world)) == (2, 1, 3)
    assert set(world.billed().values()) == {1}


@pytest.mark.parametrize("told", [1, 0], ids=["intent", "nothing"])
def test_an_answer_that_is_kept_is_found_though_nobody_said_so(world: World, told: int) -> None:
    """Killed between the answer and the record of it; or the ledger was lost."""
    source = world.write(documents(1))
    job = world.run(source, **ASKED)
    lost = [key for key in keys(world, f"jobs/{job.id}/") if "/ledger/1-" in key and int(key[-11:-5]) > told]
    for key in [*lost, *keys(world, f"jobs/{job.id}/raw/")]:
        open_store(world.store).delete(key)
    assert world.run(source, **ASKED).succeeded == 1
    assert asked(world) == 1


def test_a_single_request_that_is_refused_fails_alone(world: World) -> None:
    world.emulator.add_fault(Fault(action="status", route=INVOKE, status=400, code="ValidationException"))
    job = world.run(world.write(documents(3)), **ASKED)
    assert (job.succeeded, job.failed, sum(world.billed().values())) == (2, 1, 2)


def test_single_requests_count_in_full_under_the_cap(world: World) -> None:
    source = world.write(documents(3))
    plan = world.accept(source, **ASKED).plan
    assert plan.ceiling_cost > plan.estimated_cost == plan.estimated_sync_cost
    with pytest.raises(OverBudget):
        world.accept(world.write(documents(3, "b")), max_cost=plan.ceiling_cost * Decimal("0.9"), **ASKED)


def test_a_control_plane_of_ones_own_is_not_enough_for_single_requests(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They would be answered, and paid, at AWS itself."""
    monkeypatch.delenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME")
    with pytest.raises(Unreachable, match="set both"):
        world.run(world.write(documents(3)), **ASKED)
    assert asked(world) == 0


def test_an_expired_job_is_bought_again_for_what_did_not_run(world: World) -> None:
    """PROVIDERS §3.3: what ran is read and paid."""
    world.emulator.add_fault(Fault(action="expire", route=CREATE, fraction=0.25))
    job = world.run(world.write(documents(200)), interval=3_600.0, **ASKED)
    assert (job.succeeded, job.shards[0].counts) == (200, {"succeeded": 50, "expired": 150})
    assert set(world.billed().values()) == {1}


def test_another_model_is_another_question(world: World) -> None:
    """No body names its model, and no answer of one may pass for the other's."""
    source = world.write(documents(100))
    world.run(source, **ASKED)
    job = world.run(source, **ASKED | {"model": "us.anthropic.claude-opus-4-6-v1:0"})
    assert (job.plan.reused, job.plan.requests) == (0, 100)


def test_a_directory_is_no_store_for_bedrock(world: World, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="use --store s3://"):
        world.accept(world.write(documents(100)), **ASKED | {"store": str(tmp_path / "plain")})


@pytest.mark.parametrize(
    ("role", "told"), [(None, "There is no bedrock_role_arn"), ("batch", "'batch' cannot be a bedrock_role_arn")]
)
def test_a_role_that_is_none_is_told_before_anything_is_packed(world: World, role: str | None, told: str) -> None:
    with pytest.raises(UsageError, match=rf"{told}: write it like arn:aws:iam::123456789012:role/NAME\. Nothing was"):
        world.accept(world.write(documents(100)), **ASKED | {"bedrock_role_arn": role})
    assert keys(world, "jobs/") == []


def test_a_dry_run_needs_no_role(world: World) -> None:
    desk = world.desk(**ASKED | {"bedrock_role_arn": None})
    source = world.write(documents(100))
    assert submit(desk, resolve(desk.settings, str(source), None, desk), dry_run=True).plan.requests == 100


def test_a_role_that_is_spoilt_later_buys_nothing_until_it_is_mended(world: World) -> None:
    source = world.write(documents(100))
    job = world.accept(source, **ASKED).plan.job
    with pytest.raises(Unreachable, match="This shard was not bought; fix it and run the same command again"):
        one_pass(world.desk(**ASKED | {"bedrock_role_arn": "batch"}), [job])
    assert world.emulator.batches == []
    assert world.run(source, **ASKED).succeeded == 100


def test_two_stores_with_one_job_buy_apart(world: World) -> None:
    """Their jobs have one name; their answers must not be written into one another's store."""
    source = world.write(documents(100))
    first = world.run(source, **ASKED)
    second = world.run(source, **ASKED | {"store": f"{world.store}-b"})
    assert first.id == second.id
    assert (first.succeeded, second.succeeded, len(world.emulator.batches)) == (100, 100, 2)


def test_a_job_is_packed_by_the_accounts_own_limits_to_its_end(
    make_aws: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    """PROVIDERS §3.2: what AWS says later is for later jobs, and asked for by those alone."""
    rules = BedrockSettings(min_records=20, file_records=60, job_records=60)
    world = make_aws(bedrock=rules, rates=Rates(transient=0.3))
    monkeypatch.setenv("AWS_ENDPOINT_URL_SERVICE_QUOTAS", world.emulator.url)
    source = world.write(documents(130))
    plan = world.accept(source, **ASKED).plan
    assert [shard.requests for shard in plan.shards] == [41, 41, 48]
    rules.min_records = 50
    assert world.accept(source, **ASKED).plan.shards == plan.shards
    assert sum(one.path == "/" for one in world.emulator.requests) == 1
    assert world.desk(**ASKED).format_of(plan).limits.requests_min == 20


def test_a_night_goes_on_where_quotas_may_not_be_read(
    make_aws: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_aws(bedrock=BedrockSettings(quotas_denied=True, min_records=30))
    monkeypatch.setenv("AWS_ENDPOINT_URL_SERVICE_QUOTAS", world.emulator.url)
    job = world.run(world.write(documents(40)), bedrock_records_min=30, **ASKED)
    assert (job.succeeded, job.plan.bounds and job.plan.bounds.requests_min) == (40, 30)
