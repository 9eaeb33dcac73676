"""The race: the floor, batchjobs and its rivals over the same input on the same machine, in one table.

    make bench                                              (every course, three runs of each)
    python -m benchmarks.race --requests 1000000 --runs 1   (a million short requests, and no other course)

Every contender is a process in an environment of its own; the emulator is another process, on
the same machine, and its work is in the wall clock of what talks to it. The contenders take turns, and medians of all
runs are kept, in docs/benchmarks/<version>.json; what the version before came to is printed beside them.

| contender | durable | validated | equal requests, twins, strangers | answers for analysts |
|---|---|---|---|---|
| floor | the bytes, with fsync | no | no | a Parquet file |
| batchjobs | every step, with fsync; the provider's bytes | every answer | bought once, named | DuckDB, published |
| llm-batch-py | Parquet manifests, no fsync; the answers' text | when given out | bought once; no | a frame |
| llm-batch-inference | nothing | no | no | a list |

Steps: `read` every line decoded; `pack` up to the promise that all is accepted; `send` upload and purchase; `collect`
from the provider's files to the published answers; `again` the same command once more; `next night` the same items in
a file that differs in the order of two lines, all answered by now: every item is read, rendered, keyed and found again.
"""

import argparse
import gzip
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import kept

ROOT = Path(__file__).parents[1]
REAL = ROOT.parent / "shared/data/deals-2000.jsonl.gz"
RIVALS_AT = ROOT / ".venv-rivals"
SHORT = 50_000
COPIES = 10  # of every real deal, in the larger course of them


@dataclass(frozen=True)
class Contender:
    """One who races: the module, and the interpreter of its environment."""

    name: str
    module: str
    python: str = sys.executable
    plain_only: bool = False  # does not read deals


def _rival(name: str, version: str) -> Contender:
    module = f"benchmarks.{name.replace('-', '_')}"
    return Contender(f"{name} {version}", module, str(RIVALS_AT / name / "bin/python"), plain_only=True)


def _own() -> str:
    """With nothing installed but what is needed to run, where make has set that up."""
    own = RIVALS_AT / "batchjobs/bin/python"
    return str(own) if own.exists() else sys.executable


FLOOR = Contender("floor", "benchmarks.floor")
OURS = Contender("batchjobs", "benchmarks.ours", _own())
RIVALS = [_rival("llm-batch-py", "0.1.8"), _rival("llm-batch-inference", "0.2.1")]
Run = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Course:
    """One input, and `tomorrow` the same with its first two lines exchanged."""

    name: str
    source: Path
    task: str = ""

    @property
    def tomorrow(self) -> Path:
        return self.source.with_suffix(".tomorrow.jsonl")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=SHORT, help="short requests; other than 50,000: no deals")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--results", type=Path, default=kept.RESULTS)
    asked = parser.parse_args()
    part = "race" if asked.requests == SHORT else f"race over {asked.requests:,}"
    earlier = kept.before(asked.results, part).get("courses", {})
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for course in courses(Path(folder), asked.requests):
            results[course.name] = raced(course, asked.runs)
            show(course.name, results[course.name], earlier.get(course.name, {}))
    kept.keep(asked.results, part, {"courses": results, "runs": asked.runs})


def courses(folder: Path, requests: int, *, short_only: bool = False) -> Iterator[Course]:
    """Made one after the other, as the larger ones take room."""
    short = (json.dumps({"id": f"n{n}", "text": f"Short text number {n}."}).encode() + b"\n" for n in range(requests))
    yield made(Course(f"{requests:,} short requests", folder / "short.jsonl"), short)
    if short_only or requests != SHORT:
        return
    if not REAL.exists():
        print(f"the real deals do not lie in {REAL}: their courses are left out", file=sys.stderr)
        return
    deals = [("2,000 real deals", 1), (f"{2_000 * COPIES:,} made from them", COPIES)]
    for name, copies in deals:
        yield made(Course(name, folder / f"deals-{copies}.jsonl", "deal-intelligence"), real_deals(copies))


