"""A job of many shards, and a store of many jobs: what polling and `batchjobs status` cost, on a directory and on S3.

    make bench-shards                                           (1,000 shards in one job; 300 finished small jobs)
    python -m benchmarks.shards --shards 100 --jobs 30

The job goes through a whole night at the emulator, so that its ledgers are what the product writes. `status` is the
real command, a process of its own, whose every CPU second counts: the interpreter's start, the imports, the reading.
"""

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from batchjobs.desk import Desk, open_desk
from batchjobs.env import real_env
from batchjobs.rehearsal import variables
from batchjobs.rounds import Night, one_pass
from batchjobs.settings import load_settings
from benchmarks import kept
from benchmarks.contender import advance, finish_batches
from benchmarks.ours import LATE, TASK, accepted
from benchmarks.race import emulator
from storage import open_store
from tests.storage.stores import BUCKET, CREDENTIALS, s3_serving

Took = dict[str, float]
STARTED_S = 5  # after it the emulator's batches are under way


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, default=1_000)
    parser.add_argument("--jobs", type=int, default=300)
    parser.add_argument("--results", type=Path, default=kept.RESULTS)
    asked = parser.parse_args()
    earlier = kept.before(asked.results, "shards")
    with tempfile.TemporaryDirectory() as folder, s3_serving(Path(folder)) as endpoint:
        os.environ |= CREDENTIALS | {"AWS_ENDPOINT_URL_S3": endpoint, "XDG_CACHE_HOME": f"{folder}/cache"}
        steps = night(Path(folder) / "many", asked.shards)
        old = old_jobs(Path(folder) / "old", asked.jobs)
    show(f"a job of {asked.shards:,} shards", asked.shards, steps, earlier.get("steps", {}))
    show(f"a store of {asked.jobs:,} finished jobs", asked.jobs, old, earlier.get("old", {}))
    kept.keep(asked.results, "shards", {"shards": asked.shards, "steps": steps, "jobs": asked.jobs, "old": old})


def night(folder: Path, shards: int) -> dict[str, Took]:
    """Every shard a batch of its own."""
    for name in LATE:
        importlib.import_module(name)
    steps: dict[str, Took] = {}
    with emulator() as url, desk_at(folder, url) as desk:
        job = accepted(desk, notes(folder, "short", shards))
        steps["send"] = took(lambda: one_pass(desk, [job]))
        advance(url, STARTED_S)
        steps["poll, every status new"] = took(lambda: one_pass(desk, [job]))
        steps["poll, nothing new"] = took(lambda: one_pass(desk, [job]))
        finish_batches(url)
        steps["collect"] = took(lambda: finished(one_pass(desk, [job])))
    return steps | looks(folder, [job], "many")


def old_jobs(folder: Path, count: int) -> dict[str, Took]:
    """Jobs of one request each, all done: what they cost every command to come."""
    with emulator() as url, desk_at(folder, url) as desk:
        jobs = [accepted(desk, notes(folder, f"old{number}", 1)) for number in range(count)]
        one_pass(desk, jobs)
        finish_batches(url)
        finished(one_pass(desk, jobs))
        steps = {"a pass with nothing to do": took(lambda: one_pass(desk, []))}
    return steps | looks(folder, [], "old")


def notes(folder: Path, name: str, count: int) -> str:
    """An input of short texts."""
    folder.mkdir(exist_ok=True)
    lines = [json.dumps({"id": f"{name}-{n}", "text": f"Short text {n} of {name}."}) + "\n" for n in range(count)]
    (folder / f"{name}.jsonl").write_text("".join(lines))
    return str(folder / f"{name}.jsonl")


@contextmanager
def desk_at(folder: Path, url: str) -> Iterator[Desk]:
    os.environ.update(variables(url))
    flags = {"store": str(folder / "store"), "task": TASK, "provider": "openai", "shard_requests": 1}
    desk = open_desk(real_env(), load_settings(flags, None, {}))
    yield desk
    desk.close()


def finished(night: Night) -> None:
    assert night.finished, night.troubles


def took(step: Callable[[], object]) -> Took:
    wall, cpu = time.perf_counter(), time.process_time()
    step()
    return {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}


def looks(folder: Path, words: Sequence[str], name: str) -> dict[str, Took]:
    """`status` on the directory, then on S3: by a machine that never saw the store, and by one that did."""
    here, there = str(folder / "store"), f"s3://{BUCKET}/{name}"
    steps = {"status, directory": commanded("status", *words, "--store", here)}
    copy(here, there)
    for what in ("status, S3, first look", "status, S3"):
        steps[what] = commanded("status", *words, "--store", there)
    return steps


def copy(source: str, target: str) -> None:
    """What `status` reads."""
    ours, theirs = open_store(source), open_store(target)
    keys = [key for key in ours.keys("jobs/") if "/ledger/" in key or key.endswith("/plan.json")]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: theirs.create(key, ours.read(key)), keys))


def commanded(*words: str) -> Took:
    """What a command of ours used, its start included."""
    wall = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "batchjobs", *words], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, words
    return {"wall_s": time.perf_counter() - wall, "cpu_s": used.ru_utime + used.ru_stime}


def show(title: str, count: int, steps: Mapping[str, Took], earlier: Mapping[str, Took]) -> None:
    print(f"\n{title}\n{'':26} {'wall s':>8} {'CPU s':>8} {'CPU ms each':>12}")
    for name, one in steps.items():
        was = f"   was {earlier[name]['cpu_s']:.2f} CPU s" if name in earlier else ""
        print(f"{name:26} {one['wall_s']:8.2f} {one['cpu_s']:8.2f} {one['cpu_s'] / count * 1000:12.2f}{was}")


if __name__ == "__main__":
    main()
