"""The memory of a whole night over more and more items: ours and the nearest rival's, every process of theirs counted.

    make bench-memory                                        (10,000 to 1,000,000 items; writes the plot too)
    python -m benchmarks.memory --sizes 1000,3000

`largest_mb` is the most that one process of a contender ever had; `all_mb` the most that all had at one moment, looked
at ten times a second, the code and files that they map counted once. The emulator is another process, and not counted.
Who needs more than 8 GB or ten minutes is stopped and tried with no more items.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import kept
from benchmarks.contender import status_kb, workers
from benchmarks.race import OURS, RIVALS, ROOT, Contender, Course, courses, emulator

SIZES = "10000,30000,100000,300000,1000000"
PLOT = ROOT / "docs/performance-memory.png"
MOST_MB, MOST_S, LOOK_S = 8_000, 600, 0.1
GOAL_MB = 300
WORK = ("pack", "send", "pack and send", "collect")


@dataclass
class Needed:
    """By one contender for one size; `stopped` says why it did not end by itself."""

    items: int
    all_mb: float = 0
    largest_mb: float = 0
    wall_s: float = 0
    stopped: str = ""
    us_an_item: float | None = None  # wall clock of packing, sending and collecting


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default=SIZES)
    parser.add_argument("--results", type=Path, default=kept.RESULTS)
    parser.add_argument("--plot", type=Path, default=PLOT)
    parser.add_argument("--ours-only", action="store_true")
    parser.add_argument("--only-plot", action="store_true", help="draw the results that are kept")
    asked = parser.parse_args()
    path = asked.results / "memory.json"
    if not asked.only_plot:
        curves = measured([int(size) for size in asked.sizes.split(",")], () if asked.ours_only else RIVALS[:1])
        asked.results.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(kept.stamp() | {"curves": curves}, indent=1) + "\n")
    draw(json.loads(path.read_text())["curves"], asked.plot)


def measured(sizes: Sequence[int], rivals: Sequence[Contender]) -> dict[str, list[dict[str, Any]]]:
    curves: dict[str, list[dict[str, Any]]] = {}
    for one in (OURS, *rivals):
        if not Path(one.python).exists():
            print(f"{one.name} is not installed: make bench-memory installs it where it can", file=sys.stderr)
            continue
        curves[one.name] = []
        for size in sizes:
            needed = needed_by(one, size)
            curves[one.name].append(asdict(needed))
            print(told(one.name, needed), flush=True)
            if needed.stopped:
                break
    return curves


def told(name: str, needed: Needed) -> str:
    more = f", {needed.us_an_item:.0f} µs an item" if needed.us_an_item is not None else f", stopped: {needed.stopped}"
    memory = f"{needed.all_mb:6.0f} MB in all, {needed.largest_mb:6.0f} MB the largest process"
    return f"{name:20} {needed.items:9,} items  {memory}, {needed.wall_s:6.1f} s{more}"


def needed_by(one: Contender, size: int) -> Needed:
    """Run a contender and watch it."""
    with tempfile.TemporaryDirectory() as folder, emulator() as url, (Path(folder) / "out").open("w+") as out:
        course = next(courses(Path(folder), size, short_only=True))
        process = subprocess.Popen(command(one, course, f"{folder}/store", url), cwd=ROOT, stdout=out)
        needed = watched(process, Needed(size))
        if needed.stopped:
            return needed
        assert process.returncode == 0, one.name
        out.seek(0)
        steps = json.loads(out.read().strip().splitlines()[-1])
    work = sum(took["wall_s"] for step, took in steps.items() if step in WORK)
    needed.us_an_item = round(work / size * 1e6, 1)
    return needed


def command(one: Contender, course: Course, folder: str, url: str) -> list[str]:
    return [one.python, "-m", one.module, str(course.source), str(course.tomorrow), folder, url]


def watched(process: "subprocess.Popen[bytes]", needed: Needed) -> Needed:
    started = time.monotonic()
    while process.poll() is None:
        everyone = [process.pid, *workers(process.pid)]
        needed.largest_mb = max(needed.largest_mb, *(status_kb(each, "VmHWM") / 1024 for each in everyone))
        needed.all_mb = max(needed.all_mb, needed.largest_mb, _together_kb(everyone) / 1024)
        needed.wall_s = time.monotonic() - started
        if needed.all_mb > MOST_MB or needed.wall_s > MOST_S:
            needed.stopped = f"more than {MOST_MB} MB" if needed.all_mb > MOST_MB else f"more than {MOST_S} s"
            process.kill()
            process.wait()
        time.sleep(LOOK_S)
    return needed


def _together_kb(processes: Sequence[int]) -> int:
    mapped = max(status_kb(one, "RssFile") for one in processes)
    return mapped + sum(status_kb(one, "RssAnon") + status_kb(one, "RssShmem") for one in processes)


def draw(curves: Mapping[str, Sequence[Mapping[str, Any]]], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import FuncFormatter, NullFormatter

    figure, axes = plt.subplots(figsize=(8, 4.8), dpi=120)
    for (name, points), colour in zip(curves.items(), ("tab:blue", "tab:red"), strict=False):
        sizes = [point["items"] for point in points]
        axes.plot(sizes, [point["all_mb"] for point in points], "o-", color=colour, label=f"{name}, all processes")
        largest = [point["largest_mb"] for point in points]
        axes.plot(sizes, largest, "x--", color=colour, alpha=0.6, label=f"{name}, largest process")
        if points and points[-1]["stopped"]:
            axes.annotate(
                points[-1]["stopped"], (sizes[-1], points[-1]["all_mb"]), (-150, 2), textcoords="offset points"
            )
    axes.axhline(GOAL_MB, color="grey", linewidth=1, linestyle=":", label=f"goal: {GOAL_MB} MB in every process")
    axes.set(xscale="log", yscale="log", xlabel="items", ylabel="peak memory, MB")
    axes.set_title("Packing, sending and collecting one night of short requests")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_minor_formatter(
        FuncFormatter(lambda value, _: f"{value:,.0f}" if f"{value:.0f}"[0] in "235" else "")
    )
    axes.grid(visible=True, which="both", alpha=0.25)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path)


if __name__ == "__main__":
    main()
