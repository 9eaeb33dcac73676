"""Adding a provider is one module, one module of the emulator, and its name in each of the two registries."""

from collections.abc import Callable
from typing import Any

import pytest

import providers
from batchjobs import catalogue
from batchjobs.verify import verify
from providers import emulator
from providers.emulator import Fault
from tests.providers import newcomer, newcomer_emulated
from tests.world import World, documents

ASKED: dict[str, Any] = {"model": "any", "no_price": True}


@pytest.fixture(autouse=True)
def _added(monkeypatch: pytest.MonkeyPatch) -> None:
    known = vars(providers)["_MODULES"]
    monkeypatch.setitem(known, "newcomer", newcomer.__name__)
    monkeypatch.setattr(providers, "NAMES", tuple(known))
    line = (newcomer_emulated.Newcomer, newcomer_emulated.VARIABLES)
    monkeypatch.setattr(emulator.emulator, "EMULATED", (line, *emulator.emulator.EMULATED))


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    return make_world("newcomer")


def test_a_night_at_a_newcomer_ends_with_every_answer_and_its_proof(world: World) -> None:
    job = world.run(world.write(documents(25)), **ASKED)
    assert (job.state, job.succeeded, [shard.plan.requests for shard in job.shards]) == ("finished", 25, [10, 10, 5])
    assert list(world.billed().values()) == [1] * 25
    assert verify(world.desk(**ASKED)).violations == []
    assert world.sql("SELECT count(*) FROM results") == [(25,)]


@pytest.mark.parametrize("action", ["accept_then_drop", "drop_before", "status"])
def test_a_lost_answer_of_a_newcomer_is_looked_for_and_paid_once(world: World, action: str) -> None:
    world.emulator.add_fault(Fault(action=action, route="POST /newcomer/batches", status=503, work=True))
    job = world.run(world.write(documents(5)), rebuy_unknown=True, **ASKED)
    assert (job.succeeded, list(world.billed().values())) == (5, [1] * 5)


def test_a_newcomer_is_printed_like_any_other() -> None:
    (row,) = [one for one in catalogue.document({})["providers"] if one["provider"] == "newcomer"]
    assert row["limits"]["requests"] == 10
