"""Slow work beside the rest: begun before it is needed, one step ahead and no more, and nothing decided there."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import count
from pathlib import Path
from threading import Event

import pytest

from batchjobs.beside import beside, one_ahead
from batchjobs.desk import Desk
from batchjobs.jobs import Job
from batchjobs.pack import Packer, Pricing, ShardLimits
from batchjobs.poll import poll
from batchjobs.prices import FREE
from batchjobs.rounds import one_pass
from batchjobs.shards import Phase
from providers import load_format
from providers.contract import Provider, RawFile, ShardFile, Unavailable
from providers.emulator import Fault
from storage.layout import raw_key
from tests.core.test_packing import requests
from tests.world import World, documents

PATIENCE_S = 10.0  # until a test fails that waits for what is never begun


def test_work_is_under_way_before_its_result_is_asked_for():
    begun = Event()
    with beside(1) as begin:
        answer = begin(lambda: begun.set() or "done")
        assert begun.wait(PATIENCE_S)
        assert answer() == "done"


def test_without_threads_it_is_done_when_asked_for():
    done: list[int] = []
    with beside(0) as begin:
        answers = [begin(lambda n=n: done.append(n)) for n in range(3)]
        assert done == []
        answers[1]()
    assert done == [1]


def test_what_it_raises_is_raised_where_it_is_asked_for():
    with beside(1) as begin:
        answer = begin(lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            answer()


def test_who_leaves_waits_for_what_is_under_way():
    begun, go_on, done = Event(), Event(), Event()

    def left() -> None:
        with beside(1) as begin:
            begin(lambda: begun.set() or (go_on.wait(PATIENCE_S) and done.set()))
            assert begun.wait(PATIENCE_S)
            go_on.set()
            raise LookupError

    with pytest.raises(LookupError):
        left()
    assert done.is_set()


def test_who_is_interrupted_does_not_wait():
    go_on, done = Event(), Event()

    def interrupted() -> None:
        with beside(1) as begin:
            begin(lambda: go_on.wait(PATIENCE_S) and done.set())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not done.is_set()
    go_on.set()


@pytest.mark.parametrize(("works", "begun"), [(0, []), (1, [1]), (4, [2, 3, 4, 4])])
def test_one_more_is_begun_than_was_given_out(works: int, begun: list[int]):
    started: list[int] = []

    def begin(work: Callable[[], int]) -> Callable[[], int]:
        started.append(work())
        return work

    answers = one_ahead(begin, (lambda n=n: n for n in range(works)))
    assert [(answer(), len(started)) for answer in answers] == list(enumerate(begun))


@dataclass
class Watched:
    """A provider that tells when an upload or a download begins, by its place among all of its kind."""

    provider: Provider
    begun: dict[tuple[str, int], Event] = field(default_factory=dict)
    seen: Counter[str] = field(default_factory=Counter)

    def __getattr__(self, name: str) -> object:
        return getattr(self.provider, name)

    def event(self, what: str, place: int) -> Event:
        return self.begun.setdefault((what, place), Event())

    def _note(self, what: str) -> None:
        self.seen[what] += 1
        self.event(what, self.seen[what]).set()

    def stage(self, shard: ShardFile) -> str:
        self._note("stage")
        return self.provider.stage(shard)

    def raw(self, ref: str) -> Iterator[RawFile]:
        self._note("raw")
        return self.provider.raw(ref)


def watched(world: World, job: Job, desk: Desk, point: str, what: str) -> tuple[Watched, list[tuple[bool, bool]]]:
    """And for every passing of the point by now: had the next one begun, and the one after that?"""
    provider = desk.provider_of(job.plan)
    watch = Watched(provider.inner)
    seen: list[tuple[bool, bool]] = []

    def fault(passed: str) -> None:
        if passed == point:
            following = len(seen) + 2
            begun = following > len(job.shards) or watch.event(what, following).wait(PATIENCE_S)
            seen.append((begun, watch.event(what, following + 1).is_set()))

    desk.env = replace(desk.env, threads=2)
    desk._providers = {(world.provider, job.plan.endpoint): replace(provider, inner=watch, fault=fault)}
    desk.store = replace(desk.store, fault=fault)
    return watch, seen


def test_the_next_results_arrive_while_a_shard_is_settled_and_no_more(world: World):
    job = world.send(world.write(documents(9)), shard_requests=3)
    world.emulator.advance(3600)
    desk = world.desk()
    _, seen = watched(world, job, desk, "outcomes.before", "raw")
    one_pass(desk, [job.id])
    assert seen == [(True, False)] * 3
    assert world.job(job.id).succeeded == 9


def test_the_next_shard_is_uploaded_while_one_is_bought_and_no_more(world: World):
    plan = world.accept(world.write(documents(9)), shard_requests=3).plan
    desk, job = world.desk(), world.job(plan.job)
    watch, seen = watched(world, job, desk, "create.before", "stage")
    one_pass(desk, [job.id])
    assert seen == [(True, False)] * 3
    assert watch.seen["stage"] == 3
    assert set(world.billed().values()) == set()
    assert [shard.sends for shard in world.job(job.id).shards] == [1, 1, 1]


def test_what_is_not_to_be_bought_is_not_uploaded(world: World):
    plan = world.accept(world.write(documents(9)), shard_requests=3).plan
    desk, job = world.desk(max_cost=plan.shards[0].ceiling_cost * Decimal("1.5")), world.job(plan.job)
    watch, _ = watched(world, job, desk, "nothing", "stage")
    assert len(poll(desk, job).holds) == 2
    assert watch.seen["stage"] == 1


def test_a_shard_whose_records_were_lost_is_not_uploaded(world: World):
    plan = world.accept(world.write(documents(9)), shard_requests=3).plan
    desk, job = world.desk(), world.job(plan.job)
    desk.store.create(raw_key(job.id, "1-00002", 1, "output", "0" * 8), b"answers that no record knows")
    watch, _ = watched(world, job, desk, "nothing", "stage")
    assert list(poll(desk, job).holds) == ["1-00002"]
    assert watch.seen["stage"] == 2


def test_what_came_short_does_not_stay_on_the_disk(world: World):
    job = world.send(world.write(documents(9)), shard_requests=3)
    world.emulator.advance(3600)
    world.emulator.add_fault(Fault(action="missing_lines", count=1, times=0))
    desk, there = world.desk(), set()

    def fault(_point: str) -> None:
        there.add(len(list(desk.state_dir.glob("spool-*/1-*"))))

    provider = desk.provider_of(job.plan)
    desk._providers = {(world.provider, job.plan.endpoint): replace(provider, fault=fault)}
    one_pass(desk, [job.id])
    assert there == {0, 1}
    assert {shard.phase for shard in world.job(job.id).shards} == {Phase.ended}


def test_results_that_were_absent_when_asked_for_ahead_are_asked_for_again(world: World):
    job = world.send(world.write(documents(9)), shard_requests=3)
    world.emulator.advance(3600)
    desk = world.desk()
    provider = desk.provider_of(job.plan)

    @dataclass
    class Late(Watched):
        def raw(self, ref: str) -> Iterator[RawFile]:
            self._note("raw")
            if self.seen["raw"] == 2:
                raise Unavailable("no such batch", kind="absent")
            return self.provider.raw(ref)

    late = Late(provider.inner)
    desk._providers = {(world.provider, job.plan.endpoint): replace(provider, inner=late)}
    one_pass(desk, [job.id])
    assert late.seen["raw"] == 4
    assert [(shard.phase, shard.misses) for shard in world.job(job.id).shards] == [(Phase.settled, ())] * 3


def test_a_shard_is_kept_while_the_next_is_filled(tmp_path: Path):
    filled, kept = Event(), []

    class Store:
        def create_from(self, key: str, path: Path) -> None:
            assert filled.wait(PATIENCE_S)
            kept.append((key.rpartition("/")[2][:7], path.stat().st_size > 0))

    with beside(1) as begin:
        packer = Packer(
            store=Store(), format=load_format("openai", "", {}), job="job", short="job8aaaa", attempt=1,
            limits=ShardLimits(10, 1_000_000, None), pricing=Pricing(FREE, 100), spool=tmp_path,
            names=(f"1-{n:05}" for n in count(1)), begin=begin,
        )  # fmt: skip
        packer.add(requests(15))  # would wait for ever if it waited for the first shard's ten
        filled.set()
        packer.close()
    assert kept == [("1-00001", True), ("1-00001", True), ("1-00002", True), ("1-00002", True)]
    assert list(tmp_path.iterdir()) == []
