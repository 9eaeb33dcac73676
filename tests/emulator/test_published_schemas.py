"""Replies fit the schemas that the providers publish."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from anthropic import Anthropic
from openai import OpenAI

from providers.emulator import Emulator, Rates
from tests.emulator.schemas import SMALL, validator, without_nulls
from tests.emulator.support import chat, deals, entries, fetch, line, message, results, submit

KEY = {"authorization": "Bearer test"}
VERSION = {**KEY, "anthropic-version": "2023-06-01"}
MIXED = Rates(transient=0.2, permanent=0.2, refused=0.2, truncated=0.3)


def get(emulator: Emulator, path: str, headers: dict[str, str] = KEY) -> Any:
    return json.loads(fetch(emulator, path, headers)[2])


@pytest.mark.parametrize(("provider", "name"), [(one, name) for one, names in SMALL.items() for name in names])
def test_the_schemas_tell_good_from_bad(provider: str, name: str) -> None:
    assert not validator(provider, name).is_valid({"no": "such document"})


@pytest.mark.parametrize("seconds", [0, 300, 580, 600])
def test_a_batch_is_a_batch_in_every_state(emulator: Emulator, oa: OpenAI, seconds: int) -> None:
    batch = submit(oa, deals(3), metadata={"a": "b"})
    emulator.advance(seconds)
    validator("openai", "Batch").validate(without_nulls(get(emulator, f"/v1/batches/{batch.id}")))


def test_a_failed_batch_is_a_batch(emulator: Emulator, oa: OpenAI) -> None:
    batch = submit(oa, deals(1) + b"no\n")
    emulator.advance(600)
    validator("openai", "Batch").validate(without_nulls(get(emulator, f"/v1/batches/{batch.id}")))


def test_a_listing_is_a_listing(emulator: Emulator, oa: OpenAI) -> None:
    submit(oa, deals(1))
    listing = get(emulator, "/v1/batches")
    listing["data"] = [without_nulls(one) for one in listing["data"]]
    validator("openai", "ListBatchesResponse").validate(listing)


def test_files_and_uploads_are_what_they_say(emulator: Emulator, oa: OpenAI) -> None:
    submit(oa, deals(1))
    for one in get(emulator, "/v1/files")["data"]:
        validator("openai", "OpenAIFile").validate(without_nulls(one))
    begun = oa.uploads.create(bytes=9, filename="a.jsonl", mime_type="application/jsonl", purpose="batch")
    validator("openai", "Upload").validate(without_nulls(begun.to_dict()))


def bodies(emulator: Emulator, client: OpenAI, content: bytes, endpoint: str) -> list[Any]:
    batch = submit(client, content, endpoint=endpoint)
    emulator.advance(600)
    done = client.batches.retrieve(batch.id)
    return [one["response"] for one in results(client, done.output_file_id) + results(client, done.error_file_id)]


@pytest.mark.parametrize(
    ("endpoint", "schema", "body"),
    [
        ("/v1/chat/completions", "CreateChatCompletionResponse", chat("a deal {}", max_tokens=500)),
        ("/v1/responses", "Response", {"model": "gpt-4o-mini", "input": "a deal {}", "max_output_tokens": 500}),
        (
            "/v1/embeddings",
            "CreateEmbeddingResponse",
            {"model": "text-embedding-3-small", "input": "{}", "dimensions": 3},
        ),
    ],
)
def test_every_body_fits_its_endpoint(
    emulate: Callable[..., Emulator], openai_for: Callable[..., OpenAI], endpoint: str, schema: str, body: Any
) -> None:
    emulator = emulate(rates=MIXED)
    content = b"".join(line(f"n-{n}", body, endpoint).replace(b"{}", b"%d" % n) for n in range(40))
    for one in bodies(emulator, openai_for(emulator), content, endpoint):
        name = schema if one["status_code"] == 200 else "ErrorResponse"
        validator("openai", name).validate(one["body"])


@pytest.mark.parametrize("seconds", [0, 600, 30 * 86_400])
def test_a_message_batch_is_one_in_every_state(emulator: Emulator, an: Anthropic, seconds: int) -> None:
    batch = an.messages.batches.create(requests=entries(3))
    emulator.advance(seconds)
    validator("anthropic", "MessageBatch").validate(get(emulator, f"/v1/messages/batches/{batch.id}", VERSION))
    validator("anthropic", "ListResponse_MessageBatch_").validate(get(emulator, "/v1/messages/batches", VERSION))


def test_every_result_line_is_one(emulate: Callable[..., Emulator], anthropic_for: Callable[..., Anthropic]) -> None:
    emulator = emulate(rates=MIXED)
    client = anthropic_for(emulator)
    batch = client.messages.batches.create(requests=entries(40))
    emulator.advance(300)
    client.messages.batches.cancel(batch.id)
    emulator.advance(600)
    lines = fetch(emulator, f"/v1/messages/batches/{batch.id}/results", VERSION)[2].split(b"\n")[:-1]
    kinds = set()
    for one in map(json.loads, lines):
        kinds.add(one["result"]["type"])
        validator("anthropic", "MessageBatchIndividualResponse").validate(one)
    assert kinds == {"succeeded", "errored", "canceled"}


def test_a_message_is_a_message(emulator: Emulator, an: Anthropic) -> None:
    for more in ({}, {"max_tokens": 3}, {"output_config": {}, "tools": [{"name": "t", "input_schema": {}}]}):
        raw = an.messages.with_raw_response.create(**message("a deal", **more))
        validator("anthropic", "Message").validate(json.loads(raw.text()))


def test_errors_are_errors(emulator: Emulator) -> None:
    validator("anthropic", "ErrorResponse").validate(get(emulator, "/v1/messages/batches/none", VERSION))
    validator("openai", "ErrorResponse").validate(get(emulator, "/v1/batches/none"))
