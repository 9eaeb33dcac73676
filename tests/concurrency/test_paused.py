"""A process is put to sleep in the middle of a purchase, as a laptop or a virtual machine is, and wakes much later."""

from pathlib import Path

import pytest

from providers.emulator import Rates
from tests.concurrency.conftest import MakePlant
from tests.concurrency.kit import NOT_FINISHED, Plant, Running


def waiting_beside(plant: Plant, source: str) -> Running:
    """A second `run` on the same machine, once it has said for whom it waits."""
    other = plant.start("run", source, "--json", "--deadline", "60s")
    assert other.process.stderr is not None
    assert other.process.stderr.readline().startswith("waiting for process ")
    return other


def test_a_command_on_the_same_machine_waits_and_says_for_whom(make_plant: MakePlant, tmp_path: Path):
    plant = make_plant(str(tmp_path / "store"), rates=Rates())
    source = plant.write("deals", 5)
    with plant.asleep_at("create.before", source) as sleeper:
        other = waiting_beside(plant, source)
    assert (sleeper.document["succeeded"], other.end().document["succeeded"]) == (5, 5)
    assert len(plant.emulator.batches) == 1
    assert plant.faults() == []


@pytest.mark.parametrize(
    ("provider", "point"),
    [
        ("openai", "ledger-intent.before"),
        ("anthropic", "create.before"),
        ("openai", "create.after"),
    ],
)
def test_another_machine_never_buys_what_the_sleeper_may_have_bought(
    make_plant: MakePlant, s3_url: str, provider: str, point: str
):
    plant = make_plant(s3_url, provider, machines=2, rates=Rates())
    source = plant.write("deals", 5)
    with plant.asleep_at(point, source):
        awake = plant.do("run", source, "--deadline", "2s", machine=1)
        held = awake.done.code == NOT_FINISHED and awake.document["state"] == "unknown purchase"
        assert held == (point == "create.before")
    plant.do("run", source, "--deadline", "60s", machine=1)
    [job] = plant.jobs().values()
    assert (job["succeeded"], len(plant.emulator.batches)) == (5, 1)
    assert plant.faults() == []
