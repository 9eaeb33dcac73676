"""Batches that go wrong as a whole."""

from collections.abc import Callable
from typing import Any

import anthropic
import openai
import pytest
from anthropic import Anthropic
from openai import OpenAI

from providers.emulator import Emulator, Fault
from tests.emulator.support import deals, entries, results, submit

DAY = 86_400
Emulate = Callable[..., Emulator]
Clients = Callable[..., Any]


def test_a_batch_expires_with_a_part_done(emulate: Emulate, openai_for: Clients) -> None:
    emulator = emulate(faults=[Fault(action="expire", fraction=0.3)])
    client = openai_for(emulator)
    batch = submit(client, deals(10))
    emulator.advance(DAY - 1)
    assert client.batches.retrieve(batch.id).status == "in_progress"
    emulator.advance(1)
    done = client.batches.retrieve(batch.id)
    assert (done.status, len(results(client, done.output_file_id)), len(emulator.charges)) == ("expired", 3, 3)
    assert {one["error"]["code"] for one in results(client, done.error_file_id)} == {"batch_expired"}


def test_a_message_batch_expires_with_a_part_done(emulate: Emulate, anthropic_for: Clients) -> None:
    emulator = emulate(faults=[Fault(action="expire", fraction=0.3)])
    client = anthropic_for(emulator)
    batch = client.messages.batches.create(requests=entries(10))
    emulator.advance(DAY)
    counts = client.messages.batches.retrieve(batch.id).request_counts
    assert (counts.succeeded, counts.expired, len(emulator.charges)) == (3, 7, 3)


def test_the_nth_batch_can_be_chosen(emulate: Emulate, openai_for: Clients) -> None:
    emulator = emulate(faults=[Fault(action="expire", fraction=0, nth=2)])
    client = openai_for(emulator)
    ids = [submit(client, deals(2)).id for _ in range(3)]
    emulator.advance(DAY)
    assert [client.batches.retrieve(one).status for one in ids] == ["completed", "expired", "completed"]


def test_a_batch_can_be_rejected_after_validation(emulate: Emulate, openai_for: Clients) -> None:
    emulator = emulate(faults=[Fault(action="reject")])
    client = openai_for(emulator)
    batch = submit(client, deals(2))
    emulator.advance(600)
    failed = client.batches.retrieve(batch.id)
    assert (batch.status, failed.status, failed.errors.data[0].code) == ("validating", "failed", "token_limit_exceeded")
    assert (emulator.charges, failed.request_counts.total, failed.output_file_id) == ([], 0, None)


@pytest.mark.parametrize("status", [400, 429])
def test_a_batch_can_be_rejected_at_create(emulate: Emulate, openai_for: Clients, status: int) -> None:
    emulator = emulate(faults=[Fault(action="reject", at_create=True, status=status)])
    with pytest.raises(openai.APIStatusError) as refused:
        submit(openai_for(emulator), deals(2))
    assert (refused.value.status_code, refused.value.code) == (status, "token_limit_exceeded")
    assert emulator.batches == []


def test_anthropic_rejects_at_create(emulate: Emulate, anthropic_for: Clients) -> None:
    emulator = emulate(faults=[Fault(action="reject", code="ramp_limit_exceeded")])
    with pytest.raises(anthropic.RateLimitError) as refused:
        anthropic_for(emulator).messages.batches.create(requests=entries(2))
    assert refused.value.error_code == "ramp_limit_exceeded"


def test_a_batch_without_one_success_has_no_output_file(emulate: Emulate, openai_for: Clients) -> None:
    emulator = emulate(faults=[Fault(action="all_fail")])
    client = openai_for(emulator)
    batch = submit(client, deals(3))
    emulator.advance(600)
    done = client.batches.retrieve(batch.id)
    assert (done.status, done.output_file_id, done.request_counts.failed) == ("completed", None, 3)
    assert {one["response"]["status_code"] for one in results(client, done.error_file_id)} == {400}


