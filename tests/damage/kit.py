"""How objects go bad, and jobs left where a killed command leaves them."""

from functools import partial
from pathlib import Path
from typing import Any

from batchjobs.collect import fetch, judge_of
from batchjobs.desk import Desk
from batchjobs.jobs import Job
from batchjobs.judge import Judging
from batchjobs.poll import poll
from batchjobs.settle import settle
from tests.world import World, documents


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


DAMAGES = {"flip": flip, "truncate": truncate, "delete": Path.unlink}


def fetched(world: World, items: int = 6, **settings: Any) -> Job:
    """A job whose one shard is fetched and not settled."""
    job = world.send(world.write(documents(items)), **settings)
    world.emulator.advance(1200)
    poll(world.desk(), job, send=False)
    job = world.job(job.id)
    fetch(world.desk(), job, job.shards[0])
    return world.job(job.id)


def settled(world: World, items: int = 6) -> Job:
    """A job whose one shard is settled, and what is to be tried again not planned."""
    job = fetched(world, items)
    desk = world.desk()
    settle(desk, job, job.shards[0], judging(desk, job))
    return world.job(job.id)


def judging(desk: Desk, job: Job) -> Judging:
    return partial(map, judge_of(desk, job).judged)


def raw_of(world: World, job: Job) -> Path:
    return Path(world.store) / job.shards[0].files[0]["key"]


def outcomes_of(world: World, job: Job) -> Path:
    return Path(world.store) / job.shards[0].settlement["outcomes_key"]
