import json
from collections.abc import Callable
from typing import Any

import anthropic
import pytest
from anthropic import Anthropic

from providers.emulator import Emulator
from tests.emulator.support import entries, fetch, message

DAY = 86_400


def send(client: Anthropic, requests: Any) -> Any:
    """A create with anything in it."""
    return client.post("/v1/messages/batches", body={"requests": requests}, cast_to=dict[str, Any])


def item(custom_id: Any, **params: Any) -> dict[str, Any]:
    return {"custom_id": custom_id, "params": message("a deal", **params)}


def test_a_new_batch_is_in_progress(an: Anthropic) -> None:
    batch = an.messages.batches.create(requests=entries(3))
    counts = batch.request_counts
    assert (batch.processing_status, counts.processing, counts.succeeded) == ("in_progress", 3, 0)
    assert (batch.expires_at - batch.created_at).total_seconds() == DAY
    assert batch.results_url is None


def test_counts_stay_frozen_until_the_batch_has_ended(emulator: Emulator, an: Anthropic) -> None:
    batch = an.messages.batches.create(requests=entries(10))
    emulator.advance(500)
    running = an.messages.batches.retrieve(batch.id).request_counts
    emulator.advance(100)
    ended = an.messages.batches.retrieve(batch.id)
    assert (running.processing, running.succeeded) == (10, 0)
    assert (ended.processing_status, ended.request_counts.succeeded) == ("ended", 10)
    assert ended.results_url == f"{emulator.url}/v1/messages/batches/{batch.id}/results"


def test_only_an_unfinished_batch_hints_when_to_ask_again(emulator: Emulator, an: Anthropic) -> None:
    batch = an.messages.batches.create(requests=entries(1))
    raw = an.messages.batches.with_raw_response
    assert raw.retrieve(batch.id).headers["retry-after"] == "10"
    emulator.advance(600)
    assert "retry-after" not in raw.retrieve(batch.id).headers


def test_results_are_chunked_jsonl_in_another_order(emulator: Emulator, an: Anthropic) -> None:
    batch = an.messages.batches.create(requests=entries(50))
    emulator.advance(600)
    answer = an.get(f"/v1/messages/batches/{batch.id}/results", cast_to=bytes, options={"headers": {"accept": "*/*"}})
    assert answer.count(b"\n") == 50
    ids = [int(one.custom_id.split("-")[1]) for one in an.messages.batches.results(batch.id)]
    assert ids != sorted(ids)


def test_results_before_the_end_are_not_found(an: Anthropic) -> None:
    batch = an.messages.batches.create(requests=entries(1))
    with pytest.raises(anthropic.NotFoundError):
        an.get(f"/v1/messages/batches/{batch.id}/results", cast_to=bytes)


@pytest.mark.parametrize("custom_id", ["", "x" * 65, "with space", "ünïcode", "a.b"])
def test_a_custom_id_must_match_the_pattern(an: Anthropic, custom_id: str) -> None:
    with pytest.raises(anthropic.BadRequestError, match="custom_id"):
        send(an, [item("good"), item(custom_id)])


def test_a_custom_id_must_be_unique(emulator: Emulator, an: Anthropic) -> None:
    with pytest.raises(anthropic.BadRequestError, match="unique"):
        send(an, [item("same"), item("same")])
    assert emulator.batches == []


@pytest.mark.parametrize("requests", [[], "none", [{"custom_id": "a"}], [{"custom_id": "a", "params": []}]])
def test_a_create_that_is_no_list_of_requests_is_refused(an: Anthropic, requests: Any) -> None:
    with pytest.raises(anthropic.BadRequestError):
        send(an, requests)


def test_more_than_a_hundred_thousand_requests_are_too_large(emulator: Emulator, an: Anthropic) -> None:
    body = b'{"requests":[' + b",".join(b'{"custom_id":"%d","params":{}}' % n for n in range(100_001)) + b"]}"
    with pytest.raises(anthropic.APIStatusError) as refused:
        an.post("/v1/messages/batches", content=body, cast_to=dict[str, Any])
    assert (refused.value.status_code, refused.value.type) == (413, "request_too_large")


def test_a_body_over_the_limit_is_too_large(
    emulate: Callable[..., Emulator], anthropic_for: Callable[..., Anthropic]
) -> None:
    with pytest.raises(anthropic.APIStatusError) as refused:
        anthropic_for(emulate(body_bytes=1_000)).messages.batches.create(requests=entries(3))
    assert (refused.value.status_code, refused.value.type) == (413, "request_too_large")


def test_a_version_is_required(emulator: Emulator, anthropic_for: Callable[..., Anthropic]) -> None:
    client = anthropic_for(emulator, default_headers={"anthropic-version": ""})
    with pytest.raises(anthropic.BadRequestError, match="anthropic-version"):
        client.messages.batches.list()


