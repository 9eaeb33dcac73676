"""How OpenAI's request lines look and what each of its result lines means (PROVIDERS §1.1, §1.4, §1.7)."""

import json
from typing import Any

import pytest

from providers import load_format
from providers.contract import Outcome, Reply, Undecodable, Usage
from tests.providers.kit import CASES, answer_line, body, chat_choice, format_of, openai_line

CHAT, RESPONSES, _ = CASES


def decoded(line: bytes, case: tuple[str, str] = CHAT) -> Reply:
    return format_of(case).decode(line)


def failed_line(error: Any) -> bytes:
    """A line without an HTTP answer."""
    return json.dumps({"id": "batch_req_1", "custom_id": "a-1", "response": None, "error": error}).encode()


def failed_request(status: int, error: Any) -> bytes:
    """A line of the error file as OpenAI writes it for an HTTP failure."""
    response = {"status_code": status, "request_id": "r1", "body": {"error": error}}
    return json.dumps({"id": "b", "custom_id": "a-1", "response": response, "error": None}).encode()


def test_a_line_names_method_and_url() -> None:
    """§1.1"""
    line = json.loads(format_of(CHAT).lines(["a-1"], [b'{"model":"m"}']))
    assert line == {"custom_id": "a-1", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "m"}}


def test_the_responses_endpoint_has_its_own_url() -> None:
    """§1.1"""
    assert json.loads(format_of(RESPONSES).lines(["a-1"], [b"{}"]))["url"] == "/v1/responses"


def test_chat_is_the_default_endpoint() -> None:
    assert load_format("openai").lines(["a"], [b"{}"]) == format_of(CHAT).lines(["a"], [b"{}"])


def test_the_limits_are_the_documented_ones() -> None:
    """§1.2: decimal megabytes, as nobody knows which are meant."""
    limits = format_of(CHAT).limits
    assert (limits.requests, limits.bytes, limits.window_s) == (50_000, 200_000_000, 86_400)
    assert limits.retention_s == 30 * 86_400


def test_a_chat_body_asks_for_the_schema_strictly() -> None:
    """§1.7"""
    told = body(CHAT)
    asked = told["response_format"]
    assert asked["type"] == "json_schema"
    assert asked["json_schema"]["strict"] is True
    assert asked["json_schema"]["schema"]["additionalProperties"] is False
    assert told["max_completion_tokens"] == 500
    assert [turn["role"] for turn in told["messages"]] == ["system", "user"]


def test_a_responses_body_asks_for_the_schema_strictly() -> None:
    """§1.7"""
    told = body(RESPONSES)
    asked = told["text"]["format"]
    assert (asked["type"], asked["name"], asked["strict"]) == ("json_schema", "Verdict", True)
    assert told["instructions"] == "Be brief."
    assert told["max_output_tokens"] == 500


def test_a_schema_name_is_cut_to_what_openai_takes() -> None:
    name = body(CHAT, schema_name="Deal Verdict[int] " * 9)["response_format"]["json_schema"]["name"]
    assert name.startswith("Deal_Verdict_int__")
    assert len(name) == 64


@pytest.mark.parametrize(
    ("choice", "outcome", "text", "code"),
    [
        (chat_choice("yes"), Outcome.succeeded, "yes", ""),
        (chat_choice("ye", "length"), Outcome.truncated, "ye", "length"),
        (chat_choice(None, "length"), Outcome.truncated, "", "length"),
        (chat_choice("y", "content_filter"), Outcome.refused, "y", "content_filter"),
        (chat_choice(None, refusal="I can't."), Outcome.refused, "I can't.", "refusal"),
        (chat_choice("", "stop"), Outcome.errored, "", "no_text"),
        (chat_choice(None, "tool_calls"), Outcome.failed, "", "tool_calls"),
        (chat_choice(None, "function_call"), Outcome.failed, "", "function_call"),
        (chat_choice("yes", "something_new"), Outcome.succeeded, "yes", ""),
        (chat_choice("yes", None), Outcome.succeeded, "yes", ""),
        (chat_choice([{"type": "text", "text": "y"}, {"type": "text", "text": "es"}]), Outcome.succeeded, "yes", ""),
        ({"choices": []}, Outcome.errored, "", "no_answer"),
    ],
)
def test_a_200_line_of_chat_means(choice: dict[str, Any], outcome: Outcome, text: str, code: str) -> None:
    """§1.4: it can still be truncated or refused."""
    reply = decoded(openai_line(**choice))
    assert (reply.outcome, reply.text, reply.code) == (outcome, text, code)


@pytest.mark.parametrize(
    ("members", "outcome", "code"),
    [
        ({}, Outcome.succeeded, ""),
        ({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}, Outcome.truncated, "length"),
        (
            {"status": "incomplete", "incomplete_details": {"reason": "content_filter"}},
            Outcome.refused,
            "content_filter",
        ),
        ({"status": "incomplete", "incomplete_details": {"reason": "steered"}}, Outcome.errored, "steered"),
        ({"status": "incomplete", "incomplete_details": {"reason": "max_messages"}}, Outcome.errored, "max_messages"),
        ({"status": "incomplete"}, Outcome.errored, "incomplete"),
        ({"status": "failed", "error": {"code": "server_error"}}, Outcome.errored, "server_error"),
        ({"status": "failed", "error": {"code": "rate_limit_exceeded"}}, Outcome.errored, "rate_limit_exceeded"),
        ({"status": "failed", "error": {"code": "invalid_prompt"}}, Outcome.failed, "invalid_prompt"),
        ({"status": "failed", "error": None}, Outcome.errored, "no_answer"),
        ({"status": "cancelled"}, Outcome.cancelled, "cancelled"),
        ({"status": "queued"}, Outcome.errored, "queued"),
        ({"status": "in_progress"}, Outcome.errored, "in_progress"),
        ({"parts": [{"type": "refusal", "refusal": "I can't."}]}, Outcome.refused, "refusal"),
        ({"parts": []}, Outcome.errored, "no_text"),
    ],
)
def test_a_200_line_of_responses_means(members: dict[str, Any], outcome: Outcome, code: str) -> None:
    """§1.4: a failed or unfinished response comes inside a 200."""
    reply = decoded(answer_line(**members), RESPONSES)
    assert (reply.outcome, reply.code) == (outcome, code)


