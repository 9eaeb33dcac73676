"""Hostile files end to end: bombs are named rejects in bounded memory, odd columns are data, odd names are refused."""

import gzip
import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from batchjobs.cli import cli
from batchjobs.verify import verify
from providers.emulator import Fault
from tests.security.hostile import ANSI, OSC, control_signs
from tests.world import TASK, World

MakeWorld = Callable[..., World]
GIB = 1 << 30
MEMORY_MAX_KIB = 400 << 10  # interpreter, pyarrow, DuckDB and a shard; a line of 1 GiB would not fit
GOOD = '{"doc_id": "%s", "text": "fine"}\n'


# A process begins with the peak of the one it is forked from, and that of the tests may be large: a small one forks it.
WATCHED = """
import json, resource, subprocess, sys
out = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
print(json.dumps([json.loads(out), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss]))
"""


def dry_run(source: Path) -> tuple[dict[str, int], int]:
    """What a child process makes of an input, and the most memory it ever held, in KiB."""
    words = [sys.executable, "-m", "batchjobs", "submit", str(source), "--task", TASK, "--dry-run", "--json"]
    words += ["--store", str(source.parent / "store")]
    watched = subprocess.run([sys.executable, "-c", WATCHED, *words], stdout=subprocess.PIPE, check=True)
    document, memory = json.loads(watched.stdout)
    return document, memory


def test_a_line_of_a_gibibyte_is_a_reject_and_the_next_line_an_item(tmp_path: Path):
    path = tmp_path / "long.jsonl"
    with path.open("wb") as file:
        file.write((GOOD % "before").encode())
        file.seek(GIB, os.SEEK_CUR)  # a hole: zeros that take no disk
        file.write(b"\n" + (GOOD % "after").encode())
    document, memory = dry_run(path)
    assert (document["items"], document["rejected"]) == (2, 1)
    assert memory < MEMORY_MAX_KIB


def test_a_gzip_bomb_is_cut_off_with_what_came_before(tmp_path: Path):
    path = tmp_path / "bomb.jsonl.gz"
    with gzip.open(path, "wb", compresslevel=9) as file:
        file.write((GOOD % "before").encode() * 1)
        for _ in range(256):
            file.write(bytes(1 << 20))
    document, memory = dry_run(path)
    assert (document["items"], document["rejected"]) == (1, 1)
    assert memory < MEMORY_MAX_KIB


def test_many_small_lines_of_a_gzip_bomb_are_cut_off_too(tmp_path: Path):
    path = tmp_path / "lines.jsonl.gz"
    with gzip.open(path, "wb", compresslevel=9) as file:
        for _ in range(128):
            file.write(b"\n" * (1 << 20))
    document, memory = dry_run(path)
    assert (document["items"], document["rejected"]) == (0, 1)
    assert memory < MEMORY_MAX_KIB


def test_formulas_and_ragged_rows_of_a_csv(world: World):
    rows = [
        "doc_id,text", "=1+1,@SUM(A1)", "+2,-3", '"a""b,c","x\ny"', "\t=tab,text", "a,b,c,d", '"open', "lonely",
    ]  # fmt: skip
    source = world.folder / "cells.csv"
    source.write_text("\n".join(rows) + "\n")
    job = world.run(source)
    ids = {item for (item,) in world.sql("SELECT item_id FROM items")}
    assert {"=1+1", "+2", 'a"b,c', "\t=tab"} <= ids
    assert job.plan.lines >= job.plan.items + job.plan.rejected > len(ids)
    assert verify(world.desk()).violations == []


