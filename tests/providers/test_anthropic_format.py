"""How Anthropic's request lines look and what each of its results means (PROVIDERS §2.1, §2.4, §2.5, §2.7)."""

import json
from typing import Any

import pytest

from providers.contract import Outcome, Reply, Undecodable, Usage
from tests.providers.kit import CASES, body, format_of, message_line, result_line

CASE = CASES[2]


def decoded(line: bytes) -> Reply:
    return format_of(CASE).decode(line)


def errored_line(kind: str, **inner: Any) -> bytes:
    """§2.4: the error is nested twice."""
    return result_line(type="errored", error={"type": "error", "error": {"type": kind} | inner, "request_id": "req_1"})


def test_a_line_is_one_member_of_the_request_list() -> None:
    """§2.1"""
    line = format_of(CASE).lines(["a-1"], [b'{"model":"m"}'])
    assert json.loads(line) == {"custom_id": "a-1", "params": {"model": "m"}}


def test_the_limits_leave_room_for_the_list_around_the_lines() -> None:
    """§2.2: 256 MB is a limit on the HTTP body."""
    limits = format_of(CASE).limits
    assert (limits.requests, limits.retention_s, limits.window_s) == (100_000, 29 * 86_400, 86_400)
    assert 256_000_000 - 100_000 < limits.bytes < 256_000_000


def test_a_body_asks_for_the_schema() -> None:
    """§2.7: output_config, not the old output_format."""
    told = body(CASE, temperature=0.2)
    asked = told["output_config"]["format"]
    assert asked["type"] == "json_schema"
    assert asked["schema"]["additionalProperties"] is False
    assert (told["max_tokens"], told["system"], told["temperature"]) == (500, "Be brief.", 0.2)
    assert told["messages"] == [{"role": "user", "content": "What do you think?"}]


@pytest.mark.parametrize(
    ("reason", "outcome", "code"),
    [
        ("end_turn", Outcome.succeeded, ""),
        ("stop_sequence", Outcome.succeeded, ""),
        ("max_tokens", Outcome.truncated, "max_tokens"),
        ("model_context_window_exceeded", Outcome.truncated, "model_context_window_exceeded"),
        ("refusal", Outcome.refused, "refusal"),
        ("pause_turn", Outcome.errored, "pause_turn"),
        ("something_new", Outcome.succeeded, ""),
        (None, Outcome.succeeded, ""),
    ],
)
def test_a_succeeded_message_means(reason: str | None, outcome: Outcome, code: str) -> None:
    """§2.4: its stop_reason tells."""
    reply = decoded(message_line(reason))
    assert (reply.outcome, reply.code, reply.text) == (outcome, code, "yes")


@pytest.mark.parametrize(
    ("reason", "outcome", "code"),
    [("tool_use", Outcome.failed, "tool_use"), ("end_turn", Outcome.errored, "no_text")],
)
def test_a_succeeded_message_without_text_means(reason: str, outcome: Outcome, code: str) -> None:
    reply = decoded(message_line(reason, content=[]))
    assert (reply.outcome, reply.code) == (outcome, code)


def test_a_refusal_tells_its_category_and_explanation() -> None:
    """§2.4: stop_details"""
    details = {"type": "refusal", "category": "cyber", "explanation": "Looks like an attack."}
    reply = decoded(message_line("refusal", stop_details=details))
    assert (reply.code, reply.message) == ("refusal_cyber", "Looks like an attack.")


def test_only_text_blocks_are_the_answer() -> None:
    content = [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert decoded(message_line(content=content)).text == "ab"


@pytest.mark.parametrize(
    ("kind", "outcome"),
    [
        ("invalid_request_error", Outcome.failed),
        ("api_error", Outcome.errored),
        ("overloaded_error", Outcome.errored),
        ("rate_limit_error", Outcome.errored),
        ("timeout_error", Outcome.errored),
        ("something_new", Outcome.errored),
    ],
)
def test_only_an_invalid_request_fails_for_good(kind: str, outcome: Outcome) -> None:
    """§2.5: any other errored type may be resent as is (PROVIDERS §2.4)."""
    reply = decoded(errored_line(kind, message="because"))
    assert (reply.outcome, reply.code, reply.message) == (outcome, kind, "because")


def test_the_finer_error_code_is_preferred() -> None:
    """§2.5: details.error_code"""
    assert decoded(errored_line("rate_limit_error", details={"error_code": "ramp_limit"})).code == "ramp_limit"


@pytest.mark.parametrize("error", [None, "words", {}, {"error": None}, {"type": "api_error", "message": "flat"}])
def test_an_error_of_another_shape_still_counts_as_one(error: Any) -> None:
    assert decoded(result_line(type="errored", error=error)).outcome is Outcome.errored


@pytest.mark.parametrize(("kind", "outcome"), [("expired", Outcome.expired), ("canceled", Outcome.cancelled)])
def test_a_request_that_was_not_run_says_why(kind: str, outcome: Outcome) -> None:
    """§2.4"""
    assert decoded(result_line(type=kind)).outcome is outcome


@pytest.mark.parametrize(
    "line",
    [
        result_line(type="something_new"),
        result_line(type="succeeded"),
        result_line(),
        b'{"custom_id":"a-1"}',
        b'{"custom_id":"a-1","result":null}',
        message_line(content="words"),
    ],
)
def test_a_result_of_no_known_kind_is_undecodable(line: bytes) -> None:
    with pytest.raises(Undecodable):
        decoded(line)


def test_usage_counts_cached_tokens_as_input() -> None:
    """§2.4: total input = input + cache creation + cache read."""
    usage = {
        "input_tokens": 10,
        "cache_creation_input_tokens": 200,
        "cache_read_input_tokens": 3_000,
        "output_tokens": 7,
        "cache_creation": {"ephemeral_5m_input_tokens": 200, "ephemeral_1h_input_tokens": 0},
        "service_tier": "batch",
    }
    assert decoded(message_line(usage=usage)).usage == Usage(3_210, 7, 3_000, 200)


@pytest.mark.parametrize("usage", [None, {}, {"input_tokens": None}])
def test_missing_usage_counts_as_nothing(usage: Any) -> None:
    assert decoded(message_line(usage=usage)).usage == Usage()
