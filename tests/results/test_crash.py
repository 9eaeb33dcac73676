"""Killed at any instant, the file holds whole shards or none of them, and loading goes on where it stopped."""

import random
from pathlib import Path

import pytest

from storage.results import Results
from tests.results.kit import Night, answer_of, ask, python, write_outcomes, write_requests

SHARDS, ROWS = 12, 300
LOADER = """
import sys
from pathlib import Path
from storage.results import Results
from tests.results.kit import job_row, shard_row
folder, shards, rows = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
results = Results(folder / "private.duckdb")
results.add_job(job_row("j1", shards * rows), None, None)
for number in range(shards):
    shard = f"1-{number:05}"
    results.add_shard(shard_row("j1", shard, rows), folder / f"{shard}.items")
    results.add_outcomes("j1", shard, f"outcomes/{shard}", folder / f"{shard}.outcomes", None)
    if number % 3 == 2:
        results.publish(folder / "results.duckdb")
    print(shard, flush=True)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The hand-off files of one job; every shard also answers one request of the shard before it."""
    for number in range(SHARDS):
        shard = f"1-{number:05}"
        keys = [f"{number * (ROWS - 1) + n:064}" for n in range(ROWS)]
        ids = {"item_id": [f"deal {shard} {key}" for key in keys]}
        write_requests(tmp_path / f"{shard}.items", "j1", shard, keys, **ids)
        write_outcomes(tmp_path / f"{shard}.outcomes", "j1", shard, dict.fromkeys(keys, "succeeded"))
    return tmp_path


def load_and_kill(folder: Path, after: int) -> int:
    """Start loading, kill the process some time after so many acknowledged shards; how many it acknowledged."""
    with python(LOADER, str(folder), str(SHARDS), str(ROWS)) as loader:
        assert loader.stdout is not None
        acknowledged = [loader.stdout.readline() for _ in range(after)]
        loader.kill()
        acknowledged += loader.stdout.readlines()
    return len(acknowledged)


def merged(folder: Path) -> list[int]:
    """Rows of attempts per shard."""
    Results(folder / "private.duckdb").close()
    return [rows for (rows,) in ask(folder / "private.duckdb", "SELECT count(*) FROM attempts GROUP BY shard_id")]


def test_a_killed_loader_leaves_whole_shards_and_goes_on(folder: Path) -> None:
    for after in (1, 4, 7, 10):
        acknowledged = load_and_kill(folder, after)
        rows = merged(folder)
        assert set(rows) == {ROWS}
        assert len(rows) >= acknowledged
    answer_of(LOADER, str(folder), str(SHARDS), str(ROWS))
    with Results(folder / "private.duckdb") as results:
        assert results.set_aside is None
        assert results.violations() == []
    assert ask(folder / "results.duckdb", "SELECT count(*) FROM results") == [(SHARDS * (ROWS - 1) + 1,)]


def test_a_damaged_log_costs_nothing_that_cannot_be_loaded_again(folder: Path) -> None:
    load_and_kill(folder, 5)
    log = folder / "private.duckdb.wal"
    content = bytearray(log.read_bytes())
    chance = random.Random(7)
    for _ in range(20):
        content[chance.randrange(len(content))] ^= 255
    log.write_bytes(content)
    answer_of(LOADER, str(folder), str(SHARDS), str(ROWS))
    with Results(folder / "private.duckdb") as results:
        assert results.violations() == []
        assert len(Night(folder, results).contents()["attempts"]) == SHARDS * ROWS
