"""A night over a slow line, to the provider and to an S3 store: everything in one order, and one step ahead.

    make bench-overlap                                          (20,000 short requests in ten shards; 8 MB a second)
    python -m benchmarks.overlap --items 2000 --rate 4

The store's line and the provider's are two. What the line carries is the same either way, so that the difference is
what no longer waits for it.
"""

import argparse
import importlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from batchjobs.desk import Desk, open_desk
from batchjobs.env import real_env
from batchjobs.rehearsal import variables
from batchjobs.rounds import one_pass
from batchjobs.settings import load_settings
from benchmarks import kept
from benchmarks.contender import finish_batches
from benchmarks.line import slow
from benchmarks.ours import LATE, TASK, accepted
from benchmarks.race import courses, emulator
from benchmarks.shards import Took, finished, took
from tests.storage.stores import BUCKET, CREDENTIALS, s3_serving

SHARDS = 10
WAYS = {"in one order": 0, "one ahead": 1}  # threads: one alone asks about batches no faster than none
WARM_UP_ITEMS = 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--rate", type=float, default=8.0, help="megabytes a second, each way")
    parser.add_argument("--results", type=Path, default=kept.RESULTS)
    asked = parser.parse_args()
    for name in LATE:
        importlib.import_module(name)
    with tempfile.TemporaryDirectory() as folder:
        night(Path(folder), WARM_UP_ITEMS, asked.rate, 1)
        ways = {way: night(Path(folder), asked.items, asked.rate, threads) for way, threads in WAYS.items()}
    show(ways)
    kept.keep(asked.results, "overlap", {"items": asked.items, "shards": SHARDS, "rate": asked.rate, "ways": ways})


def night(folder: Path, items: int, rate: float, threads: int) -> dict[str, Took]:
    own = folder / f"{items}-{threads}"
    own.mkdir()
    source = next(courses(own, items, short_only=True)).source
    steps: dict[str, Took] = {}
    with s3_serving(own) as s3, slow(s3, rate) as bucket, emulator() as url, slow(url, rate) as provider:
        os.environ |= CREDENTIALS | {"AWS_ENDPOINT_URL_S3": bucket, "XDG_CACHE_HOME": str(own / "cache")}
        with desk_at(own, provider, items // SHARDS, threads) as desk:
            jobs: list[str] = []
            steps["pack"] = took(lambda: jobs.append(accepted(desk, str(source))))
            steps["send"] = took(lambda: one_pass(desk, jobs))
            finish_batches(url)
            steps["collect"] = took(lambda: finished(one_pass(desk, jobs)))
    return steps


@contextmanager
def desk_at(folder: Path, provider: str, shard_requests: int, threads: int) -> Iterator[Desk]:
    os.environ.update(variables(provider))
    flags = {
        "store": f"s3://{BUCKET}/night", "results": str(folder / "results.duckdb"), "task": TASK, "provider": "openai",
        "shard_requests": shard_requests,
    }  # fmt: skip
    desk = open_desk(replace(real_env(), threads=threads), load_settings(flags, None, {}))
    yield desk
    desk.close()


def show(ways: Mapping[str, Mapping[str, Took]]) -> None:
    order, ahead = ways.values()
    print(f"{'':10} {'in one order, s':>16} {'one ahead, s':>14} {'ratio':>8}")
    for step, one in order.items():
        then = ahead[step]["wall_s"]
        print(f"{step:10} {one['wall_s']:16.2f} {then:14.2f} {then / one['wall_s']:8.2f}")


if __name__ == "__main__":
    main()
