"""Stores of every release so far, kept for ever: a later one reads them, proves them, rebuilds them, and goes on.

Each was written by its release with `python -m tests.core.test_upgrade FILE`.
"""

import json
import os
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest

from batchjobs.jobs import job_ids, load_job
from batchjobs.project import catch_up, open_results, publish
from batchjobs.rehearsal import variables
from batchjobs.rounds import run_until_done
from batchjobs.verify import verify
from providers.emulator import Emulator, Rates
from tests.world import World, documents

STORES = sorted((Path(__file__).parent.parent / "fixtures/stores").glob("*.zip"))
COUNTS = {
    "items": "SELECT count(*) FROM items",
    "attempts": "SELECT count(*) FROM attempts",
    "answers": "SELECT count(*) FROM label",
    "rejects": "SELECT count(*) FROM rejects",
    "dead letters": "SELECT count(*) FROM dead_letters",
    "cost": "SELECT CAST(sum(cost_usd) AS VARCHAR) FROM attempts",
}
each_release = pytest.mark.parametrize("store", STORES, ids=lambda path: path.stem)


def write(folder: Path) -> None:
    """Two nights with everything in them, and a job that is accepted and not sent."""
    with Emulator(seed=7, speed=0.0, rates=Rates(transient=0.2, permanent=0.1, truncated=0.1, invalid=0.1)) as emulator:
        os.environ.update(variables(emulator.url))
        world = World(emulator, str(folder / "store"), folder)
        world.run(world.write([*documents(20), b"bad line", *documents(1)]), shard_requests=10)
        emulator.advance(86_400)
        world.run(world.write(documents(24)))
        world.accept(world.write(documents(5, "later")))
        (folder / "store/counts.json").write_text(json.dumps(rebuild(world)))
        world.close()


@pytest.fixture
def world(store: Path, tmp_path: Path, make_world) -> World:
    """What the earlier release left, and a provider."""
    with zipfile.ZipFile(store) as kept:
        kept.extractall(tmp_path / "store")
    return make_world(batch_seconds=60.0)


def rebuild(world: World) -> dict[str, object]:
    desk = world.desk()
    with desk.exclusive("test"), open_results(desk) as results:
        assert catch_up(desk, results) == []
        publish(desk, results)
    return {name: world.sql(query)[0][0] for name, query in COUNTS.items()}


@each_release
def test_a_store_of_an_earlier_release_is_proved(world: World):
    assert verify(world.desk()).violations == []


@each_release
def test_a_store_of_an_earlier_release_is_rebuilt(world: World, tmp_path: Path):
    assert rebuild(world) == json.loads((tmp_path / "store/counts.json").read_text())


@each_release
def test_a_job_of_an_earlier_release_is_brought_to_its_end(world: World):
    desk = world.desk()
    job = next(job for job in (load_job(desk.store, name) for name in job_ids(desk.store)) if not job.finished)
    night = run_until_done(desk, [job.id], None, lambda _: None)
    assert (night.jobs[0].state, night.jobs[0].succeeded) == ("finished", 5)
    assert len(world.billed()) == 5


def main(target: Path) -> None:
    """Write a store of this release, without what can be made anew."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder))
        store = Path(folder) / "store"
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as kept:
            for path in sorted(path for path in store.rglob("*") if path.is_file()):
                if path.relative_to(store).parts[0] in ("accepted", "jobs", "counts.json"):
                    kept.write(path, path.relative_to(store))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
