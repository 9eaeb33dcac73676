"""Memory depends on the size of a shard, not on how many there are: watched over a command and all its workers."""

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil

from batchjobs.rehearsal import variables
from providers.emulator import Emulator

ROOT = Path(__file__).parents[2]
PROCESS_MAX_MB = 300
GROWTH_MAX_MB = 40  # a command's own beginnings weigh 200
TASK = "benchmarks.short_task:TASK"


def deals(path: Path, items: int) -> Path:
    with path.open("w") as out:
        out.writelines(json.dumps({"id": f"n{n}", "text": f"{n} " + "word " * 150}) + "\n" for n in range(items))
    return path


def night(folder: Path, items: int) -> tuple[float, float, int]:
    """Megabytes of all processes of a `run`, at most (shared pages count once); of the largest; how many they were."""
    folder.mkdir()
    with Emulator(seed=1, speed=1.0, batch_seconds=0.0) as emulator:
        words = [
            "run",
            str(deals(folder / "in.jsonl", items)),
            "--store",
            str(folder / "store"),
            "--task",
            TASK,
            "--json",
        ]
        settings = {"BATCHJOBS_SHARD_REQUESTS": "3000", "BATCHJOBS_INTERVAL": "0.01"}
        environ = os.environ | variables(emulator.url) | settings
        with subprocess.Popen(
            [sys.executable, "-m", "batchjobs", *words],
            cwd=ROOT,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as process:
            most, largest, processes = watched(psutil.Process(process.pid))
            assert process.stdout is not None
            assert json.load(process.stdout)["succeeded"] == items
    return most, largest, processes


def watched(process: psutil.Process) -> tuple[float, float, int]:
    most, largest, processes = 0.0, 0.0, 0
    while process.status() != psutil.STATUS_ZOMBIE:
        family = [process, *process.children(recursive=True)]
        held = []
        for one in family:
            with suppress(psutil.NoSuchProcess):
                memory = one.memory_full_info()
                held.append(memory.pss / 1_000_000)
                largest = max(largest, memory.rss / 1_000_000)
        most, processes = max(most, sum(held)), max(processes, len(family))
    return most, largest, processes


def test_ten_shards_need_no_more_memory_than_one(tmp_path: Path):
    (one, _, _), (ten, largest, processes) = night(tmp_path / "one", 3_000), night(tmp_path / "ten", 30_000)
    assert ten < one + GROWTH_MAX_MB
    assert largest < PROCESS_MAX_MB
    assert processes == 1 + min(len(os.sched_getaffinity(0)), 8) or len(os.sched_getaffinity(0)) == 1
