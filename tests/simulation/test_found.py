"""What the simulation found, each as a plain program: every one lost or repeated a purchase once."""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.simulation.house import House, build
from tests.simulation.machine import somebody_elses
from tests.simulation.workers import accept, one_pass


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


def run(house: House, verb=one_pass) -> None:
    house.workers[0].start(verb)
    house.workers[0].advance()


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


def test_a_strangers_batch_that_was_taken_for_ours_is_given_back():
    with house_of("anthropic", fault="create-lost-before") as house:
        house.world.buy(somebody_elses("anthropic", "one"), None)
        run(house)
        assert not house.jobs_now()[0].shards[0].certain
