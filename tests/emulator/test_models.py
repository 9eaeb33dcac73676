"""What the emulated models say: shapes, limits, refusals of wrong requests."""

import json
from collections.abc import Callable
from typing import Any

import openai
import pytest
from anthropic import Anthropic
from openai import OpenAI

from providers.emulator import Emulator, Rates
from tests.emulator.support import DEAL, chat, line, message, results, submit

TOOL = {"name": "file_deal", "parameters": DEAL}


def answer(emulator: Emulator, client: OpenAI, body: dict[str, Any], endpoint: str = "/v1/chat/completions") -> Any:
    """The result line of a batch of one, from whichever file it is in."""
    batch = submit(client, line("one", body, endpoint), endpoint=endpoint)
    emulator.advance(600)
    done = client.batches.retrieve(batch.id)
    return (results(client, done.output_file_id) + results(client, done.error_file_id))[0]


def test_an_error_line_has_a_response_and_no_top_level_error(emulator: Emulator, oa: OpenAI) -> None:
    one = answer(emulator, oa, chat("a deal", max_tokens=1_000_000))
    assert (one["error"], one["response"]["status_code"]) == (None, 400)
    assert one["response"]["body"]["error"]["code"] == "context_length_exceeded"
    assert one["id"].startswith("batch_req_")


@pytest.mark.parametrize(
    ("more", "param", "code"),
    [
        ({"temperature": 3}, "temperature", "invalid_value"),
        ({"messages": []}, "messages", "invalid_value"),
        ({"model": "gpt-5-nano", "max_tokens": 100}, "max_tokens", "unsupported_parameter"),
        ({"model": "gpt-5-nano", "temperature": 0.2}, "temperature", "unsupported_value"),
        ({"top_k": 4}, None, None),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": DEAL}}},
            "response_format.json_schema.name",
            "missing_required_parameter",
        ),
    ],
)
def test_a_wrong_chat_request_fails_at_execution(
    emulator: Emulator, oa: OpenAI, more: dict[str, Any], param: str | None, code: str | None
) -> None:
    error = answer(emulator, oa, chat("a deal", **more))["response"]["body"]["error"]
    assert (error["param"], error["code"]) == (param, code)
    assert emulator.charges == []


@pytest.mark.parametrize("schema", [{**DEAL, "additionalProperties": True}, {**DEAL, "required": []}])
def test_a_strict_schema_must_be_closed_and_complete(emulator: Emulator, oa: OpenAI, schema: dict[str, Any]) -> None:
    shape = {"type": "json_schema", "json_schema": {"name": "deal", "strict": True, "schema": schema}}
    error = answer(emulator, oa, chat("a deal", response_format=shape))["response"]["body"]["error"]
    assert error["message"].startswith("Invalid schema for response_format 'deal': In context=(),")
    shape["json_schema"]["strict"] = False
    assert answer(emulator, oa, chat("a deal", response_format=shape))["response"]["status_code"] == 200


def test_an_answer_over_the_output_limit_is_cut(emulator: Emulator, oa: OpenAI) -> None:
    body = answer(emulator, oa, chat("a deal", max_tokens=5))["response"]["body"]
    assert body["choices"][0]["finish_reason"] == "length"
    assert (len(body["choices"][0]["message"]["content"]), body["usage"]["completion_tokens"]) == (20, 5)


def test_a_tool_is_called_with_fitting_arguments(emulator: Emulator, oa: OpenAI) -> None:
    asked = chat("a deal", response_format=None, tools=[{"type": "function", "function": TOOL}])
    choice = answer(emulator, oa, asked)["response"]["body"]["choices"][0]
    call = choice["message"]["tool_calls"][0]["function"]
    assert (choice["finish_reason"], choice["message"]["content"], call["name"]) == ("tool_calls", None, "file_deal")
    assert set(json.loads(call["arguments"])) == set(DEAL["required"])


def test_json_mode_answers_an_object(emulator: Emulator, oa: OpenAI) -> None:
    body = answer(emulator, oa, chat("a deal", response_format={"type": "json_object"}))["response"]["body"]
    assert isinstance(json.loads(body["choices"][0]["message"]["content"]), dict)


def test_without_a_schema_the_answer_is_prose(emulator: Emulator, oa: OpenAI) -> None:
    body = answer(emulator, oa, chat("a deal", response_format=None))["response"]["body"]
    assert len(body["choices"][0]["message"]["content"].split()) > 10


def test_responses_are_answered_in_their_own_shape(emulator: Emulator, oa: OpenAI) -> None:
    shape = {"format": {"type": "json_schema", "name": "deal", "strict": True, "schema": DEAL}}
    asked = {"model": "gpt-4o-mini", "input": "a deal", "text": shape, "max_output_tokens": 900}
    body = answer(emulator, oa, asked, "/v1/responses")["response"]["body"]
    assert (body["status"], body["max_output_tokens"]) == ("completed", 900)
    assert "risk_score" in json.loads(body["output"][0]["content"][0]["text"])


