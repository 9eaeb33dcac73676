"""What every contender of the race shares; the standard library alone, as each runs in an environment of its own.

A contender is a module with a `main` that takes an input of JSON lines ({"id", "text"}), a folder of its own and the
address of an emulator, and prints one JSON document: seconds of wall clock and CPU for each step, and its peak memory.
Its worker processes count as itself.
"""

import argparse
import json
import os
import resource
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

HOUR_S = 3_600
SCHEMA = {
    "type": "object",
    "properties": {"label": {"type": "string"}},
    "required": ["label"],
    "additionalProperties": False,
}
SHARED: dict[str, Any] = {  # of a request, as far as a contender says it itself
    "model": "gpt-4.1-mini",
    "max_completion_tokens": 50,
    "response_format": {"type": "json_schema", "json_schema": {"name": "label", "strict": True, "schema": SCHEMA}},
}


@dataclass(frozen=True)
class Took:
    """One step. `peak_mb` is the highest of any process so far: memory that a step frees is not given back to it."""

    wall_s: float
    cpu_s: float
    peak_mb: float


class Steps:
    """Times the steps, and prints them at the end."""

    def __init__(self) -> None:
        self.took: dict[str, Took] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        wall, cpu = time.perf_counter(), cpu_s()
        yield
        self.took[name] = Took(time.perf_counter() - wall, cpu_s() - cpu, peak_mb())

    def print(self) -> None:
        print(json.dumps({name: asdict(took) for name, took in self.took.items()}))


def cpu_s() -> float:
    """Of this process, of its workers that ended, and of those that live."""
    ended = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in ended) + sum(map(_lived_s, workers(os.getpid())))


def peak_mb() -> float:
    """The most that any process of ours had at once."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return max(ended, *(status_kb(one, "VmHWM") for one in [os.getpid(), *workers(os.getpid())])) / 1024


def workers(process: int) -> list[int]:
    """Every process below this one."""
    found: list[int] = []
    for children in Path(f"/proc/{process}/task").glob("*/children"):
        for child in map(int, _told(children).split()):
            found += [child, *workers(child)]
    return found


def status_kb(process: int, what: str) -> int:
    """A figure of /proc/PID/status; 0 of a process that is over."""
    lines = [line for line in _told(Path(f"/proc/{process}/status")).splitlines() if line.startswith(f"{what}:")]
    return int(lines[0].split()[1]) if lines else 0


def _lived_s(process: int) -> float:
    fields = _told(Path(f"/proc/{process}/stat")).rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK") if fields else 0.0


def _told(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def given() -> argparse.Namespace:
    """`source`, `tomorrow` (the same in another order), `folder`, `emulator` and what else a contender was told."""
    parser = argparse.ArgumentParser()
    parser.add_argument("source", type=Path)
    parser.add_argument("tomorrow", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("emulator")
    parser.add_argument("--task", default="")
    return parser.parse_args()


def finish_batches(emulator: str) -> None:
    """All batches are over and their results written, before anybody asks for them: that work is not a contender's."""
    advance(emulator, HOUR_S)
    while any(batch["status"] != "completed" for batch in _batches(emulator)):
        time.sleep(0.05)


def advance(emulator: str, seconds: float) -> None:
    """Move the emulator's clock, which stands still else."""
    _asked(f"{emulator}/_emulator/advance", {"seconds": seconds})


def _batches(emulator: str) -> Iterator[dict[str, Any]]:
    after, more = "", True
    while more:
        page = _asked(f"{emulator}/v1/batches?limit=100{after}")
        yield from page["data"]
        after, more = f"&after={page['last_id']}", page["has_more"]


def _asked(url: str, document: dict[str, Any] | None = None) -> dict[str, Any]:
    data = None if document is None else json.dumps(document).encode()
    headers = {"authorization": "Bearer none", "content-type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(url, data, headers)) as answer:
        told: dict[str, Any] = json.load(answer)
    return told