def test_a_key_is_required(emulator: Emulator) -> None:
    status, _, body = fetch(emulator, "/v1/messages/batches", {"anthropic-version": "2023-06-01"})
    assert (status, json.loads(body)["error"]["type"]) == (401, "authentication_error")


def ended(emulator: Emulator, client: Anthropic, requests: Any) -> dict[str, Any]:
    """The results of a batch by custom id."""
    batch = send(client, requests)
    emulator.advance(600)
    return {one.custom_id: one.result for one in client.messages.batches.results(batch["id"])}


@pytest.mark.parametrize("sampling", [{"temperature": 0.5}, {"top_p": 0.9}, {"top_k": 5}])
def test_the_new_version_rejects_sampling_item_by_item(
    emulator: Emulator, an: Anthropic, sampling: dict[str, float]
) -> None:
    results = ended(emulator, an, [item("plain"), item("warm", **sampling)])
    assert results["plain"].type == "succeeded"
    assert results["warm"].error.error.type == "invalid_request_error"
    assert [one.custom_id for one in emulator.charges] == ["plain"]


def test_the_old_version_takes_sampling(emulator: Emulator, anthropic_for: Callable[..., Anthropic]) -> None:
    client = anthropic_for(emulator, default_headers={"anthropic-version": "2023-06-01"})
    assert ended(emulator, client, [item("warm", temperature=0.5)])["warm"].type == "succeeded"


@pytest.mark.parametrize(
    ("params", "kind", "text"),
    [
        ({"max_tokens": None}, "invalid_request_error", "max_tokens"),
        ({"max_tokens": 0}, "invalid_request_error", "max_tokens"),
        ({"messages": []}, "invalid_request_error", "messages"),
        ({"model": "gpt-4o"}, "not_found_error", "model: gpt-4o"),
        ({"stream": True}, "invalid_request_error", "stream"),
        ({"speed": "fast"}, "invalid_request_error", "speed"),
        ({"response_format": {}}, "invalid_request_error", "response_format: Extra inputs are not permitted"),
        (
            {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}},
            "invalid_request_error",
            "additionalProperties",
        ),
    ],
)
def test_params_are_judged_at_execution(
    emulator: Emulator, an: Anthropic, params: dict[str, Any], kind: str, text: str
) -> None:
    """PROVIDERS §2.9"""
    error = ended(emulator, an, [item("bad", **params)])["bad"].error
    assert (error.type, error.error.type) == ("error", kind)
    assert text in error.error.message
    assert error.request_id.startswith("req_")


def test_a_batch_may_mix_models(emulator: Emulator, an: Anthropic) -> None:
    results = ended(emulator, an, [item("a"), item("b", model="claude-sonnet-4-6")])
    models = {results[name].message.model for name in ("a", "b")}
    assert models == {"claude-haiku-4-5-20251001", "claude-sonnet-4-6"}


def test_a_cancel_ends_in_a_mix(emulator: Emulator, an: Anthropic) -> None:
    batch = an.messages.batches.create(requests=entries(10))
    emulator.advance(300)
    canceling = an.messages.batches.cancel(batch.id)
    assert (canceling.processing_status, canceling.request_counts.processing) == ("canceling", 10)
    emulator.advance(600)
    done = an.messages.batches.retrieve(batch.id)
    kinds = [one.result.type for one in an.messages.batches.results(batch.id)]
    assert (done.processing_status, done.request_counts.succeeded, done.request_counts.canceled) == ("ended", 5, 5)
    assert sorted(kinds) == ["canceled"] * 5 + ["succeeded"] * 5
    assert len(emulator.charges) == 5


def test_an_ended_batch_cannot_be_cancelled(emulator: Emulator, an: Anthropic) -> None:
    batch = an.messages.batches.create(requests=entries(1))
    emulator.advance(600)
    with pytest.raises(anthropic.BadRequestError, match="has ended"):
        an.messages.batches.cancel(batch.id)


def test_what_takes_longer_than_a_day_expires(
    emulate: Callable[..., Emulator], anthropic_for: Callable[..., Anthropic]
) -> None:
    emulator = emulate(batch_seconds=2 * DAY)
    client = anthropic_for(emulator)
    batch = client.messages.batches.create(requests=entries(20))
    emulator.advance(DAY)
    counts = client.messages.batches.retrieve(batch.id).request_counts
    kinds = [one.result.type for one in client.messages.batches.results(batch.id)]
    assert counts.expired == kinds.count("expired") > 0
    assert counts.succeeded == kinds.count("succeeded") == len(emulator.charges) > 0


