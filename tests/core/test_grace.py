"""Grace: several looks and the time between them, so that no clock and no pause ends it alone."""

from datetime import UTC, datetime, timedelta

import pytest

from batchjobs.grace import remaining, worth_noting

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
GRACE = timedelta(minutes=20)


def at(*minutes: float) -> list[datetime]:
    return [NOON + timedelta(minutes=each) for each in minutes]


@pytest.mark.parametrize(
    ("misses", "now", "left"),
    [
        ((), 0, 20),
        ((0,), 3, 17),
        ((0, 5, 10, 15), 20, 0),
        ((0,), 1440, 15),  # a clock that jumped, or a machine that slept
        ((0, 5, 10), 1440, 5),
        ((0, 1440, 1445), 1450, 5),
        ((1440,), 0, 20),  # a clock that went back
        ((1440, 0, 5, 10), 15, 5),
        ((0, 5, 10, 15), 99, 0),
    ],
)
def test_between_two_looks_at_most_a_quarter_counts(misses: tuple[float, ...], now: float, left: float):
    assert remaining(at(*misses), *at(now), GRACE) == timedelta(minutes=left)


def test_without_grace_one_look_is_enough():
    assert remaining(at(0), NOON, timedelta(0)) == timedelta(0)


@pytest.mark.parametrize(
    ("misses", "now", "noted"), [((), 0, True), ((0,), 4, False), ((0,), 5, True), ((0, 1440), 1, True)]
)
def test_the_ledger_notes_a_miss_a_quarter(misses: tuple[float, ...], now: float, noted: bool):
    assert worth_noting(at(*misses), *at(now), GRACE) is noted
