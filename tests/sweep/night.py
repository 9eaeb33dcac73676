"""A small night with something wrong in it: the verb, the same verb again, and what must hold in the end."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

import providers
from batchjobs.desk import Desk
from batchjobs.errors import Unreachable, exit_code_of
from batchjobs.jobs import Job
from batchjobs.observed import ObservedProvider, ObservedStore
from batchjobs.rehearsal import variables
from batchjobs.shards import Phase, Shard
from batchjobs.verify import verify
from providers.emulator import Emulator
from storage.contract import ObjectStore, StoreUnavailable
from tests.world import World, documents

ITEMS = 4
NIGHT = {"shard_requests": 2, "interval": 600.0}
TIMEOUT_S = 1.0  # of a purchase, where waiting for one is part of the test
SECRETS = ("This is document", "emulator-key", "Label the document")  # of the prompts and the key


@dataclass
class SweptWorld(World):
    """A world whose store is given: every desk works on it, in what is left of it after a crash too."""

    storing: Callable[[World], ObjectStore] | None = None
    impatient: bool = False

    def desk(self, **settings: object) -> Desk:
        desk = super().desk(**settings)
        if self.storing is not None:
            desk.store = ObservedStore(self.storing(self), desk.env.fault)
        if self.impatient:
            hasty = providers.connect(self.provider, "", sleep=desk.env.sleep, timeout_s=TIMEOUT_S)
            desk = replace(desk, _providers={(self.provider, ""): ObservedProvider(hasty, desk.env.fault)})
            self.desks.append(desk)
        return desk


@contextmanager
def swept_world(provider: str, folder: Path, url: str = "") -> Iterator[SweptWorld]:
    """A world of its own, with the SDKs pointed at it."""
    folder.mkdir(parents=True)
    with Emulator(seed=7, speed=0.0, batch_seconds=600.0) as emulator, pytest.MonkeyPatch.context() as patch:
        for name, value in variables(emulator.url).items():
            patch.setenv(name, value)
        world = SweptWorld(emulator, url or str(folder / "store"), folder, provider)
        try:
            yield world
        finally:
            world.close()


def source(world: World) -> Path:
    return world.write(documents(ITEMS))


def attempt(world: World) -> str:
    """The night's verb while something is wrong: the job's state, or the kind of error, of a documented kind only."""
    try:
        return world.run(source(world), **NIGHT).state
    except (Unreachable, StoreUnavailable) as error:
        return name_of(error)


def name_of(error: Exception) -> str:
    """The kind of an error that is what a person should see: one sentence, and the exit code for trying again."""
    assert exit_code_of(error) == Unreachable.exit_code
    assert is_sentence(str(error)), str(error)
    return type(error).__name__


def is_sentence(text: str) -> bool:
    """One line that says what is wrong and what to do, and repeats neither prompt nor key."""
    told = "\n" not in text and 30 < len(text) < 500 and not any(secret in text for secret in SECRETS)
    return told and any(word in text for word in ("run", "check", "set", "wait", "name", "person"))


def finish(world: World) -> Job:
    """The same command again, now that nothing is wrong; a person buys again only what truly never arrived."""
    job = world.run(source(world), **NIGHT)
    unknown = [shard for shard in job.shards if shard.phase is Phase.unknown]
    if unknown:
        assert not [shard.plan.id for shard in unknown if arrived(world, shard)], "was bought and is not found"
        job = world.run(source(world), **NIGHT, rebuy_unknown=True)
    return job


def arrived(world: World, shard: Shard) -> bool:
    return any(batch.custom_id_prefix.startswith(shard.plan.id_prefix) for batch in world.emulator.batches)


def check(world: World, job: Job) -> None:
    """Every item has its answer, was paid once, and the store proves it."""
    assert (job.state, job.succeeded, job.failed) == ("finished", ITEMS, 0)
    assert sorted(world.billed().values()) == [1] * ITEMS
    assert len(world.emulator.batches) == len(job.shards)
    assert not verify(world.desk(), job.id).violations
    assert world.sql("SELECT count(*), count(DISTINCT doc_id) FROM label") == [(ITEMS, ITEMS)]
