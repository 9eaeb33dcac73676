from collections.abc import Callable
from typing import Any

import openai
import pytest
from openai import OpenAI

from providers.emulator import Emulator
from tests.emulator.support import CHAT, chat, deals, line, submit, upload

GOOD = line("good", chat("a deal"))


def create(client: OpenAI, **more: Any) -> Any:
    asked = {"input_file_id": upload(client, deals(1)), "endpoint": CHAT, "completion_window": "24h", **more}
    return client.post(
        "/batches", body={name: value for name, value in asked.items() if value is not None}, cast_to=dict[str, Any]
    )


@pytest.mark.parametrize("name", ["input_file_id", "endpoint", "completion_window"])
def test_a_create_needs_its_three_parameters(oa: OpenAI, name: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        create(oa, **{name: None})
    assert (refused.value.code, refused.value.param) == ("missing_required_parameter", name)


def test_an_unknown_endpoint_is_refused_at_once(oa: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match=r"Invalid value: '/v1/nothing'. Supported values are") as refused:
        create(oa, endpoint="/v1/nothing")
    assert (refused.value.code, refused.value.param) == ("invalid_value", "endpoint")


def test_the_window_can_only_be_a_day(oa: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="completion_window"):
        create(oa, completion_window="48h")


def test_metadata_values_are_strings(oa: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        create(oa, metadata={"job": 7})
    assert (refused.value.code, refused.value.param) == ("invalid_type", "metadata.job")


@pytest.mark.parametrize("metadata", [{"k" * 65: "v"}, {"k": "v" * 513}, {str(n): "v" for n in range(17)}])
def test_metadata_has_limits(oa: OpenAI, metadata: dict[str, str]) -> None:
    with pytest.raises(openai.BadRequestError, match="metadata"):
        create(oa, metadata=metadata)


@pytest.mark.parametrize("seconds", [3_599, 2_592_001])
def test_output_can_be_kept_for_an_hour_to_thirty_days(oa: OpenAI, seconds: int) -> None:
    with pytest.raises(openai.BadRequestError, match="output_expires_after"):
        create(oa, output_expires_after={"anchor": "created_at", "seconds": seconds})


def test_a_missing_key_is_unauthorized(emulator: Emulator, openai_for: Callable[..., OpenAI]) -> None:
    with pytest.raises(openai.AuthenticationError):
        openai_for(emulator, default_headers={"Authorization": ""}).batches.list()


def test_two_thousand_batches_an_hour(emulate: Callable[..., Emulator], openai_for: Callable[..., OpenAI]) -> None:
    """PROVIDERS §1.2"""
    emulator = emulate(batches_per_hour=2)
    client = openai_for(emulator)
    submit(client, GOOD)
    submit(client, GOOD)
    with pytest.raises(openai.RateLimitError):
        submit(client, GOOD)
    emulator.advance(3_601)
    assert submit(client, GOOD).status == "validating"


def test_the_same_create_twice_makes_two_batches(oa: OpenAI) -> None:
    file_id = upload(oa, GOOD)
    two = [create(oa, input_file_id=file_id)["id"] for _ in range(2)]
    assert len(set(two)) == 2


def body(**more: Any) -> bytes:
    return line("bad", {**chat("a deal"), **more})


@pytest.mark.parametrize(
    ("bad", "code", "param", "message"),
    [
        (b"{not json\n", "invalid_json_line", None, "This line is not parseable as valid JSON."),
        (b'{"custom_id":"a"}\n', "missing_required_parameter", "method", "Missing required parameter: 'method'."),
        (b"[]\n", "invalid_json_line", None, "This line is not parseable as valid JSON."),
        (
            line("bad", chat("a"), "/v1/responses"),
            "invalid_url",
            "url",
            "The URL provided for this request does not match the batch endpoint.",
        ),
        (
            body(model="nonesuch"),
            "model_not_found",
            "body.model",
            "The provided model 'nonesuch' is not supported by the Batch API.",
        ),
        (body(model=None), "invalid_request", "body.model", "Model parameter is required."),
        (body(messages=None), "invalid_request", "body.messages", "Messages parameter is required."),
        (
            body(stream=True),
            "streaming_unsupported",
            "body.stream",
            "Chat Completions: Streaming is not supported in the Batch API.",
        ),
        (body(model="gpt-5-nano"), "mismatched_model", "body.model", None),
        (line("good", chat("again")), "duplicate_custom_id", "custom_id", None),
    ],
)
def test_a_bad_line_fails_the_batch_after_validation(
    emulator: Emulator, oa: OpenAI, bad: bytes, code: str, param: str | None, message: str | None
) -> None:
    batch = submit(oa, GOOD + bad)
    assert (batch.status, batch.errors) == ("validating", None)
    emulator.advance(60)
    failed = oa.batches.retrieve(batch.id)
    assert failed.status == "failed"
    assert failed.errors is not None
    assert failed.errors.data is not None
    error = failed.errors.data[0]
    assert (error.code, error.line, error.param) == (code, 2, param)
    assert message in {None, error.message}


def test_every_bad_line_is_reported_in_order(emulator: Emulator, oa: OpenAI) -> None:
    batch = submit(oa, GOOD + b"{}\n" + b"no\n" + GOOD)
    emulator.advance(60)
    errors = oa.batches.retrieve(batch.id).errors
    assert errors is not None
    assert [one.line for one in errors.data or []] == [2, 2, 2, 2, 3, 4]


def test_an_unknown_file_is_found_out_asynchronously(emulator: Emulator, oa: OpenAI) -> None:
    batch = create(oa, input_file_id="file-none")
    emulator.advance(60)
    errors = oa.batches.retrieve(batch["id"]).errors
    assert errors is not None
    assert errors.data is not None
    assert (errors.data[0].code, errors.data[0].param, errors.data[0].line) == ("invalid_request", "file_id", None)
    assert "Cannot find file file-none" in (errors.data[0].message or "")


def test_a_batch_that_fails_validation_bills_nothing(emulator: Emulator, oa: OpenAI) -> None:
    """PROVIDERS §1.6"""
    submit(oa, GOOD + b"no\n")
    emulator.advance(86_400)
    assert (emulator.charges, emulator.batches[0].status) == ([], "failed")


def test_more_than_fifty_thousand_requests_fail(emulator: Emulator, oa: OpenAI) -> None:
    small = b"".join(
        b'{"custom_id":"%d","method":"POST","url":"/v1/chat/completions","body":{"model":"gpt-4o","messages":[]}}\n' % n
        for n in range(50_001)
    )
    batch = submit(oa, small)
    emulator.advance(60)
    errors = oa.batches.retrieve(batch.id).errors
    assert errors is not None
    assert "50000" in (errors.data or [])[0].message
