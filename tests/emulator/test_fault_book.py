import pytest

from providers.emulator import Fault
from providers.emulator.faults import FaultBook

BATCHES = "/v1/batches"


def struck(book: FaultBook, calls: int, method: str = "POST", path: str = BATCHES) -> list[int]:
    """Which of so many calls were hit, counting from 1."""
    return [call for call in range(1, calls + 1) if book.strike(method, path).wire]


def test_a_fault_strikes_the_nth_call_so_many_times() -> None:
    book = FaultBook([Fault(action="status", nth=2, times=3)])
    assert struck(book, 7) == [2, 3, 4]


def test_zero_times_is_for_ever() -> None:
    assert struck(FaultBook([Fault(action="status", times=0)]), 4) == [1, 2, 3, 4]


def test_only_matching_calls_count() -> None:
    book = FaultBook([Fault(action="status", route="POST /v1/batches", nth=2)])
    assert struck(book, 3, "GET") == []
    assert struck(book, 3, "POST", "/v1/files") == []
    assert struck(book, 3) == [2]


def test_a_star_stands_for_anything_in_a_path() -> None:
    book = FaultBook([Fault(action="status", route="* /v1/batches/*", times=0)])
    assert struck(book, 1, "GET", "/v1/batches/batch_1") == [1]
    assert struck(book, 1, "POST", "/v1/batches/batch_1/cancel") == [1]
    assert struck(book, 1, "GET", "/v1/batches") == []


def test_a_fault_of_a_batch_counts_creates_only() -> None:
    book = FaultBook([Fault(action="expire", nth=2)])
    calls = [("POST", "/v1/files"), ("POST", BATCHES), ("GET", BATCHES), ("POST", "/v1/messages/batches")]
    assert [bool(book.strike(*call).batch) for call in calls] == [False, False, False, True]


def test_the_first_fault_on_the_wire_wins_but_all_are_counted() -> None:
    book = FaultBook([Fault(action="status", status=503), Fault(action="drop_before", times=2)])
    first, second = book.strike("GET", "/"), book.strike("GET", "/")
    assert (first.wire and first.wire.action, second.wire and second.wire.action) == ("status", "drop_before")


def test_cleared_faults_strike_no_more() -> None:
    book = FaultBook([Fault(action="status", times=0)])
    book.clear()
    assert struck(book, 2) == []


@pytest.mark.parametrize(
    "wrong", [{"action": "nonesuch"}, {"action": "cut", "framing": "odd"}, {"action": "cut", "at": "odd"}]
)
def test_a_fault_that_makes_no_sense_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"fault|cut"):
        Fault(**wrong)


def test_calls_count_from_one() -> None:
    with pytest.raises(ValueError, match="nth"):
        Fault(action="status", nth=0)