def test_a_response_over_its_limit_is_incomplete(emulator: Emulator, oa: OpenAI) -> None:
    asked = {"model": "gpt-4o-mini", "input": "a deal", "max_output_tokens": 5}
    body = answer(emulator, oa, asked, "/v1/responses")["response"]["body"]
    assert (body["status"], body["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})


def test_chat_words_are_strangers_to_responses(emulator: Emulator, oa: OpenAI) -> None:
    asked = {"model": "gpt-4o-mini", "input": "a deal", "response_format": {}}
    error = answer(emulator, oa, asked, "/v1/responses")["response"]["body"]["error"]
    assert (error["param"], error["code"]) == ("response_format", "unsupported_parameter")


def test_embeddings_are_unit_vectors(emulator: Emulator, oa: OpenAI) -> None:
    asked = {"model": "text-embedding-3-small", "input": ["a", "b"], "dimensions": 8}
    data = answer(emulator, oa, asked, "/v1/embeddings")["response"]["body"]["data"]
    assert [one["index"] for one in data] == [0, 1]
    assert sum(part * part for part in data[0]["embedding"]) == pytest.approx(1)


def test_every_text_has_a_vector_of_its_own(emulator: Emulator, oa: OpenAI) -> None:
    asked = {"model": "text-embedding-3-large", "input": ["the same beginning, a", "the same beginning, b"]}
    data = answer(emulator, oa, asked, "/v1/embeddings")["response"]["body"]["data"]
    assert data[0]["embedding"] != data[1]["embedding"]
    assert [len(one["embedding"]) for one in data] == [3_072, 3_072]


@pytest.mark.parametrize(
    "wrong",
    [
        {"input": ""},
        {"input": "long " * 10_000},
        {"dimensions": 1_537},
        {"model": "text-embedding-ada-002", "dimensions": 8},
    ],
    ids=str,
)
def test_what_cannot_be_embedded_fails_at_execution(emulator: Emulator, oa: OpenAI, wrong: dict[str, Any]) -> None:
    asked = {"model": "text-embedding-3-small", "input": "a deal"} | wrong
    assert answer(emulator, oa, asked, "/v1/embeddings")["response"]["status_code"] == 400
    assert emulator.charges == []


def test_the_synchronous_calls_answer_and_charge_at_once(emulator: Emulator, oa: OpenAI) -> None:
    spoken = oa.chat.completions.create(**chat("a deal"))
    told = oa.responses.create(model="gpt-4o-mini", input="a deal")
    oa.embeddings.create(model="text-embedding-3-small", input="a deal", dimensions=4)
    assert spoken.usage is not None
    assert told.output_text
    assert emulator.charges[0].input_tokens == spoken.usage.prompt_tokens
    assert (len(emulator.charges), {one.batch_id for one in emulator.charges}) == (3, {""})


def test_an_unknown_model_is_not_found(oa: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        oa.chat.completions.create(**chat("a deal", model="nonesuch"))
    assert oa.models.retrieve("gpt-4o-mini").id == "gpt-4o-mini"


def test_equal_prompts_get_equal_answers_whatever_the_batch(
    emulate: Callable[..., Emulator], openai_for: Callable[..., OpenAI]
) -> None:
    said = []
    for seed in (1, 2):
        emulator = emulate(seed=seed)
        body = answer(emulator, openai_for(emulator), chat("a deal"))["response"]["body"]
        said.append(body["choices"][0]["message"]["content"])
    assert said[0] == said[1]


def test_tokens_are_about_a_quarter_of_the_bytes(emulator: Emulator, oa: OpenAI) -> None:
    usage = answer(emulator, oa, chat("word " * 2_000))["response"]["body"]["usage"]
    assert usage["prompt_tokens"] == pytest.approx(2_500, rel=0.05)


def test_a_long_shared_beginning_is_cached_by_gpt_5_only(emulator: Emulator, oa: OpenAI) -> None:
    system = {"role": "system", "content": "You read deals. " * 400}
    cached = {}
    for model in ("gpt-4o-mini", "gpt-5-nano"):
        bodies = [chat("", model=model, messages=[system, {"role": "user", "content": f"deal {n}"}]) for n in range(20)]
        batch = submit(oa, b"".join(line(f"job-{n}", body) for n, body in enumerate(bodies)))
        emulator.advance(600)
        cached[model] = oa.batches.retrieve(batch.id).usage.input_tokens_details.cached_tokens
    assert cached["gpt-4o-mini"] == 0 < cached["gpt-5-nano"]


def test_a_claude_tool_is_used_with_fitting_input(an: Anthropic) -> None:
    tool = {"name": "file_deal", "input_schema": DEAL}
    answer = an.messages.create(**{**message("a deal"), "output_config": {}, "tools": [tool]})
    assert (answer.stop_reason, answer.content[0].type) == ("tool_use", "tool_use")
    assert set(answer.content[0].input) == set(DEAL["required"])


def test_a_claude_answer_over_the_limit_is_cut(an: Anthropic) -> None:
    answer = an.messages.create(**message("a deal", max_tokens=5))
    assert (answer.stop_reason, answer.usage.output_tokens) == ("max_tokens", 5)


def test_claude_refuses_when_told(emulate: Callable[..., Emulator], anthropic_for: Callable[..., Anthropic]) -> None:
    answer = anthropic_for(emulate(rates=Rates(refused=1))).messages.create(**message("a deal"))
    assert (answer.stop_reason, answer.content) == ("refusal", [])
    assert answer.stop_details.type == "refusal"


def test_openai_refuses_in_the_refusal_member(
    emulate: Callable[..., Emulator], openai_for: Callable[..., OpenAI]
) -> None:
    client = openai_for(emulate(rates=Rates(refused=1)))
    message = client.chat.completions.create(**chat("a deal")).choices[0].message
    assert message.content is None
    assert message.refusal
    told = client.responses.create(model="gpt-4o-mini", input="a deal")
    assert told.output[0].content[0].type == "refusal"
