"""The command line as a person or a machine meets it: exit codes, documents, sentences."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from batchjobs.cli import cli
from tests.world import TASK, World, documents


def command(world: World, *arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "batchjobs", *arguments, "--store", world.store]
    return subprocess.run(words, capture_output=True, text=True, check=False, env=os.environ | extra)


def run(world: World, source: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return command(world, "run", str(source), "--task", TASK, "--interval", "0.02", "--deadline", "20s", *more)


@pytest.fixture
def live(make_world: Any) -> World:
    """An emulator in real time whose batches take a moment, for commands that really wait."""
    world: World = make_world("openai", speed=1.0, batch_seconds=0.3)
    return world


def test_run_prints_one_json_document_on_stdout(live: World):
    done = run(live, live.write(documents(4)), "--json")
    document = json.loads(done.stdout)
    assert (done.returncode, document["state"], document["succeeded"]) == (0, "finished", 4)
    wanted = {
        "job_id",
        "items",
        "failed",
        "in_flight",
        "rejected",
        "reused",
        "requests",
        "shards",
        "cost_usd",
        "saved_usd",
    }
    assert wanted <= document.keys()


def test_submit_tells_the_estimate_and_poll_says_not_finished(live: World):
    submitted = command(live, "submit", str(live.write(documents(4))), "--task", TASK, "--json")
    assert submitted.returncode == 0
    assert json.loads(submitted.stdout)["estimated_cost_usd"] > 0


def test_a_dry_run_buys_nothing_and_leaves_no_job(live: World):
    done = command(live, "submit", str(live.write(documents(4))), "--task", TASK, "--dry-run", "--json")
    assert json.loads(done.stdout)["requests"] == 4
    assert json.loads(command(live, "status", "--json").stdout) == {"jobs": []}
    assert not live.emulator.batches


def test_over_budget_is_exit_5_and_one_sentence(live: World):
    done = run(live, live.write(documents(4)), "--max-cost", "0.0000001")
    assert done.returncode == 5
    assert "nothing was bought" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_input_is_exit_2(live: World):
    done = run(live, live.folder / "nothing.jsonl")
    assert done.returncode == 2
    assert "nothing.jsonl" in done.stderr


def test_an_unknown_job_is_exit_2_and_says_what_to_do(live: World):
    done = command(live, "failures", "nosuchjob")
    assert done.returncode == 2
    assert "batchjobs status" in done.stderr


def test_an_unreachable_provider_is_exit_6_and_nothing_is_bought(live: World):
    live.emulator.stop()
    done = run(live, live.write(documents(4)))
    assert done.returncode == 6
    assert "was not bought" in done.stderr


def test_some_failed_is_exit_3_and_failures_names_them(make_world: Any):
    from providers.emulator import Rates

    world: World = make_world("openai", speed=1.0, batch_seconds=0.3, rates=Rates(permanent=0.3))
    done = run(world, world.write(documents(12)), "--json")
    assert done.returncode == 3
    document = json.loads(done.stdout)
    failures = json.loads(command(world, "failures", document["job_id"], "--json").stdout)
    assert failures["failed"] == document["failed"] == len(failures["failures"])


def test_retry_buys_the_failed_items_and_nothing_else(make_world: Any):
    from providers.emulator import Rates

    world: World = make_world("openai", speed=1.0, batch_seconds=0.3, rates=Rates(permanent=0.3))
    failed = json.loads(run(world, world.write(documents(12)), "--json").stdout)
    again = json.loads(command(world, "retry", failed["job_id"], "--json").stdout)
    assert again["retried"] == failed["failed"]
    assert world.emulator.batches[-1].requests == failed["failed"]


def test_piped_progress_is_timestamped_lines_without_colour(live: World):
    done = run(live, live.write(documents(4)))
    assert "\x1b" not in done.stdout
    assert any(line[:4].isdigit() and "succeeded" in line for line in done.stdout.split("\n"))


def test_two_runs_at_once_end_well_and_buy_once(live: World):
    source = live.write(documents(20))
    words = [sys.executable, "-m", "batchjobs", "run", str(source), "--task", TASK, "--store", live.store]
    words += ["--interval", "0.02", "--deadline", "30s", "--shard-requests", "5"]
    both = [subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for _ in range(2)]
    errors = [process.communicate()[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], errors
    assert len(live.emulator.charges) == 20
    assert len(live.emulator.batches) == 4


def test_a_rehearsal_never_touches_the_analysts_file(tmp_path: Path):
    analysts = tmp_path / "analysts.duckdb"
    items = tmp_path / "items.jsonl"
    items.write_text("".join(json.dumps(item) + "\n" for item in documents(3)))
    words = [sys.executable, "-m", "batchjobs", "rehearse", str(items), "--task", TASK, "--batch-seconds", "0.2"]
    settings = {"BATCHJOBS_RESULTS": str(analysts), "BATCHJOBS_STATE_DIR": str(tmp_path / "state")}
    words += ["--store", str(tmp_path / "rehearsal"), "--interval", "0.05", "--json"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=os.environ | settings)
    assert json.loads(done.stdout)["succeeded"] == 3
    assert not analysts.exists()
    assert (tmp_path / "rehearsal/results.duckdb").exists()


def test_ctrl_c_stops_watching_and_the_same_command_goes_on(make_world: Any):
    world: World = make_world("openai", speed=1.0, batch_seconds=3600.0)
    words = [sys.executable, "-m", "batchjobs", "run", str(world.write(documents(4))), "--task", TASK]
    words += ["--store", world.store, "--interval", "0.05"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        next(line for line in process.stdout if "in flight: " in line)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
    assert process.returncode == 4
    assert "the same command goes on from here" in errors
    world.emulator.advance(3600)
    assert run(world, world.folder / "items.jsonl").returncode == 0
    assert len(world.emulator.batches) == 1


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_help_is_a_page_with_an_example_of_its_own_words(name: str):
    page = CliRunner().invoke(cli, [name, "-h"]).output
    assert page.startswith("Usage:")
    assert "--json" in page


def test_a_command_that_ends_waits_for_no_thread():
    waiting = "Thread(target=lambda: Event().wait(600)).start()"
    code = (
        f"from threading import Event, Thread; {waiting}; print('told'); from batchjobs.process import leave; leave(4)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (4, "told\n")
