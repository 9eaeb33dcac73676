"""What the simulation found, each as a plain program: every one lost or repeated a purchase once."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from batchjobs.collect import cancel
from batchjobs.jobs import JOB_LEDGER
from batchjobs.shards import Phase
from tests.simulation.house import House, build
from tests.simulation.machine import somebody_elses
from tests.simulation.workers import Verb, accept, one_pass, stop

TO_INTENT = 9  # points of an `accept` until the first intent is written


@contextmanager
def house_of(flavour: str = "openai", shape: str = "one", fault: str = "") -> Iterator[House]:
    """A house with one accepted job; in the end everything must have landed, and the books must agree."""
    house = build(flavour, [shape], nature="kind", max_attempts=1)
    house.weather.arm(fault)
    try:
        run(house, accept(house.plans[0]))
        yield house
        house.settle_down()
    finally:
        house.close()


def run(house: House, verb: Verb = one_pass, machine: int = 0, points: int | None = None, **settings: Any) -> None:
    """A command on one machine, to its end or up to the point before which it pauses."""
    house.workers[machine].start(verb, **settings)
    house.workers[machine].advance(points)


def finish_batches(house: House) -> None:
    for batch in house.world.batches.values():
        for _ in range(3):
            house.world.progress(batch)


def test_an_answer_that_a_download_cut_off_is_asked_for_again():
    with house_of() as house:
        finish_batches(house)
        house.weather.arm("results-cut")
        run(house)


def test_answers_are_asked_for_again_where_the_provider_does_not_count_them():
    with house_of() as house:
        finish_batches(house)
        house.weather.arm("status-without-counts")
        house.weather.arm("results-short")
        run(house)


def test_a_twin_does_not_stand_in_for_an_answer_that_is_missing():
    with house_of() as house:
        house.weather.arm("lines-twice")
        finish_batches(house)
        house.weather.arm("results-short")
        run(house)


def test_a_strangers_line_does_not_stand_in_for_an_answer_of_a_batch_that_may_be_ours():
    with house_of("anthropic", fault="create-lost-after") as house:
        run(house)
        house.weather.arm("lines-of-strangers")
        finish_batches(house)
        house.weather.arm("results-short")
        run(house)


def test_answers_that_were_short_for_long_are_not_gone_at_the_first_404():
    with house_of() as house:
        house.weather.arm("lines-lost")
        finish_batches(house)
        for _ in range(4):
            run(house)
            house.world.tick(400)
        house.weather.arm("read-absent")
        run(house)


def test_a_cut_in_the_last_of_many_short_downloads_is_no_part_of_what_is_lost():
    """One line is lost for good; another only in the moment in which the lost one is given up."""
    with house_of() as house:
        house.weather.arm("lines-lost")
        finish_batches(house)
        for _ in range(4):
            run(house)
            house.world.tick(400)
        house.weather.arm("results-cut")
        run(house)


def test_a_strangers_batch_that_was_taken_for_ours_is_given_back():
    with house_of("anthropic", fault="create-lost-before") as house:
        house.world.buy(somebody_elses("anthropic", "one"), None)
        run(house)
        assert not house.jobs_now()[0].shards[0].certain


@contextmanager
def two_machines(shape: str, cap: Decimal | None = None) -> Iterator[House]:
    """A house in which nothing was accepted yet."""
    house = build("openai", [shape], nature="kind", max_attempts=1, cap=cap)
    try:
        yield house
        house.settle_down()
    finally:
        house.close()


def test_two_machines_do_not_both_spend_what_is_left_under_a_cap():
    with two_machines("two", cap=Decimal("0.6")) as house:
        slow, quick = house.workers
        quick.skew = timedelta(seconds=-150)  # so that it still waits with the shard that was refused
        house.weather.arm("create-refused-later")
        run(house, accept(house.plans[0]), points=16)
        slow.kill()
        house.world.tick(100)
        run(house, points=1)
        run(house, machine=1)
        slow.advance()
        house.check()


def test_nothing_is_bought_for_a_job_that_was_cancelled_meanwhile():
    with two_machines("two") as house:
        run(house, accept(house.plans[0]), points=TO_INTENT)
        run(house, stop(house.plans[0].job), machine=1, points=2)
        house.workers[0].advance()
        assert not house.world.batches


def test_a_purchase_that_was_given_up_meanwhile_is_not_made_any_more():
    with two_machines("one") as house:
        run(house, accept(house.plans[0]), points=TO_INTENT + 1)
        for _ in range(6):
            house.world.tick(1200)
            run(house, machine=1, rebuy=True)
        house.workers[0].advance()
        assert len(house.world.batches) == 1


def test_what_another_machine_buys_of_the_same_job_stops_no_purchase():
    with two_machines("two") as house:
        run(house, accept(house.plans[0]), points=TO_INTENT + 1)
        run(house, machine=1)
        house.workers[0].advance()
        assert len(house.world.batches) == 2


def test_a_store_that_fails_before_a_purchase_leaves_nothing_unknown():
    with two_machines("one") as house:
        run(house, accept(house.plans[0]), points=TO_INTENT)
        house.weather.arm("store-unreadable")
        house.workers[0].advance()
        assert house.jobs_now()[0].shards[0].phase is Phase.planned


def test_a_cancel_is_written_even_where_another_record_came_first():
    with house_of() as house:
        stale, desk = house.jobs_now()[0], house.workers[0].desk({})
        desk.append(stale.id, JOB_LEDGER, 0, "carried", {"succeeded": 0, "failed": 0})
        list(cancel(desk, stale))
        assert house.jobs_now()[0].cancelled


def test_a_batch_that_was_bought_while_its_job_was_cancelled_is_stopped_in_the_next_pass():
    with two_machines("one") as house:
        run(house, accept(house.plans[0]), points=TO_INTENT + 2)
        run(house, stop(house.plans[0].job), machine=1)
        house.workers[0].advance()
        run(house)
        assert [batch.state for batch in house.world.batches.values()] == ["stopping"]


@pytest.mark.parametrize("cancelled", [False, True])
def test_a_purchase_that_is_found_again_is_stopped_only_if_its_job_was_cancelled(*, cancelled: bool):
    with house_of(fault="create-lost-after") as house:
        if cancelled:
            run(house, stop(house.plans[0].job))
        run(house)
        assert house.jobs_now()[0].shards[0].phase is Phase.sent
        assert [batch.state == "stopping" for batch in house.world.batches.values()] == [cancelled]


def test_of_two_batches_with_one_tag_the_one_that_a_person_did_not_cancel_is_adopted():
    with two_machines("one") as house:
        house.weather.arm("create-doubled")
        house.weather.arm("create-lost-after")
        run(house, accept(house.plans[0]))
        run(house)
        assert house.jobs_now()[0].shards[0].phase is Phase.unknown
        house.world.stop("batch-2")
        run(house)
        assert house.jobs_now()[0].shards[0].batch_id == "batch-1"
