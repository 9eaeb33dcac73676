"""What input fields read as what, and what they refuse."""

import math
from datetime import date, datetime
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from batchjobs.fields import LINE_LENGTH_MAX, Day, ItemId, Number, People, Text, When, one_line


def read(kind: Any, value: Any) -> Any:
    return TypeAdapter(kind).validate_python(value)


@pytest.mark.parametrize(
    ("written", "number"),
    [
        (1234, 1234.0),
        (12.5, 12.5),
        ("1234.50", 1234.5),
        ("1,234,567.50", 1234567.5),
        ("$12,000", 12000.0),
        ("USD 12,000", 12000.0),
        ("12,000 EUR", 12000.0),
        ("-3", -3.0),
        ("1e3", 1000.0),
        (" 7 ", 7.0),
        (None, None),
        ("", None),
        ("n/a", None),
        ("-", None),
        (math.nan, None),
    ],
)
def test_numbers_are_read_as_crms_write_them(written: Any, number: float | None) -> None:
    assert read(Number, written) == number


@pytest.mark.parametrize(
    "written", ["about 20k", "1.234,50", "1,23", True, [], {}, math.inf, "1e999", 10**400, "9" * 50]
)
def test_a_number_that_would_have_to_be_guessed_is_refused(written: Any) -> None:
    with pytest.raises(ValidationError):
        read(Number, written)


@pytest.mark.parametrize(
    ("written", "day"),
    [
        ("2026-04-22", date(2026, 4, 22)),
        ("4/22/2026", date(2026, 4, 22)),
        ("04/02/26", date(2026, 4, 2)),
        ("4/2/69", date(1969, 4, 2)),
        ("4/22/2026 10:05 PM", date(2026, 4, 22)),
        ("2026-04-22T23:30:00-05:00", date(2026, 4, 22)),
        ("Wed, 22 Apr 2026 10:00:00 +0200", date(2026, 4, 22)),
        (date(2026, 4, 22), date(2026, 4, 22)),
        (datetime.fromisoformat("2026-04-22T09:30"), date(2026, 4, 22)),
        ("", None),
        (None, None),
    ],
)
def test_dates_are_read_month_first_or_as_iso(written: Any, day: date | None) -> None:
    assert read(Day, written) == day


@pytest.mark.parametrize("written", ["22/4/2026", "4/31/2026", "next Tuesday", "2026-13-01", 20260422, []])
def test_a_date_that_would_have_to_be_guessed_is_refused(written: Any) -> None:
    with pytest.raises(ValidationError):
        read(Day, written)


def test_the_date_of_a_message_stays_as_written_when_it_cannot_be_read() -> None:
    assert read(When, "next\nTuesday") == "next Tuesday"
    assert read(When, "n/a") is None
    assert read(When, "4/22/2026 12:05 AM") == datetime.fromisoformat("2026-04-22T00:05")
    assert read(When, date(2026, 4, 22)) == datetime.fromisoformat("2026-04-22")


@pytest.mark.parametrize(
    ("written", "item_id"), [("D-1", "D-1"), (" D-1\n", "D-1"), (17, "17"), (17.0, "17"), ("é", "é")]
)
def test_ids_are_texts_or_whole_numbers(written: Any, item_id: str) -> None:
    assert read(ItemId, written) == item_id


@pytest.mark.parametrize("written", [None, "", "  ", 1.5, True, [], {}, "x" * 501, "\ud800"])
def test_an_id_that_identifies_nothing_is_refused(written: Any) -> None:
    with pytest.raises(ValidationError):
        read(ItemId, written)


@pytest.mark.parametrize(("written", "text"), [(None, ""), (5, "5"), (True, "yes"), ("a\ud800b", "a?b"), ("ü", "ü")])
def test_texts_are_always_texts_that_can_be_stored(written: Any, text: str) -> None:
    assert read(Text, written) == text


@pytest.mark.parametrize(
    ("written", "people"),
    [
        ("Ada", "Ada"),
        (["Ada", "Bo"], "Ada, Bo"),
        ([{"name": "Ada", "email": "a@x.example"}, {"email": "b@x.example"}, {}, None], "Ada, b@x.example"),
        (None, ""),
    ],
)
def test_people_become_one_line(written: Any, people: str) -> None:
    assert read(People, written) == people


def test_one_line_has_no_breaks_and_an_end() -> None:
    assert one_line(" a\r\n\tb\u2028c ") == "a b c"
    assert len(one_line("x" * 10_000)) == LINE_LENGTH_MAX
    assert one_line("x" * LINE_LENGTH_MAX) == "x" * LINE_LENGTH_MAX


def test_errors_never_repeat_the_value() -> None:
    with pytest.raises(ValidationError) as caught:
        read(Day, "canary")
    assert "canary" not in caught.value.errors(include_input=False)[0]["msg"]