def test_all_items_can_fail_for_now(emulate: Emulate, anthropic_for: Clients) -> None:
    emulator = emulate(faults=[Fault(action="all_fail", kind="transient")])
    client = anthropic_for(emulator)
    batch = client.messages.batches.create(requests=entries(9))
    emulator.advance(600)
    kinds = {one.result.error.error.type for one in client.messages.batches.results(batch.id)}
    assert kinds <= {"api_error", "overloaded_error"}


def test_finalizing_can_last(emulate: Emulate, openai_for: Clients) -> None:
    emulator = emulate(faults=[Fault(action="long_finalizing", seconds=3_600)])
    client = openai_for(emulator)
    batch = submit(client, deals(3))
    emulator.advance(3_600)
    late = client.batches.retrieve(batch.id)
    assert (late.status, late.request_counts.completed, late.output_file_id) == ("finalizing", 3, None)
    emulator.advance(600)
    assert client.batches.retrieve(batch.id).status == "completed"


def test_output_ids_can_be_late(emulate: Emulate, openai_for: Clients) -> None:
    emulator = emulate(faults=[Fault(action="late_output", seconds=300)])
    client = openai_for(emulator)
    batch = submit(client, deals(3))
    emulator.advance(600)
    done = client.batches.retrieve(batch.id)
    assert (done.status, done.request_counts.completed, done.output_file_id) == ("completed", 3, None)
    emulator.advance(300)
    assert client.batches.retrieve(batch.id).output_file_id


def test_a_batch_can_be_slow(emulate: Emulate, anthropic_for: Clients) -> None:
    emulator = emulate(faults=[Fault(action="slow", seconds=7_200)])
    client = anthropic_for(emulator)
    batch = client.messages.batches.create(requests=entries(1))
    emulator.advance(7_000)
    assert client.messages.batches.retrieve(batch.id).processing_status == "in_progress"
    emulator.advance(800)
    assert client.messages.batches.retrieve(batch.id).processing_status == "ended"


def test_a_new_batch_can_be_late_in_listings(emulate: Emulate, openai_for: Clients, anthropic_for: Clients) -> None:
    emulator = emulate(faults=[Fault(action="list_lag", seconds=120, times=2)])
    oa, an = openai_for(emulator), anthropic_for(emulator)
    batch = submit(oa, deals(1))
    an.messages.batches.create(requests=entries(1))
    emulator.advance(119)
    assert (oa.batches.list().data, an.messages.batches.list().data) == ([], [])
    assert oa.batches.retrieve(batch.id).id == batch.id
    emulator.advance(1)
    assert (len(oa.batches.list().data), len(an.messages.batches.list().data)) == (1, 1)


def test_the_error_file_id_can_be_an_empty_string(emulate: Emulate, openai_for: Clients) -> None:
    emulator = emulate(faults=[Fault(action="empty_error_file_id")])
    client = openai_for(emulator)
    batch = submit(client, deals(1))
    emulator.advance(600)
    assert client.batches.retrieve(batch.id).error_file_id == ""


def test_a_cancelled_expiring_batch_is_cancelled(emulate: Emulate, openai_for: OpenAI | Any) -> None:
    emulator = emulate(faults=[Fault(action="expire", fraction=0.5)])
    client = openai_for(emulator)
    batch = submit(client, deals(10))
    emulator.advance(3_600)
    client.batches.cancel(batch.id)
    emulator.advance(DAY)
    done = client.batches.retrieve(batch.id)
    assert (done.status, done.request_counts.completed, len(emulator.charges)) == ("cancelled", 5, 5)


def test_cancelled_items_of_anthropic_are_never_absent(emulate: Emulate, anthropic_for: Clients) -> None:
    client: Anthropic = anthropic_for(emulator := emulate(faults=[Fault(action="cancelled_absent")]))
    batch = client.messages.batches.create(requests=entries(4))
    client.messages.batches.cancel(batch.id)
    emulator.advance(600)
    assert len(list(client.messages.batches.results(batch.id))) == 4