def test_results_are_gone_twenty_nine_days_after_the_create(emulator: Emulator, an: Anthropic) -> None:
    batch = an.messages.batches.create(requests=entries(1))
    emulator.advance(29 * DAY)
    archived = an.messages.batches.retrieve(batch.id)
    assert (archived.processing_status, archived.results_url) == ("ended", None)
    assert (archived.archived_at - archived.created_at).total_seconds() == 29 * DAY
    with pytest.raises(anthropic.NotFoundError):
        an.get(f"/v1/messages/batches/{batch.id}/results", cast_to=bytes)


def test_only_an_ended_batch_can_be_deleted(emulator: Emulator, an: Anthropic) -> None:
    batch = an.messages.batches.create(requests=entries(1))
    with pytest.raises(anthropic.BadRequestError, match="still processing"):
        an.messages.batches.delete(batch.id)
    emulator.advance(600)
    assert an.messages.batches.delete(batch.id).type == "message_batch_deleted"
    assert list(an.messages.batches.list()) == []
    with pytest.raises(anthropic.NotFoundError):
        an.messages.batches.retrieve(batch.id)


def test_a_deleted_batch_stays_charged(emulator: Emulator, an: Anthropic) -> None:
    batch = an.messages.batches.create(requests=entries(3))
    emulator.advance(600)
    an.messages.batches.delete(batch.id)
    assert len(emulator.charges) == 3


def test_batches_are_listed_newest_first_both_ways(an: Anthropic) -> None:
    made = [an.messages.batches.create(requests=entries(1)).id for _ in range(5)]
    page = an.messages.batches.list(limit=2)
    assert ([one.id for one in page.data], page.has_more) == (made[:2:-1], True)
    assert (page.first_id, page.last_id) == (made[4], made[3])
    assert [one.id for one in an.messages.batches.list(limit=2)] == made[::-1]
    newer = an.messages.batches.list(before_id=made[0], limit=2)
    assert ([one.id for one in newer.data], newer.has_more) == ([made[2], made[1]], True)


@pytest.mark.parametrize("limit", [0, 1_001])
def test_a_page_holds_one_to_a_thousand_batches(an: Anthropic, limit: int) -> None:
    with pytest.raises(anthropic.BadRequestError):
        an.messages.batches.list(limit=limit)


def test_the_queue_is_counted_in_requests(
    emulate: Callable[..., Emulator], anthropic_for: Callable[..., Anthropic]
) -> None:
    emulator = emulate(queued_request_limit=15)
    client = anthropic_for(emulator)
    client.messages.batches.create(requests=entries(10))
    with pytest.raises(anthropic.RateLimitError):
        client.messages.batches.create(requests=entries(10))
    emulator.advance(600)
    assert client.messages.batches.create(requests=entries(10)).processing_status == "in_progress"


def test_the_same_create_twice_makes_two_batches(an: Anthropic) -> None:
    assert len({an.messages.batches.create(requests=entries(2)).id for _ in range(2)}) == 2


def test_nothing_of_ours_but_the_ids_comes_back(emulator: Emulator, an: Anthropic) -> None:
    an.messages.batches.create(requests=entries(12))
    record = emulator.batches[0]
    assert (record.label, record.custom_id_prefix, record.requests) == ({}, "job-", 12)


def test_a_message_is_answered_and_charged_at_once(emulator: Emulator, an: Anthropic) -> None:
    answer = an.messages.create(**message("a deal"))
    charge = emulator.charges[0]
    assert (answer.stop_reason, answer.usage.service_tier) == ("end_turn", "standard")
    assert (charge.batch_id, charge.input_tokens) == ("", answer.usage.input_tokens)


def test_models_can_be_listed_and_tokens_counted(an: Anthropic) -> None:
    assert "claude-haiku-4-5" in [one.id for one in an.models.list()]
    assert an.models.retrieve("claude-opus-5").id == "claude-opus-5"
    assert (
        an.messages.count_tokens(model="claude-opus-5", messages=[{"role": "user", "content": "x" * 400}]).input_tokens
        > 100
    )


def test_a_marked_system_prompt_is_written_to_the_cache_or_read_from_it(emulator: Emulator, an: Anthropic) -> None:
    system = [{"type": "text", "text": "Read deals. " * 500, "cache_control": {"type": "ephemeral"}}]
    requests = [{"custom_id": f"job-{n}", "params": message(f"deal {n}", system=system)} for n in range(40)]
    usages = [one.message.usage for one in ended(emulator, an, requests).values()]
    assert any(one.cache_read_input_tokens for one in usages)
    assert any(one.cache_creation_input_tokens for one in usages)
    totals = [one.input_tokens + one.cache_read_input_tokens + one.cache_creation_input_tokens for one in usages]
    assert sum(totals) == sum(one.input_tokens for one in emulator.charges)
