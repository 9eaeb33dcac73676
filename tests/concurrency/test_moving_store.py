"""A proof while another machine writes: what moved is looked at again, and only what stays wrong is a violation."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from batchjobs.verify import verify
from storage.contract import ObjectStore
from tests.damage.kit import fetched, flip, outcomes_of
from tests.world import World, documents


@dataclass
class MovingStore:
    """A store in which something happens when an object is opened for the first time."""

    inner: ObjectStore
    happens: list[Callable[[], Any]]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    @contextmanager
    def local(self, key: str) -> Iterator[Path]:
        if self.happens:
            self.happens.pop()()
        with self.inner.local(key) as path:
            yield path


def elsewhere(world: World) -> dict[str, str]:
    """The settings of another machine."""
    return {"state_dir": str(world.folder / "other"), "results": str(world.folder / "other.duckdb")}


def test_what_another_machine_settles_meanwhile_is_no_violation(world: World):
    job = fetched(world)
    desk = world.desk()
    moving = MovingStore(desk.store, [lambda: world.go_on(job.id, **elsewhere(world))])
    proof = verify(replace(desk, store=moving))
    assert (proof.violations, moving.happens) == ([], [])
    assert proof.counts["outcomes"] == 6


def test_damage_is_a_violation_though_another_machine_writes(world: World):
    broken = world.run(world.write(documents(3, "old"), "old.jsonl"))
    job = fetched(world)
    flip(outcomes_of(world, broken))
    desk = world.desk()
    moving = MovingStore(desk.store, [lambda: world.go_on(job.id, **elsewhere(world))])
    assert outcomes_of(world, broken).name in verify(replace(desk, store=moving)).violations[0]
