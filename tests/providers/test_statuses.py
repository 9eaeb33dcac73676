"""The contract, looking at a batch: every status there is, and those nobody has heard of (PROVIDERS §1.3, §2.3, §8)."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from providers import anthropic, openai_batches
from providers.contract import Gone, LineError, State, Status, Unavailable
from tests.providers.bench import DAY_S, Bench
from tests.providers.kit import CASES, CLIENTS

pytestmark = pytest.mark.contract("every status mapped, unknown ones survived")

OPENAI, _, ANTHROPIC = CASES


@pytest.fixture(params=CLIENTS, ids="-".join)
def case(request: pytest.FixtureRequest) -> tuple[str, str]:
    chosen: tuple[str, str] = request.param
    return chosen


def openai_status(status: str, **members: Any) -> Status:
    return openai_batches.status_of(
        msgspec.convert({"id": "batch_1", "status": status} | members, openai_batches.Batch)
    )


def counted(total: int, completed: int, failed: int) -> dict[str, Any]:
    return {"request_counts": {"total": total, "completed": completed, "failed": failed}}


def anthropic_status(status: str, **counts: int | None) -> Status:
    batch = {"id": "msgbatch_1", "created_at": datetime(2026, 11, 20, tzinfo=UTC), "processing_status": status}
    return anthropic.status_of(msgspec.convert(batch | {"request_counts": counts or None}, anthropic._Batch))


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("validating", State.queued),
        ("pre_schedule", State.queued),
        ("in_progress", State.running),
        ("finalizing", State.running),
        ("cancelling", State.stopping),
        ("cancelled", State.ended),
        ("expired", State.ended),
        ("failed", State.rejected),
    ],
)
def test_each_openai_status_has_its_state(word: str, state: State) -> None:
    """§8 (PROVIDERS §1.3)."""
    assert openai_status(word).state is state
    assert openai_status(word.upper()).state is state  # §7: compatible servers shout
    assert openai_status(word).warning == ""


@pytest.mark.parametrize(
    ("word", "state"), [("in_progress", State.running), ("canceling", State.stopping), ("ended", State.ended)]
)
def test_each_anthropic_status_has_its_state(word: str, state: State) -> None:
    """§2.3: only `ended` is the end, whatever came before."""
    assert anthropic_status(word).state is state
    assert anthropic_status(word).warning == ""


@pytest.mark.parametrize("look", [openai_status, anthropic_status])
@pytest.mark.parametrize("word", ["", "dreaming", "COMPLETED_WITH_JOY", "x" * 500])
def test_an_unknown_status_is_running_with_a_warning(look: Callable[[str], Status], word: str) -> None:
    """§8: never terminal."""
    status = look(word)
    assert status.state is State.running
    assert "unknown status" in status.warning
    assert len(status.warning) < 120


@pytest.mark.parametrize("none", [None, ""])
def test_completed_without_its_output_file_is_not_over(none: str | None) -> None:
    """RELIABILITY §4.2: the word can come before the file; "" stands for none (§1.3)."""
    status = openai_status("completed", output_file_id=none, error_file_id=none, **counted(3, 2, 1))
    assert status.state is State.running
    assert "names no output file yet" in status.warning


def test_completed_without_counts_or_output_file_is_not_over() -> None:
    assert openai_status("completed").state is State.running
    assert openai_status("completed", error_file_id="file-1", request_counts=None).state is State.running


def test_completed_with_its_output_file_is_over() -> None:
    status = openai_status("completed", output_file_id="file-1", error_file_id="", **counted(3, 2, 1))
    assert (status.state, status.total, status.done, status.failed) == (State.ended, 3, 3, 1)
    assert openai_status("completed", output_file_id="file-1").state is State.ended


@pytest.mark.parametrize("none", [None, ""])
def test_completed_with_every_request_failed_has_only_an_error_file(none: str | None) -> None:
    """§1.3: the batch is `completed` all the same."""
    status = openai_status("completed", output_file_id=none, error_file_id="file-2", **counted(3, 0, 3))
    assert (status.state, status.warning) == (State.ended, "")


@pytest.mark.parametrize("word", ["cancelled", "expired"])
def test_a_stopped_batch_with_answers_owes_their_file(word: str) -> None:
    """They are paid."""
    assert openai_status(word, **counted(3, 1, 0)).state is State.running
    assert openai_status(word, output_file_id="file-1", **counted(3, 1, 0)).state is State.ended


@pytest.mark.parametrize("word", ["cancelled", "expired"])
def test_a_stopped_batch_without_files_or_answers_is_over(word: str) -> None:
    """A peer asks for such a batch for ever (PEERS §4)."""
    assert openai_status(word, **counted(3, 0, 0)).state is State.ended
    assert openai_status(word, **counted(0, 0, 0)).state is State.ended


def test_a_failed_batch_with_an_output_file_is_read() -> None:
    status = openai_status("failed", output_file_id="file-1")
    assert status.state is State.ended
    assert "has an output file" in status.warning


def test_counts_of_nothing_are_not_told() -> None:
    """§1.3: all are 0 while validating."""
    status = openai_status("validating", **counted(0, 0, 0))
    assert (status.total, status.done, status.failed) == (None, None, None)


@pytest.mark.parametrize("counts", [None, {}, {"total": None, "completed": None, "failed": None}])
def test_missing_counts_are_survived(counts: Any) -> None:
    """RELIABILITY §5, fault 8."""
    status = openai_status("in_progress", request_counts=counts)
    assert (status.state, status.total) == (State.running, None)


def test_anthropics_counts_are_frozen_until_the_end() -> None:
    """§2.3: everything is `processing`, so nothing is known to be done; §2.4: at the end all have a line."""
    running = anthropic_status("in_progress", processing=9, succeeded=0, errored=0, canceled=0, expired=0)
    assert (running.total, running.done, running.failed) == (9, None, None)
    ended = anthropic_status("ended", processing=0, succeeded=4, errored=2, canceled=2, expired=1)
    assert (ended.total, ended.done, ended.failed) == (9, 9, 2)


def test_anthropics_missing_counts_are_survived() -> None:
    assert anthropic_status("ended").total is None
    assert anthropic_status("ended", succeeded=3, errored=None).done == 3


def test_every_rejected_line_is_told() -> None:
    """§1.3: all lines, counted from 1."""
    errors = [
        {"code": "model_not_found", "line": 1, "message": "no such model", "param": "body.model"},
        {"code": "invalid_url", "line": 3, "message": None, "param": "url"},
    ]
    status = openai_status("failed", errors={"object": "list", "data": errors})
    assert status.line_errors == (LineError(1, "model_not_found", "no such model"), LineError(3, "invalid_url", ""))
    assert (status.state, status.code, status.no_room) == (State.rejected, "model_not_found", False)


def test_a_full_queue_rejects_for_now() -> None:
    """§1.2: it comes minutes after a create that looked well, and nothing is billed."""
    text = "Enqueued token limit reached for gpt-x in organization org. Limit: 2,000,000 enqueued tokens."
    errors = [{"code": "token_limit_exceeded", "line": None, "message": text, "param": None}]
    status = openai_status("failed", errors={"object": "list", "data": errors})
    assert status.no_room
    assert (status.state, status.code, status.message, status.line_errors) == (
        State.rejected,
        "token_limit_exceeded",
        text,
        (),
    )


@pytest.mark.parametrize(
    "errors",
    [
        None,
        {},
        [],
        "words",
        {"data": None},
        {"data": "x"},
        {"data": [None, "x", 5]},
        [{"code": None, "line": "3", "message": {"a": 1}}],
    ],
)
def test_errors_of_any_shape_are_survived(errors: Any) -> None:
    """§7: some compatible servers send a bare list."""
    status = openai_status("failed", errors=errors)
    assert (status.state, status.line_errors) == (State.rejected, ())


def test_a_bare_list_of_errors_is_read() -> None:
    """§7"""
    status = openai_status("failed", errors=[{"code": "empty_file", "message": "The input file is empty."}])
    assert status.code == "empty_file"


# Through the SDK, against the emulator.


def walk(bench: Bench, ref: str, seconds: float) -> State:
    bench.emulator.advance(seconds)
    return bench.provider.status(ref).state


def test_a_batch_goes_from_waiting_to_ended(bench: Bench) -> None:
    """PROVIDERS §1.8, §2.8"""
    ref = bench.buy()
    seen = [bench.provider.status(ref).state, *(walk(bench, ref, 60) for _ in range(12))]
    assert seen[-1] is State.ended
    assert set(seen[:-1]) - {State.ended} <= {State.queued, State.running}


@pytest.mark.parametrize("case", CASES[:1], ids="-".join)
def test_finalizing_can_take_long(bench: Bench) -> None:
    """§1.3: completed equals total, and there is no output file yet."""
    bench.fault("long_finalizing", seconds=3_600.0)
    ref = bench.buy()
    bench.emulator.advance(1_200)
    status = bench.provider.status(ref)
    assert (status.state, status.word, status.done) == (State.running, "finalizing", 5)


@pytest.mark.parametrize("word", ["pre_schedule", "daydreaming", "VALIDATING"])
def test_an_unheard_of_word_ends_nothing(bench: Bench, word: str) -> None:
    ref = bench.finished()
    bench.fault("unknown_status", bench.batch_route("GET"), word=word)
    assert bench.provider.status(ref).state in (State.queued, State.running)
    assert bench.provider.status(ref).state is State.ended


def test_unheard_of_members_do_not_matter(bench: Bench) -> None:
    bench.fault("unknown_fields", "* *", times=0)
    ref = bench.finished()
    assert bench.provider.status(ref).state is State.ended
    assert bench.outcomes(ref) == ["succeeded"] * 5


def test_a_status_that_goes_back_is_told_as_it_is(bench: Bench) -> None:
    """RELIABILITY §5, fault 8: whoever has seen more knows better."""
    ref = bench.finished()
    bench.fault("stale", bench.batch_route("GET"), seconds=2 * DAY_S - 60)
    assert bench.provider.status(ref).state is State.running
    assert bench.provider.status(ref).state is State.ended


def test_a_404_for_a_batch_that_lives_is_no_end(bench: Bench) -> None:
    """PROVIDERS §2.9"""
    ref = bench.buy()
    bench.fault("not_found", bench.batch_route("GET"))
    with pytest.raises(Unavailable, match="may pass") as caught:
        bench.provider.status(ref)
    assert caught.value.kind == "absent"
    assert bench.slept == []
    assert bench.provider.status(ref).state in (State.queued, State.running)


@pytest.mark.parametrize("how", [{"action": "status", "status": 502}, {"action": "drop_before"}])
def test_a_look_is_repeated_when_it_fails_in_passing(bench: Bench, how: dict[str, Any]) -> None:
    ref = bench.buy()
    bench.fault(route=bench.batch_route("GET"), times=2, **how)
    assert bench.provider.status(ref).total in (None, 5)
    assert len(bench.slept) == 2


@pytest.mark.parametrize(("status", "kind"), [(401, "blocked"), (403, "blocked"), (500, "later"), (429, "later")])
def test_a_look_that_keeps_failing_says_what_to_do(bench: Bench, status: int, kind: str) -> None:
    """RELIABILITY §5, fault 12: a rotated key needs a person."""
    ref = bench.buy()
    bench.fault("status", bench.batch_route("GET"), status=status, times=0)
    with pytest.raises(Unavailable) as caught:
        bench.provider.status(ref)
    assert caught.value.kind == kind


def test_a_huge_pause_asked_of_a_look_is_the_callers(bench: Bench) -> None:
    """RELIABILITY §5, fault 11; PROVIDERS §0.2: Anthropic's SDK would sleep for it."""
    ref = bench.buy()
    bench.fault("status", bench.batch_route("GET"), status=429, retry_after="90000", times=0)
    with pytest.raises(Unavailable) as caught:
        bench.provider.status(ref)
    assert (caught.value.retry_after_s, bench.slept) == (3600.0, [])


@pytest.mark.parametrize("case", [ANTHROPIC], ids="-".join)
def test_anthropics_polling_hint_is_passed_on(bench: Bench) -> None:
    """PROVIDERS §2.3: retry-after on unfinished batches."""
    ref = bench.buy()
    assert bench.provider.status(ref).retry_after_s == 10.0
    bench.emulator.advance(700)
    assert bench.provider.status(ref).retry_after_s is None


def test_a_full_queue_is_told_through_the_sdk(make_bench: Callable[..., Bench]) -> None:
    """PROVIDERS §1.2"""
    bench = make_bench(OPENAI, enqueued_token_limit=10)
    ref = bench.finished()
    status = bench.provider.status(ref)
    assert (status.state, status.no_room, status.code) == (State.rejected, True, "token_limit_exceeded")


@pytest.mark.parametrize("body", ["", "<html>hello</html>", "[]", "null", '{"id":5}'])
def test_a_garbled_look_is_no_status(bench: Bench, body: str) -> None:
    ref = bench.buy()
    bench.fault("status", bench.batch_route("GET"), status=200, body=body, times=0)
    with pytest.raises((Unavailable, Gone)):
        bench.provider.status(ref)
