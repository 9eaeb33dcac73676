"""The benchmarks run; what they measure is nobody's to judge here."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import kept
from benchmarks.contender import workers
from benchmarks.race import Course, another, made
from benchmarks.tables import PAGE, filled

ROOT = Path(__file__).parent.parent


def run(module: str, *words: str) -> str:
    command = [sys.executable, "-m", f"benchmarks.{module}", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def results(folder: Path) -> dict[str, Any]:
    [path] = folder.glob("*.json")
    told: dict[str, Any] = json.loads(path.read_text())
    return told


def test_the_race_is_run_and_its_results_are_kept(tmp_path: Path):
    assert "100 short requests" in run("race", "--requests", "100", "--runs", "1", "--results", str(tmp_path))
    steps = results(tmp_path)["race over 100"]["courses"]["100 short requests"]
    assert {"pack", "collect"} <= steps["floor"].keys() & steps["batchjobs"].keys()
    assert {"again", "next night"} <= steps["batchjobs"].keys()


def test_a_job_of_many_shards_is_polled_and_looked_at(tmp_path: Path):
    assert "status, S3" in run("shards", "--shards", "3", "--jobs", "2", "--results", str(tmp_path))
    assert results(tmp_path)["shards"]["steps"]["poll, nothing new"]["cpu_s"] > 0


def test_a_night_over_a_slow_line_is_measured_both_ways(tmp_path: Path):
    assert "one ahead" in run("overlap", "--items", "20", "--rate", "50", "--results", str(tmp_path))
    ways = results(tmp_path)["overlap"]["ways"]
    assert {step for took in ways.values() for step in took} == {"pack", "send", "collect"}


def test_the_memory_of_a_night_is_measured_and_drawn(tmp_path: Path):
    plot = tmp_path / "plot.png"
    run("memory", "--sizes", "20,40", "--results", str(tmp_path), "--plot", str(plot), "--ours-only")
    assert [point["items"] for point in results(tmp_path)["curves"]["batchjobs"]] == [20, 40]
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_the_copies_of_a_deal_are_other_items_with_other_words():
    deal = {"deal_id": "D1", "notes": [{"text": "a note"}], "stage": "Won"}
    copies = [json.loads(another(deal, copy)) for copy in (1, 2)]
    assert [copy["deal_id"] for copy in copies] == ["D1-1", "D1-2"]
    assert copies[0]["notes"] != copies[1]["notes"]
    assert all(copy["stage"] == "Won" and copy["notes"][1:] == deal["notes"] for copy in copies)


def test_tomorrow_has_the_same_lines_in_another_order(tmp_path: Path):
    course = made(Course("three", tmp_path / "input.jsonl"), iter([b"1\n", b"2\n", b"3\n"]))
    assert course.source.read_bytes() == b"1\n2\n3\n"
    assert course.tomorrow.read_bytes() == b"2\n1\n3\n"


def test_the_results_of_a_version_are_held_against_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for version in ("0.1.0", "0.9.0", "0.10.0", "0.11.0", "0.12.0"):
        monkeypatch.setattr(kept, "version", lambda _, version=version: version)
        kept.keep(tmp_path, "race", {"of": version})
    monkeypatch.setattr(kept, "version", lambda _: "0.11.0")
    assert kept.before(tmp_path, "race")["of"] == "0.10.0"
    assert kept.before(tmp_path, "shards") == {}


def test_a_second_benchmark_of_a_version_leaves_the_first_one_alone(tmp_path: Path):
    for part in ("race", "shards"):
        kept.keep(tmp_path, part, {})
    assert results(tmp_path).keys() == {"race", "shards"}


def test_the_page_shows_what_was_measured_last(tmp_path: Path):
    took = {"wall_s": 2.0, "cpu_s": 1.0, "peak_mb": 99.0}
    floor = {"read": took, "pack": took | {"wall_s": 0.5}}
    courses = {"short": {"floor": floor, "batchjobs": dict.fromkeys(("pack", "again", "next night"), took)}}
    kept.keep(tmp_path, "race", {"courses": courses, "runs": 3})
    page = filled("before\n<!-- race -->\nold\n<!-- end -->\nafter", tmp_path)
    assert "| floor | pack | 0.50 | 1.00 | 99 | 4.00× | 1.00× |" in page
    assert "old" not in page
    assert filled(page, tmp_path) == page


def test_the_page_is_up_to_date():
    assert filled(PAGE.read_text(), kept.RESULTS) == PAGE.read_text()


def test_processes_of_processes_are_found():
    words = [sys.executable, "-c", "import subprocess; subprocess.run(['sleep', '60'])"]
    with subprocess.Popen(words) as process:
        while not (found := workers(process.pid)):
            pass
        assert len(found) == 1
        subprocess.run(["kill", str(found[0])], check=True)
