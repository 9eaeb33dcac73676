"""Wall time, CPU and peak memory of our part of a night: `submit` (pack, send) and `collect` (fetch, settle, merge).

Real commands in processes of their own, against an emulator in another; the figures are the operating system's.
Run: make bench
"""

import gzip
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from batchjobs.rehearsal import variables

ROOT = Path(__file__).parents[1]
REAL = ROOT.parent / "shared/data/deals-2000.jsonl.gz"
SMALL = "benchmarks.short_task:TASK"


@dataclass(frozen=True)
class Took:
    """What one command used."""

    wall_s: float
    cpu_s: float
    peak_mb: float


def main() -> None:
    """Print one table."""
    print(f"{'input':28} {'provider':10} {'command':8} {'wall s':>7} {'CPU s':>7} {'peak MB':>8}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for label, source, task in inputs(folder):
            for provider in ("openai", "anthropic"):
                for command, took in night(folder / f"{label}-{provider}", source, task, provider):
                    row = f"{took.wall_s:7.2f} {took.cpu_s:7.2f} {took.peak_mb:8.0f}"
                    print(f"{label:28} {provider:10} {command:8} {row}", flush=True)


def inputs(folder: Path) -> Iterator[tuple[str, Path, str]]:
    """The real deals where they lie, and as many short requests as asked for (default 100,000)."""
    if REAL.exists():
        deals = folder / "deals.jsonl"
        with gzip.open(REAL) as packed, deals.open("wb") as out:
            shutil.copyfileobj(packed, out)
        yield "2,000 real deals", deals, "deal-intelligence"
    count = int(os.environ.get("BENCH_REQUESTS", "100000"))
    short = folder / "short.jsonl"
    with short.open("w") as out:
        out.writelines(json.dumps({"id": f"n{n}", "text": f"Short text number {n}."}) + "\n" for n in range(count))
    yield f"{count:,} short requests", short, SMALL


def night(folder: Path, source: Path, task: str, provider: str) -> Iterator[tuple[str, Took]]:
    """Each command of a night with what it used."""
    with emulator() as environ:
        base = ["--store", str(folder / "store"), "--json"]
        yield "submit", batchjobs(environ, "submit", str(source), "--task", task, "--provider", provider, *base)
        yield "collect", wait_and_collect(environ, base)
        yield "again", batchjobs(environ, "submit", str(source), "--task", task, "--provider", provider, *base)
    shutil.rmtree(folder)


def wait_and_collect(environ: dict[str, str], base: list[str]) -> Took:
    """Poll cheaply until a `collect` has something to do, and take that one: the largest of them."""
    took = Took(0, 0, 0)
    while True:
        one = batchjobs(environ, "collect", *base)
        took = max(took, one, key=lambda t: t.cpu_s)
        state = subprocess.run(command("status", *base), env=environ, capture_output=True, check=False)
        if json.loads(state.stdout)["in_flight"] == 0:
            return took


def batchjobs(environ: dict[str, str], *words: str) -> Took:
    """Run a command; its own use as the kernel counted it."""
    before = os.times().elapsed
    process = subprocess.Popen(command(*words), env=environ, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 3, 4):
        raise SystemExit(f"{words} ended with {process.returncode}")
    return Took(os.times().elapsed - before, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "batchjobs", *words]


@contextmanager
def emulator() -> Iterator[dict[str, str]]:
    """An emulator in a process of its own; yields the environment that points at it."""
    words = [sys.executable, "-m", "providers.emulator", "--port", "0", "--speed", "1", "--batch-seconds", "1"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        url = next(word for line in process.stdout for word in line.split("=") if word.startswith("http")).strip()
        yield os.environ | variables(url.removesuffix("/v1"))
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    main()
