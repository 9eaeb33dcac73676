"""Every object of a store, damaged in every way: named by key, and no reason to crash or to buy."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from batchjobs.jobs import load_all
from batchjobs.rounds import one_pass
from batchjobs.verify import verify
from providers.emulator import Fault, Rates
from tests.damage.kit import DAMAGES
from tests.world import World, documents

MakeWorld = Callable[..., World]
RATES = Rates(transient=0.2, permanent=0.1, invalid=0.1)


def busy(make_world: MakeWorld, provider: str) -> World:
    """A finished job with rejects, strays and retries; one half done, which awaits answers of a third in flight."""
    world = make_world(provider, rates=RATES, faults=[Fault(action="stranger_lines"), Fault(action="duplicate_lines")])
    world.run(world.write([*documents(10, "done"), b"bad line"], "done.jsonl"), shard_requests=6)
    half = world.send(world.write(documents(10, "half"), "half.jsonl"), shard_requests=6)
    world.send(world.write([*documents(10, "half"), *documents(4, "more")], "more.jsonl"))
    world.emulator.advance(601)
    world.go_on(half.id)
    return world


def objects(world: World) -> list[Path]:
    return sorted(path for path in (Path(world.store) / "jobs").rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("provider", "damage"), [("openai", "flip"), ("anthropic", "truncate"), ("anthropic", "delete")]
)
def test_every_object_is_named_and_the_rest_goes_on(make_world: MakeWorld, provider: str, damage: str):
    world = busy(make_world, provider)
    assert verify(world.desk()).violations == []
    batches = len(world.emulator.batches)
    for path in objects(world):
        written = path.read_bytes()
        if damage != "delete" or not is_last_record(path):
            DAMAGES[damage](path)
            key = str(path.relative_to(world.store))
            job = None if path.name.startswith("plan.") else key.split("/")[1]  # plans are the whole store's matter
            assert any(key in sentence for sentence in verify(world.desk(), job).violations), key
            if path.exists():
                path.unlink()
            path.write_bytes(written)
    assert verify(world.desk()).violations == []
    assert len(world.emulator.batches) == batches


def is_last_record(path: Path) -> bool:
    """Whether a ledger without this record is a ledger all the same (decision 8)."""
    return path.suffix == ".json" and path.parent.parent.name == "ledger" and path == max(path.parent.iterdir())


@pytest.mark.parametrize("damage", ["flip", "delete"])
def test_a_pass_over_a_damaged_store_buys_nothing_and_loses_no_other_job(make_world: MakeWorld, damage: str):
    world = make_world(rates=RATES)
    job = world.run(world.write(documents(10)), shard_requests=6)
    other = world.run(world.write(documents(4, "other"), "other.jsonl"))
    backup, batches = world.folder / "backup", len(world.emulator.batches)
    shutil.copytree(world.store, backup)
    for path in (found for found in objects(world) if job.id in found.parts and not is_last_record(found)):
        DAMAGES[damage](path)
        one_pass(world.desk(), [other.id])
        assert other.id in {good.id for good in load_all(world.desk().store)[0]}
        shutil.rmtree(world.store)
        shutil.copytree(backup, world.store)
    assert len(world.emulator.batches) == batches
    assert world.job(job.id) == job
