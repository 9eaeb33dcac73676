"""The long campaign: every way of breaking a night, one after the other, for as long as told (`make chaos`).

Each part is a command of its own that ends with one line of JSON. What it came to is appended to a file of counts,
`docs/campaigns.jsonl`: one line for each campaign, good or bad. The README and
`docs/reliability.md` quote it, and are brought up to date.
"""

import argparse
import json
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
COUNTER = ROOT / "docs/campaigns.jsonl"
README, RELIABILITY = ROOT / "README.md", ROOT / "docs/reliability.md"
_QUOTED = re.compile(r"(?<=<!-- counted -->\n).*?(?=\n<!-- so far -->)", re.DOTALL)


@dataclass(frozen=True)
class Part:
    """One command of the campaign, and which share of the time it may take."""

    name: str
    share: float
    stores: bool = False  # does it ask on which stores?
    more: tuple[str, ...] = ()


PARTS = (
    Part("sweep", 0.05),
    Part("concurrency", 0.05),
    Part("simulation", 0.4, more=("--programs", "23500")),
    Part("kill", 0.5, stores=True, more=("--random", "100", "--workers", "3")),
)


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def run(part: Part, minutes: float, stores: str, seed: int) -> dict[str, Any]:
    """What the part reports; a part that ends without a report is a failure like any other."""
    command = [sys.executable, "-m", f"tests.{part.name}.campaign", "--minutes", f"{minutes:.1f}", "--seed", str(seed)]
    command += [*part.more, *(["--stores", stores] if part.stores else [])]
    say(f"{datetime.now(UTC):%H:%M:%S} {' '.join(command[1:])}")
    ended = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    last = (ended.stdout.strip().splitlines() or [""])[-1]
    report = json.loads(last) if last.startswith("{") else {"failures": [f"no report: {last[-200:]}"]}
    say(f"         exit {ended.returncode}: {last}")
    return report | {"exit": ended.returncode}


def campaign(minutes: float, stores: str, seed: int) -> dict[str, Any]:
    """All parts, each with its share of the time and whatever the ones before it left."""
    started = time.monotonic()
    reports = {}
    for number, part in enumerate(PARTS):
        left = minutes - (time.monotonic() - started) / 60
        share = part.share / sum(other.share for other in PARTS[number:])
        reports[part.name] = run(part, left * share, stores, seed)
    return {
        "at": f"{datetime.now(UTC):%Y-%m-%d}",
        "version": version("batchjobs"),
        "seed": seed,
        "minutes": round((time.monotonic() - started) / 60, 1),
        "clean": all(report["exit"] == 0 for report in reports.values()),
        **reports,
    }


def records() -> list[dict[str, Any]]:
    """Every campaign so far, the oldest first."""
    return [json.loads(line) for line in COUNTER.read_text().splitlines()]


def total(some: Sequence[dict[str, Any]], part: str, name: str) -> int:
    return sum(int(record.get(part, {}).get(name, 0)) for record in some)


def counted() -> str:
    """What all campaigns came to, in the words of the README."""
    every = records()
    programs, days = total(every, "simulation", "with_fault"), total(every, "simulation", "virtual_days")
    killed, nights = total(every, "kill", "cases"), total(every, "sweep", "faults_fired")
    clean = sum(record["clean"] for record in every)
    return (
        f"{programs:,} simulated nights in which a fault fired ({days:,} virtual days), {killed:,} commands killed,\n"
        f"{nights:,} nights with a failing disk, store or provider, "
        f"{total(every, 'concurrency', 'processes'):,} processes side by side.\n"
        f"Campaigns that found nothing: {clean} of {len(every)}; what the others found was mended, each with a test."
    )


def figures() -> str:
    """The table of the last campaign, and of all."""
    every = records()
    last = every[-1:]
    rows = [
        ("simulated programs in which a fault fired", "simulation", "with_fault"),
        ("virtual days of these", "simulation", "virtual_days"),
        ("programs that broke a promise", "simulation", "violations"),
        ("commands killed, each then rebuilt and compared row for row", "kill", "cases"),
        ("nights with a failing call or a power cut, then healed", "sweep", "faults_fired"),
        ("processes side by side", "concurrency", "processes"),
        ("looks of an analyst meanwhile", "concurrency", "looks"),
    ]
    numbers = [f"| {what} | {total(last, *where):,} | {total(every, *where):,} |" for what, *where in rows]
    matrix = {
        f"killed at: {place}": pair for place, pair in last[0].get("kill", {}).get("tried_of_planned", {}).items()
    }
    sweep = last[0].get("sweep", {})
    matrix["failed: effects of a night, once and from then on"] = [sweep.get("tried", 0), sweep.get("effects", 0)]
    parts = [f"| {what} | {tried:,} of {planned:,} | |" for what, (tried, planned) in matrix.items()]
    title = f"the last campaign ({last[0]['at']}, {last[0]['minutes']:.0f} minutes, seed {last[0]['seed']})"
    return "\n".join([f"| figure | {title} | all {len(every)} |", "|---|---|---|", *numbers, *parts])


def quote() -> None:
    """Bring the README's sentence and the table of the figures up to date."""
    for path, words in ((README, counted()), (RELIABILITY, figures())):
        path.write_text(_QUOTED.sub(lambda _, words=words: words, path.read_text()))


def main() -> int:
    """Run a campaign and append what it came to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--stores", default="directory,ministack,ceph")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    options = parser.parse_args()
    record = campaign(options.minutes, options.stores, options.seed)
    with COUNTER.open("a") as counter:
        counter.write(json.dumps(record) + "\n")
    quote()
    return 0 if record["clean"] else 1


if __name__ == "__main__":
    sys.exit(main())