def made(course: Course, lines: Iterator[bytes]) -> Course:
    """Write the course's two files."""
    first, second = next(lines), next(lines)
    with course.source.open("wb") as source, course.tomorrow.open("wb") as tomorrow:
        source.writelines((first, second))
        tomorrow.writelines((second, first))
        for line in lines:
            source.write(line)
            tomorrow.write(line)
    return course


def real_deals(copies: int) -> Iterator[bytes]:
    """Every deal as it is, then again with an id and a note of its own, so that no request is like another."""
    for copy in range(copies):
        with gzip.open(REAL) as lines:
            for line in lines:
                yield line if copy == 0 else another(json.loads(line), copy)


def another(deal: dict[str, Any], copy: int) -> bytes:
    told = {"date": "2017-03-28", "text": f"Copy number {copy}."}
    return json.dumps(deal | {"deal_id": f"{deal['deal_id']}-{copy}", "notes": [told, *deal["notes"]]}).encode() + b"\n"


def raced(course: Course, runs: int) -> dict[str, Run]:
    """The medians of every contender."""
    racers = [one for one in (FLOOR, OURS, *RIVALS) if not (course.task and one.plain_only)]
    for one in [one for one in racers if not Path(one.python).exists()]:
        print(f"{one.name} is not installed: make bench installs it where it can", file=sys.stderr)
        racers.remove(one)
    turns = [{one.name: run(one, course) for one in racers} for _ in range(runs)]
    return {one.name: median([turn[one.name] for turn in turns]) for one in racers}


def run(one: Contender, course: Course) -> Run:
    with tempfile.TemporaryDirectory() as folder, emulator() as url:
        words = [one.python, "-m", one.module, str(course.source), str(course.tomorrow), f"{folder}/store", url]
        command = [*words, "--task", course.task]
        ended = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    steps: Run = json.loads(ended.stdout.strip().splitlines()[-1])
    if "send" in steps:  # the rivals do both in one
        both = {name: steps["pack"][name] + steps["send"][name] for name in ("wall_s", "cpu_s")}
        steps["pack and send"] = both | {"peak_mb": steps["send"]["peak_mb"]}
    return steps


def median(runs: list[Run]) -> Run:
    return {
        step: {what: statistics.median(one[step][what] for one in runs) for what in runs[0][step]} for step in runs[0]
    }


def show(name: str, medians: Mapping[str, Run], earlier: Mapping[str, Run]) -> None:
    """Every step of everybody; how ours stands to it by the wall clock and by CPU; what the version before took."""
    print(f"\n{name}\n{'':26} {'step':14} {'wall s':>8} {'CPU s':>8} {'peak MB':>8}   {'ours: wall':>11} {'CPU':>11}")
    for contender, steps in medians.items():
        for step, took in steps.items():
            wall, cpu = (compared(contender, step, medians, what) for what in ("wall_s", "cpu_s"))
            was = earlier.get(contender, {}).get(step)
            told = f"   was {was['wall_s']:.2f} and {was['cpu_s']:.2f}" if was else ""
            figures = f"{took['wall_s']:8.2f} {took['cpu_s']:8.2f} {took['peak_mb']:8.0f}"
            print(f"{contender:26} {step:14} {figures}   {wall:>11} {cpu:>11}{told}")
    ours, read = medians[OURS.name], medians[FLOOR.name]["read"]["cpu_s"]
    again, tomorrow = ours["again"]["cpu_s"], ours["next night"]["cpu_s"]
    beyond = f"{again - read:.2f} for the same file, {tomorrow - read:.2f} for the next night's"
    print(f"nothing to do, CPU seconds beyond {read:.2f} for reading: {beyond}")


def compared(contender: str, step: str, medians: Mapping[str, Run], what: str) -> str:
    """How ours stands to this step of another."""
    ours = medians[OURS.name].get(step)
    theirs = medians[contender][step][what]
    if contender == OURS.name or ours is None or not theirs:
        return ""
    ratio = ours[what] / theirs
    return f"{ratio:.1f}x as long" if ratio > 1 else f"{1 / ratio:.1f}x faster"


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