def test_a_parquet_file_with_odd_types(world: World):
    columns = {
        "doc_id": ["one", "two", "a\x00b"],
        "text": pa.array(["fine", "fine", "fine"]).dictionary_encode(),
        "nested": [{"a": [{"b": 1}]}, None, {"a": []}],
        "money": [Decimal("1.23"), None, Decimal("-9.99")],
        "day": [date(1, 1, 1), date(9999, 12, 31), None],
        "at": pa.array([datetime(2026, 1, 1, tzinfo=UTC)] * 3, pa.timestamp("us", "Europe/Berlin")),
        "length": pa.array([timedelta(days=1)] * 3, pa.duration("us")),
        "bytes": [b"\xff\x00", b"", None],
        "ratio": [float("nan"), float("inf"), 0.1],
        "pairs": pa.array([[("a", 1)], [], None], pa.map_(pa.string(), pa.int64())),
        "x'); DROP TABLE items; --": ["1", "2", "3"],
    }
    source = world.folder / "odd.parquet"
    pq.write_table(pa.table(columns), source)
    job = world.run(source)
    assert job.plan.items + job.plan.rejected == 3
    assert job.succeeded == job.plan.items
    assert verify(world.desk()).violations == []


@pytest.mark.parametrize("name", ["../../x", "a b", "x;rm -rf", "é", "", "a" * 200, f"a{OSC}", "a\nb", "con/../x"])
def test_a_task_that_would_name_a_job_badly_is_refused(world: World, name: str):
    folder = world.folder / "task"
    folder.mkdir()
    text = (Path(__file__).parents[2] / "examples/summarise/task.toml").read_text()
    line = next(line for line in text.split("\n") if line.startswith("name"))
    path = folder / "task.toml"
    path.write_text(text.replace(line, f"name = {json.dumps(name)}"))
    source = world.write([{"id": "1", "text": "x"}])
    words = ["submit", str(source), "--task", str(path), "--store", world.store, "--dry-run"]
    result = CliRunner().invoke(cli, words, standalone_mode=False)
    assert type(result.exception).__name__ in ("UsageError", "BadName")
    assert {path.name for path in Path(world.store).rglob("*")} <= {"private", "lock"}


def hostile_name(folder: Path) -> Path:
    path = folder / f"nothing{OSC}{ANSI}\u202e.jsonl"
    path.write_text("[]")
    return path


@pytest.mark.parametrize("more", [[], ["-v"]], ids=["plain", "verbose"])
def test_an_error_about_a_hostile_file_name_has_no_control_signs(tmp_path: Path, more: list[str]):
    words = [sys.executable, "-m", "batchjobs", "submit", str(hostile_name(tmp_path)), "--task", TASK, *more]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=tmp_path, env=FROM_HERE)
    assert done.returncode == 2
    assert "JSON array" in done.stderr
    assert control_signs(done.stdout + done.stderr) == set()


FROM_HERE = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}


def test_bad_arguments_are_told_without_control_signs(tmp_path: Path):
    words = [sys.executable, "-m", "batchjobs", "status", f"--{OSC}{ANSI}"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=tmp_path, env=FROM_HERE)
    assert done.returncode == 2
    assert control_signs(done.stderr) == set()


def test_on_a_terminal_only_our_own_colours_are_seen(make_world: MakeWorld):
    world = make_world("openai", faults=[Fault(action="all_fail", kind="permanent", times=0)])
    items = [{"doc_id": f"id{OSC}{ANSI}{n}", "text": "x"} for n in range(2)]
    job = world.run(world.write(items))
    words = [sys.executable, "-m", "batchjobs", "failures", job.id, "--store", world.store]
    settings = {"BATCHJOBS_STATE_DIR": str(world.folder / "state"), "TERM": "xterm-256color", "COLUMNS": "200"}
    screen, terminal = pty.openpty()
    done = subprocess.run(words, stdout=terminal, stderr=terminal, check=False, env=os.environ | settings)
    os.close(terminal)
    shown = os.read(screen, 65_536).decode()
    os.close(screen)
    assert done.returncode == 3
    assert "0;owned" in shown
    assert OSC not in shown
    assert ANSI not in shown
    assert "\x07" not in shown
