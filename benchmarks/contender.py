"""What every contender of the race shares; the standard library alone, as each runs in an environment of its own.

A contender is a module with a `main` that takes an input of JSON lines ({"id", "text"}), a folder of its own and the
address of an emulator, and prints one JSON document: seconds of wall clock and CPU for each step, and its peak memory.
"""

import argparse
import json
import resource
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

HOUR_S = 3_600


@dataclass(frozen=True)
class Took:
    """One step. `peak_mb` is the highest of the process so far: memory that a step frees is not given back to it."""

    wall_s: float
    cpu_s: float
    peak_mb: float


class Steps:
    """Times the steps, and prints them at the end."""

    def __init__(self) -> None:
        self.took: dict[str, Took] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        self.took[name] = Took(time.perf_counter() - wall, time.process_time() - cpu, peak)

    def print(self) -> None:
        print(json.dumps({name: asdict(took) for name, took in self.took.items()}))


def given() -> argparse.Namespace:
    """`source`, `folder`, `emulator` and what else a contender was told."""
    parser = argparse.ArgumentParser()
    parser.add_argument("source", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("emulator")
    parser.add_argument("--task", default="")
    return parser.parse_args()


def finish_batches(emulator: str) -> None:
    """All batches are over and their results written, before anybody asks for them: that work is not a contender's."""
    _asked(f"{emulator}/_emulator/advance", {"seconds": HOUR_S})
    while any(batch["status"] != "completed" for batch in _asked(f"{emulator}/v1/batches")["data"]):
        time.sleep(0.05)


def _asked(url: str, document: dict[str, Any] | None = None) -> dict[str, Any]:
    data = None if document is None else json.dumps(document).encode()
    headers = {"authorization": "Bearer none", "content-type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(url, data, headers)) as answer:
        told: dict[str, Any] = json.load(answer)
    return told
