"""Nights at servers that speak OpenAI's protocol: Azure, Groq, and one that a person describes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from batchjobs.cli import cli
from batchjobs.doctor import examine
from batchjobs.errors import Unreachable, UsageError
from providers.emulator import Fault, Rates
from tests.world import TASK, World, documents

MakeWorld = Callable[..., World]
CHOSEN: dict[str, dict[str, Any]] = {
    "azure": {"model": "nightly-mini", "price_as": "openai/gpt-4.1-mini"},
    "groq": {"model": "openai/gpt-oss-20b"},
    "compatible": {
        "model": "meta-llama/Llama-3.3-70B",
        "no_price": True,
        "compatible": {"url_variable": "TOGETHER_BASE_URL", "metadata": False, "counts": False, "structured": "none"},
    },
}


@pytest.fixture(params=list(CHOSEN))
def provider(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def pointed(monkeypatch: pytest.MonkeyPatch) -> Callable[[World], World]:
    def point(world: World) -> World:
        monkeypatch.setenv("TOGETHER_BASE_URL", f"{world.emulator.url}/together/v1")
        return world

    return point


def test_a_bad_night_ends_well(make_world: MakeWorld, provider: str, pointed: Callable[[World], World]):
    """Lost answers and failures: every item is answered or named, and nothing is paid twice."""
    faults = [Fault(route="POST *batches", action="accept_then_drop")]
    rates = Rates(transient=0.1, permanent=0.05, invalid=0.05)
    world = pointed(make_world(provider, rates=rates, faults=faults))
    source = world.write(documents(60))
    job = world.run(source, shard_requests=25, **CHOSEN[provider])
    assert (job.state, job.succeeded + job.failed, job.in_flight) == ("finished", 60, 0)
    assert job.failed < 10
    assert max(world.billed().values()) == 1
    assert world.run(source, **CHOSEN[provider]).id == job.id


def test_azures_full_queue_is_waited_for(make_world: MakeWorld):
    """PROVIDERS §6: a 400 at once; nothing was bought, and the shard is sent again."""
    world = make_world("azure", enqueued_token_limit=1_300)
    job = world.run(world.write(documents(60)), shard_requests=20, **CHOSEN["azure"])
    assert (job.succeeded, job.failed) == (60, 0)
    assert max(shard.sends for shard in job.shards) > 1
    assert max(world.billed().values()) == 1


def test_azures_jobs_may_take_longer_than_a_day(make_world: MakeWorld):
    """PROVIDERS §6"""
    world = make_world("azure", batch_seconds=40 * 3_600.0)
    job = world.run(world.write(documents(5)), interval=3_600.0, **CHOSEN["azure"])
    assert (job.succeeded, len(world.emulator.batches)) == (5, 1)


def test_without_a_deployments_name_nothing_is_packed(make_world: MakeWorld):
    world = make_world("azure")
    with pytest.raises(UsageError, match="pass --model with the name of your deployment"):
        world.accept(world.write(documents(1)))


def test_without_a_price_nothing_is_packed(make_world: MakeWorld):
    world = make_world("azure")
    with pytest.raises(UsageError, match="--price-as"):
        world.accept(world.write(documents(1)), model="nightly-mini")
    assert world.accept(world.write(documents(1)), model="nightly-mini", no_price=True).plan.requests == 1


def test_without_an_address_a_command_says_what_to_set(make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch):
    world = make_world("azure")
    job = world.accept(world.write(documents(1)), **CHOSEN["azure"]).plan
    monkeypatch.delenv("AZURE_OPENAI_ENDPOINT")
    with pytest.raises(UsageError, match="set AZURE_OPENAI_ENDPOINT"):
        world.accept(world.write(documents(2)), **CHOSEN["azure"])
    with pytest.raises(Unreachable, match="set AZURE_OPENAI_ENDPOINT"):
        world.desk(**CHOSEN["azure"]).provider_of(job)


def test_doctor_tells_an_address_that_is_missing(make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch):
    world = make_world("azure")
    monkeypatch.delenv("AZURE_OPENAI_ENDPOINT")
    checks = {check.name: check for check in examine(world.desk(**CHOSEN["azure"]))}
    assert (checks["task"].state, "set AZURE_OPENAI_ENDPOINT" in checks["task"].detail) == ("failed", True)
    assert (checks["key"].state, checks["clock"].state) == ("not checked", "not checked")


def test_doctor_asks_azure(make_world: MakeWorld):
    checks = {check.name: check.state for check in examine(make_world("azure").desk(**CHOSEN["azure"]))}
    assert (checks["task"], checks["key"], checks["provider"], checks["clock"]) == ("ok", "ok", "ok", "ok")


@pytest.mark.parametrize("like", ["", 'like = "azure"', 'like = "groq"\nwindow = "7d"'])
def test_a_server_that_is_described_can_be_rehearsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, like: str):
    """The emulator has one that takes whatever the switches make us ask."""
    monkeypatch.chdir(tmp_path)
    Path("docs.jsonl").write_text('{"doc_id": "a", "text": "b"}\n')
    table = f'[compatible]\n{like}\nstructured = "json_object"\noutput_limit = "max_tokens"\n'
    Path("batchjobs.toml").write_text(
        f'provider = "compatible"\nmodel = "m"\nno_price = true\ntask = "{TASK}"\n{table}'
    )
    done = CliRunner().invoke(cli, ["rehearse", "docs.jsonl", "--json"])
    assert done.exit_code == 0, done.output
    assert '"succeeded": 1' in done.stdout