def test_a_200_with_an_error_in_its_body_is_no_answer() -> None:
    reply = decoded(failed_request(200, {"code": "server_error", "message": "oh"}))
    assert (reply.outcome, reply.code) == (Outcome.errored, "server_error")


def test_the_parts_of_a_responses_answer_are_one_text() -> None:
    parts = [{"type": "output_text", "text": "a"}, {"type": "output_text", "text": "b"}]
    assert decoded(answer_line(parts=parts), RESPONSES).text == "ab"


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (400, Outcome.failed),
        (401, Outcome.failed),
        (404, Outcome.failed),
        (413, Outcome.failed),
        (422, Outcome.failed),
        (408, Outcome.errored),
        (409, Outcome.errored),
        (429, Outcome.errored),
        (500, Outcome.errored),
        (503, Outcome.errored),
        (0, Outcome.errored),
        (302, Outcome.errored),
    ],
)
def test_a_failed_request_is_judged_by_its_status_alone(status: int, outcome: Outcome) -> None:
    """§1.4: its top-level error is null; §1.5 which pass; §1.9: status 0 is seen."""
    error = {"message": "too long", "type": "invalid_request_error", "param": None, "code": "context_length_exceeded"}
    reply = decoded(failed_request(status, error))
    assert (reply.outcome, reply.code, reply.message) == (outcome, "context_length_exceeded", "too long")


@pytest.mark.parametrize("page", ["<html>502</html>", None, 5, []])
def test_a_failed_request_without_the_apis_words_is_named_by_its_status(page: Any) -> None:
    response = {"status_code": 502, "request_id": "r1", "body": page}
    line = json.dumps({"id": "b", "custom_id": "a-1", "response": response, "error": None}).encode()
    reply = decoded(line)
    assert (reply.outcome, reply.code) == (Outcome.errored, "http_502")


@pytest.mark.parametrize(
    ("error", "outcome", "code"),
    [
        ({"code": "batch_expired", "message": "…"}, Outcome.expired, "batch_expired"),
        ({"code": "batch_cancelled", "message": "…"}, Outcome.cancelled, "batch_cancelled"),
        ({"code": "something_new", "message": "…"}, Outcome.errored, "something_new"),
        ("words alone", Outcome.errored, "no_response"),
        (None, Outcome.errored, "no_response"),
    ],
)
def test_a_request_that_was_not_run_says_why(error: Any, outcome: Outcome, code: str) -> None:
    """§1.4: response is null."""
    reply = decoded(failed_line(error))
    assert (reply.outcome, reply.code) == (outcome, code)


def test_an_error_beside_an_answer_is_believed() -> None:
    line = json.loads(openai_line(**chat_choice())) | {"error": {"code": "server_error", "message": "oh"}}
    reply = decoded(json.dumps(line).encode())
    assert (reply.outcome, reply.code) == (Outcome.errored, "server_error")


def test_chat_usage_is_normalised() -> None:
    """§1.4: cache_write_tokens is new in 2026."""
    details = {"cached_tokens": 40, "cache_write_tokens": 5, "audio_tokens": 0}
    usage = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120, "prompt_tokens_details": details}
    assert decoded(openai_line(usage=usage, **chat_choice())).usage == Usage(100, 20, 40, 5)


def test_responses_usage_is_normalised() -> None:
    """§1.4"""
    usage = {"input_tokens": 100, "input_tokens_details": {"cached_tokens": 40}, "output_tokens": 20}
    assert decoded(answer_line(usage=usage), RESPONSES).usage == Usage(100, 20, 40, 0)


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": None, "prompt_tokens_details": None}])
def test_missing_usage_counts_as_nothing(usage: Any) -> None:
    assert decoded(openai_line(usage=usage, **chat_choice())).usage == Usage()


def test_a_refused_answer_still_tells_its_usage() -> None:
    """It is billed."""
    line = openai_line(usage={"prompt_tokens": 9, "completion_tokens": 1}, **chat_choice(None, refusal="No."))
    assert decoded(line).usage == Usage(9, 1)


def test_a_long_error_message_is_cut() -> None:
    assert len(decoded(failed_line({"code": "x" * 999, "message": "y" * 9_999})).message) == 500


@pytest.mark.parametrize("body", ["words", 5, [], {"choices": {"0": {}}}, {"choices": [5]}])
def test_a_success_with_another_body_is_undecodable(body: Any) -> None:
    response = {"status_code": 200, "request_id": "r", "body": body}
    with pytest.raises(Undecodable):
        decoded(json.dumps({"custom_id": "a-1", "response": response, "error": None}).encode())
