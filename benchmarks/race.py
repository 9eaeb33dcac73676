"""The race: the floor, batchjobs and its rivals over the same input on the same machine, in one table.

    make bench                                       (50,000 short requests, and the real deals where they lie)
    python -m benchmarks.race --requests 1000000 --runs 1

Every contender is a process of its own, the rivals in environments of their own; the emulator is another process. The
contenders take turns, and medians of all runs are kept. The results of a version are in docs/benchmarks/.
"""

import argparse
import gzip
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[1]
REAL = ROOT.parent / "shared/data/deals-2000.jsonl.gz"
RESULTS = ROOT / "docs/benchmarks"
RIVAL = ROOT / ".venv-rivals/llm-batch-py/bin/python"


@dataclass(frozen=True)
class Contender:
    """One who races: the module, and the interpreter of its environment."""

    name: str
    module: str
    python: str = sys.executable
    plain_only: bool = False  # does not read deals


FLOOR = Contender("floor", "benchmarks.floor")
OURS = Contender("batchjobs", "benchmarks.ours")
RIVALS = [Contender("llm-batch-py 0.1.8", "benchmarks.llm_batch_py", str(RIVAL), plain_only=True)]
COMPARED = {  # what a step of ours is held against: the floor's step, and the rival's
    "pack": ("pack", None),
    "pack and send": (None, "pack and send"),
    "collect": ("collect", "collect"),
    "again": (None, "again"),
}
Run = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Course:
    """One input."""

    name: str
    source: Path
    task: str = ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=50_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--results", type=Path, default=RESULTS)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = {course.name: raced(course, asked.runs) for course in courses(Path(folder), asked.requests)}
    asked.results.mkdir(exist_ok=True)
    document = {"at": f"{datetime.now(UTC):%Y-%m-%d}", "cores": os.cpu_count(), "runs": asked.runs, "courses": results}
    (asked.results / f"{version('batchjobs')}.json").write_text(json.dumps(document, indent=1) + "\n")


def courses(folder: Path, requests: int) -> Iterator[Course]:
    short = folder / "short.jsonl"
    with short.open("w") as out:
        out.writelines(json.dumps({"id": f"n{n}", "text": f"Short text number {n}."}) + "\n" for n in range(requests))
    yield Course(f"{requests:,} short requests", short)
    if REAL.exists():
        deals = folder / "deals.jsonl"
        with gzip.open(REAL) as packed, deals.open("wb") as out:
            shutil.copyfileobj(packed, out)
        yield Course("2,000 real deals", deals, "deal-intelligence")


def raced(course: Course, runs: int) -> dict[str, Run]:
    """The medians of every contender; prints the table."""
    racers = [one for one in (FLOOR, OURS, *RIVALS) if not (course.task and one.plain_only)]
    for one in [one for one in racers if not Path(one.python).exists()]:
        print(f"{one.name} is not installed: make bench installs it where it can", file=sys.stderr)
        racers.remove(one)
    turns = [{one.name: run(one, course) for one in racers} for _ in range(runs)]
    medians = {one.name: median([turn[one.name] for turn in turns]) for one in racers}
    show(course, medians)
    return medians


def run(one: Contender, course: Course) -> Run:
    with tempfile.TemporaryDirectory() as folder, emulator() as url:
        words = [one.python, "-m", one.module, str(course.source), f"{folder}/store", url, "--task", course.task]
        ended = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    steps: Run = json.loads(ended.stdout.strip().splitlines()[-1])
    if "send" in steps:  # the rivals do both in one
        both = {name: steps["pack"][name] + steps["send"][name] for name in ("wall_s", "cpu_s")}
        steps["pack and send"] = both | {"peak_mb": steps["send"]["peak_mb"]}
    return steps


def median(runs: list[Run]) -> Run:
    return {
        step: {what: statistics.median(one[step][what] for one in runs) for what in runs[0][step]} for step in runs[0]
    }


def show(course: Course, medians: Mapping[str, Run]) -> None:
    """Seconds of wall clock and CPU and peak megabytes, and ours against the floor and the rivals by the wall clock."""
    print(f"\n{course.name}\n{'':20} {'step':15} {'wall s':>8} {'CPU s':>8} {'peak MB':>8}   ours is")
    for name, steps in medians.items():
        for step, took in steps.items():
            ratio = compared(name, step, medians)
            print(f"{name:20} {step:15} {took['wall_s']:8.2f} {took['cpu_s']:8.2f} {took['peak_mb']:8.0f}   {ratio}")


def compared(name: str, step: str, medians: Mapping[str, Run]) -> str:
    """How ours stands to this step of another."""
    ours = medians[OURS.name]
    for mine, (floors, rivals) in COMPARED.items():
        if name != OURS.name and step == (floors if name == FLOOR.name else rivals) and mine in ours:
            ratio = ours[mine]["wall_s"] / medians[name][step]["wall_s"]
            return f"{ratio:.1f}x the time" if ratio > 1 else f"{1 / ratio:.1f}x faster"
    return ""


@contextmanager
def emulator() -> Iterator[str]:
    """The address of an emulator in a process of its own, whose time only moves when it is told to."""
    words = [sys.executable, "-m", "providers.emulator", "--speed", "0", "--batch-seconds", "60"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().partition("=")[2].strip().removesuffix("/v1")
        finally:
            process.terminate()


if __name__ == "__main__":
    main()
