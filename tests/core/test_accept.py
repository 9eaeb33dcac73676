"""Two machines on one store pack the same items in the same minute: the items are bought once."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from batchjobs import submit as submitting
from batchjobs.desk import Desk, open_desk
from batchjobs.jobs import job_ids
from batchjobs.settings import load_settings
from batchjobs.verify import verify
from storage.contract import Damaged
from storage.layout import accepted_key, plan_key
from tests.world import TASK, World, documents

MakeWorld = Callable[..., World]


def machine(world: World, name: str, fault: Callable[[str], None] = lambda _: None) -> Desk:
    """Another machine on the world's store: nothing in common but that."""
    flags = {"store": world.store, "results": str(world.folder / f"{name}.duckdb"), "task": TASK}
    flags["state_dir"] = str(world.folder / name)
    return open_desk(replace(world.env(), fault=fault), load_settings(flags, None, {}))


def submit(desk: Desk, source: Path) -> submitting.Submission:
    order = submitting.resolve(desk.settings, str(source), None, desk)
    with desk.exclusive("test"):
        return submitting.submit(desk, order)


def meanwhile(point: str, act: Callable[[], object]) -> Callable[[str], None]:
    """A fault hook that lets another machine act the first time a point is passed."""
    todo = [act]

    def hook(passed: str) -> None:
        if passed == point and todo:
            todo.pop()()

    return hook


def test_items_packed_by_two_machines_at_once_are_bought_once(make_world: MakeWorld):
    world = make_world()
    mine, theirs = world.write(documents(6), "a.jsonl"), world.write(documents(9), "b.jsonl")
    slow = machine(world, "slow", meanwhile("plan.before", lambda: submit(machine(world, "quick"), theirs)))
    plan = submit(slow, mine).plan
    assert (plan.requests, plan.carried) == (0, 6)
    world.run(mine)
    world.run(theirs)
    assert set(world.billed().values()) == {1}


def test_a_job_without_common_items_is_not_packed_again(make_world: MakeWorld):
    world = make_world()
    theirs = world.write(documents(3, "other"), "b.jsonl")
    points: list[str] = []
    hook = meanwhile("plan.before", lambda: submit(machine(world, "quick"), theirs))
    slow = machine(world, "slow", lambda point: (points.append(point), hook(point)))
    assert submit(slow, world.write(documents(4))).plan.requests == 4
    assert points.count("shards.before") == 2  # one shard and its items, once
    assert len(job_ids(slow.store)) == 2


def test_the_same_order_on_two_machines_is_one_job(make_world: MakeWorld):
    world = make_world()
    source = world.write(documents(4))
    slow = machine(world, "slow", meanwhile("accepted.before", lambda: submit(machine(world, "quick"), source)))
    submission = submit(slow, source)
    assert submission.already
    assert job_ids(slow.store) == [submission.plan.job]


def test_an_acceptance_whose_writer_died_is_finished_by_the_next(make_world: MakeWorld):
    world = make_world()
    first = submit(machine(world, "first"), world.write(documents(4))).plan
    (Path(world.store) / plan_key(first.job)).unlink()  # as if it had died between the two
    other = submit(machine(world, "other"), world.write(documents(5), "b.jsonl")).plan
    assert (other.requests, other.carried) == (1, 4)
    assert first.job in job_ids(machine(world, "third").store)


def test_a_lost_acceptance_stops_packing(make_world: MakeWorld):
    world = make_world()
    for name in ("a", "b"):
        submit(machine(world, "first"), world.write(documents(2, name), f"{name}.jsonl"))
    (Path(world.store) / accepted_key(1)).unlink()
    with pytest.raises(Damaged, match="accepted"):
        submit(machine(world, "first"), world.write(documents(2, "c"), "c.jsonl"))


def test_verify_names_what_is_wrong_with_the_order(make_world: MakeWorld):
    world = make_world()
    for name in ("a", "b", "c"):
        submit(machine(world, "first"), world.write(documents(2, name), f"{name}.jsonl"))
    damaged = Path(world.store) / accepted_key(2)
    damaged.write_bytes(damaged.read_bytes()[:-9])
    assert any(accepted_key(2) in sentence for sentence in verify(machine(world, "first")).violations)
    damaged.unlink()
    assert any(accepted_key(2) in sentence for sentence in verify(machine(world, "first")).violations)
