"""The dice: what goes wrong with items, and how it clears."""

import json
from collections.abc import Callable
from typing import Any

import jsonschema
import pytest
from anthropic import Anthropic
from openai import OpenAI

from providers.emulator import Emulator, Rates
from tests.emulator.support import DEAL, chat, entries, line, message, results, submit

Emulate = Callable[..., Emulator]


def run(emulator: Emulator, client: OpenAI, content: bytes) -> dict[str, Any]:
    """Status code and body by custom id."""
    batch = submit(client, content)
    emulator.advance(600)
    done = client.batches.retrieve(batch.id)
    lines = results(client, done.output_file_id) + results(client, done.error_file_id)
    return {one["custom_id"]: one["response"] for one in lines}


def deals(count: int, **more: Any) -> bytes:
    return b"".join(line(f"job-{n}", chat(f"deal {n}", **more)) for n in range(count))


def text(response: dict[str, Any]) -> str:
    return str(response["body"]["choices"][0]["message"]["content"])


def test_a_transient_error_clears_when_the_prompt_comes_again(
    emulate: Emulate, openai_for: Callable[..., OpenAI]
) -> None:
    emulator = emulate(rates=Rates(transient=0.5))
    client = openai_for(emulator)
    first, second = run(emulator, client, deals(40)), run(emulator, client, deals(40))
    errors = {one["status_code"] for one in first.values()} - {200}
    assert errors <= {429, 500, 503}
    assert errors
    assert {one["status_code"] for one in second.values()} == {200}


def test_a_permanent_error_stays(emulate: Emulate, openai_for: Callable[..., OpenAI]) -> None:
    emulator = emulate(rates=Rates(permanent=0.5))
    client = openai_for(emulator)
    first, second = run(emulator, client, deals(40)), run(emulator, client, deals(40))
    assert {one["status_code"] for one in first.values()} == {200, 400}
    assert {name: one["status_code"] for name, one in first.items()} == {
        name: one["status_code"] for name, one in second.items()
    }


def test_errors_are_not_charged(emulate: Emulate, openai_for: Callable[..., OpenAI]) -> None:
    emulator = emulate(rates=Rates(transient=0.3, permanent=0.3))
    answered = run(emulator, openai_for(emulator), deals(40))
    good = {name for name, one in answered.items() if one["status_code"] == 200}
    assert {one.custom_id for one in emulator.charges} == good


def test_a_larger_limit_helps_against_truncation(emulate: Emulate, openai_for: Callable[..., OpenAI]) -> None:
    emulator = emulate(rates=Rates(truncated=0.2))
    client = openai_for(emulator)

    def cut(limit: int) -> set[str]:
        answers = run(emulator, client, deals(60, max_tokens=limit))
        return {name for name, one in answers.items() if one["body"]["choices"][0]["finish_reason"] == "length"}

    small, again, large = cut(500), cut(500), cut(1_000)
    assert small == again
    assert small - large


def test_a_truncated_answer_is_broken_json_at_the_limit(emulate: Emulate, openai_for: Callable[..., OpenAI]) -> None:
    emulator = emulate(rates=Rates(truncated=1))
    response = run(emulator, openai_for(emulator), deals(1, max_tokens=500))["job-0"]
    assert response["body"]["usage"]["completion_tokens"] == 500
    with pytest.raises(json.JSONDecodeError):
        json.loads(text(response))


def fits(answer: str) -> bool:
    try:
        jsonschema.validate(json.loads(answer), DEAL)
    except (json.JSONDecodeError, jsonschema.ValidationError):
        return False
    return True


def test_every_invalid_answer_misses_the_schema(emulate: Emulate, openai_for: Callable[..., OpenAI]) -> None:
    emulator = emulate(rates=Rates(invalid=1))
    answers = run(emulator, openai_for(emulator), deals(60))
    assert not any(fits(text(one)) for one in answers.values())


def test_an_amended_prompt_helps_against_invalid_answers(emulate: Emulate, openai_for: Callable[..., OpenAI]) -> None:
    emulator = emulate(rates=Rates(invalid=0.3))
    client = openai_for(emulator)
    before = run(emulator, client, deals(40))
    amended = b"".join(line(f"job-{n}", chat(f"deal {n}. Mind the schema.")) for n in range(40))
    after = run(emulator, client, amended)
    assert [name for name in before if not fits(text(before[name])) and fits(text(after[name]))]


def test_equal_seeds_repeat_and_others_differ(emulate: Emulate, openai_for: Callable[..., OpenAI]) -> None:
    def errors(seed: int) -> set[str]:
        emulator = emulate(seed=seed, rates=Rates(permanent=0.5))
        answers = run(emulator, openai_for(emulator), deals(40))
        return {name for name, one in answers.items() if one["status_code"] == 400}

    assert errors(1) == errors(1) != errors(2)


def test_anthropic_items_err_in_anthropic_words(emulate: Emulate, anthropic_for: Callable[..., Anthropic]) -> None:
    emulator = emulate(rates=Rates(transient=0.5, permanent=0.5))
    client = anthropic_for(emulator)
    batch = client.messages.batches.create(requests=entries(60))
    emulator.advance(600)
    kinds = {one.result.error.error.type for one in client.messages.batches.results(batch.id)}
    assert kinds == {"api_error", "overloaded_error", "invalid_request_error"}
    assert emulator.charges == []


def test_an_error_that_a_cancel_forestalled_is_still_to_come(
    emulate: Emulate, openai_for: Callable[..., OpenAI]
) -> None:
    emulator = emulate(rates=Rates(transient=1))
    client = openai_for(emulator)
    batch = submit(client, deals(3))
    client.batches.cancel(batch.id)
    emulator.advance(600)
    assert client.batches.retrieve(batch.id).status == "cancelled"
    assert 200 not in {one["status_code"] for one in run(emulator, client, deals(3)).values()}


def test_a_synchronous_call_clears_on_its_retry(emulate: Emulate, anthropic_for: Callable[..., Anthropic]) -> None:
    emulator = emulate(rates=Rates(transient=1))
    client = anthropic_for(emulator, max_retries=1)
    assert client.messages.create(**message("a deal")).stop_reason == "end_turn"
    assert [one.status for one in emulator.requests] in ([500, 200], [529, 200])
