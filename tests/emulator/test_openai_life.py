from collections.abc import Callable
from typing import Any

import openai
import pytest
from openai import OpenAI

from providers.emulator import Emulator, Fault
from tests.emulator.support import deals, results, submit, upload

DAY = 86_400


def look(client: OpenAI, batch: Any) -> Any:
    return client.batches.retrieve(batch.id)


def test_a_batch_goes_through_its_states(emulator: Emulator, oa: OpenAI) -> None:
    batch, seen = submit(oa, deals(10)), []
    for _ in range(9):
        seen.append(look(oa, batch).status)
        emulator.advance(75)
    assert list(dict.fromkeys(seen)) == ["validating", "in_progress", "completed"]


def test_counts_are_zero_while_validating_and_rise_while_running(emulator: Emulator, oa: OpenAI) -> None:
    batch = submit(oa, deals(10))
    emulator.advance(20)
    validating = look(oa, batch)
    emulator.advance(280)
    running = look(oa, batch)
    assert (validating.request_counts.total, validating.in_progress_at) == (0, None)
    assert (running.request_counts.total, running.request_counts.completed) == (10, 5)
    assert running.in_progress_at is not None


def test_finalizing_has_full_counts_but_no_output_yet(emulator: Emulator, oa: OpenAI) -> None:
    batch = submit(oa, deals(10))
    emulator.advance(580)
    late = look(oa, batch)
    assert (late.status, late.request_counts.completed, late.output_file_id) == ("finalizing", 10, None)
    assert late.finalizing_at is not None
    assert late.completed_at is None


def test_a_completed_batch_tells_times_usage_and_model(emulator: Emulator, oa: OpenAI) -> None:
    batch = submit(oa, deals(10))
    emulator.advance(600)
    done = look(oa, batch)
    assert (done.completed_at, done.expires_at) == (done.created_at + 600, done.created_at + DAY)
    assert done.usage.input_tokens == sum(one.input_tokens for one in emulator.charges)
    assert done.usage.total_tokens == done.usage.input_tokens + done.usage.output_tokens
    assert done.model == "gpt-4o-mini-2024-07-18"
    assert done.error_file_id is None


def test_output_comes_in_another_order(emulator: Emulator, oa: OpenAI) -> None:
    batch = submit(oa, deals(50))
    emulator.advance(600)
    ids = [one["custom_id"] for one in results(oa, look(oa, batch).output_file_id)]
    assert ids != sorted(ids, key=lambda one: int(one.split("-")[1]))


def test_output_is_gone_after_thirty_days(emulator: Emulator, oa: OpenAI) -> None:
    batch = submit(oa, deals(2))
    emulator.advance(600)
    file_id = look(oa, batch).output_file_id
    emulator.advance(30 * DAY)
    with pytest.raises(openai.NotFoundError):
        oa.files.content(file_id)
    assert look(oa, batch).output_file_id == file_id


def test_the_input_may_be_deleted_while_the_batch_runs(emulator: Emulator, oa: OpenAI) -> None:
    batch = submit(oa, deals(5))
    oa.files.delete(batch.input_file_id)
    oa.batches.cancel(batch.id)
    emulator.advance(600)
    assert len(results(oa, look(oa, batch).error_file_id)) == 5


def test_output_can_be_kept_shorter(emulator: Emulator, oa: OpenAI) -> None:
    batch = submit(oa, deals(2), output_expires_after={"anchor": "created_at", "seconds": 3_600})
    emulator.advance(600)
    stored = oa.files.retrieve(look(oa, batch).output_file_id)
    assert stored.expires_at == stored.created_at + 3_600
    assert stored.purpose == "batch_output"


@pytest.mark.parametrize("seconds", [0, 300, 580])
def test_an_unfinished_batch_can_be_cancelled(emulator: Emulator, oa: OpenAI, seconds: int) -> None:
    batch = submit(oa, deals(10))
    emulator.advance(seconds)
    cancelling = oa.batches.cancel(batch.id)
    assert cancelling.status == "cancelling"
    assert cancelling.cancelling_at == cancelling.created_at + seconds
    emulator.advance(600)
    done = look(oa, batch)
    assert (done.status, done.cancelled_at) == ("cancelled", done.created_at + seconds + 600)
    assert oa.batches.cancel(batch.id).status == "cancelled"


def test_what_was_executed_before_a_cancel_is_billed_and_readable(emulator: Emulator, oa: OpenAI) -> None:
    batch = submit(oa, deals(10))
    emulator.advance(300)
    oa.batches.cancel(batch.id)
    emulator.advance(600)
    done = look(oa, batch)
    answered, errors = results(oa, done.output_file_id), results(oa, done.error_file_id)
    assert (len(answered), len(errors), done.request_counts.completed) == (5, 5, 5)
    assert {one["error"]["code"] for one in errors} == {"batch_cancelled"}
    assert {one.custom_id for one in emulator.charges} == {one["custom_id"] for one in answered}


@pytest.mark.parametrize("content", [deals(2), deals(2) + b"no\n"])
def test_a_finished_or_failed_batch_cannot_be_cancelled(emulator: Emulator, oa: OpenAI, content: bytes) -> None:
    batch = submit(oa, content)
    emulator.advance(600)
    status = look(oa, batch).status
    with pytest.raises(openai.ConflictError, match=f"Cannot cancel a batch with status '{status}'."):
        oa.batches.cancel(batch.id)


def test_an_unknown_batch_is_not_found(oa: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="No batch found"):
        oa.batches.retrieve("batch_none")
    with pytest.raises(openai.NotFoundError, match="No batch found"):
        oa.batches.cancel("batch_none")


def test_what_takes_longer_than_a_day_expires(
    emulate: Callable[..., Emulator], openai_for: Callable[..., OpenAI]
) -> None:
    emulator = emulate(batch_seconds=2 * DAY)
    client = openai_for(emulator)
    batch = submit(client, deals(20))
    emulator.advance(DAY)
    done = look(client, batch)
    errors = results(client, done.error_file_id)
    assert (done.status, done.expired_at) == ("expired", done.expires_at)
    assert {one["error"]["code"] for one in errors} == {"batch_expired"}
    assert all(one["response"] is None for one in errors)
    assert len(errors) + len(results(client, done.output_file_id)) == 20


def test_batches_are_listed_newest_first_page_by_page(emulator: Emulator, oa: OpenAI) -> None:
    file_id = upload(oa, deals(1))
    made = [
        oa.batches.create(input_file_id=file_id, endpoint="/v1/chat/completions", completion_window="24h").id
        for _ in range(5)
    ]
    page = oa.batches.list(limit=2)
    assert ([one.id for one in page.data], page.has_more) == ([made[4], made[3]], True)
    assert [one.id for one in oa.batches.list(limit=2)] == made[::-1]
    assert not oa.batches.list(after=made[1]).has_more


@pytest.mark.parametrize("limit", [0, 101])
def test_a_page_holds_one_to_a_hundred_batches(oa: OpenAI, limit: int) -> None:
    with pytest.raises(openai.BadRequestError):
        oa.batches.list(limit=limit)


@pytest.fixture
def narrow(emulate: Callable[..., Emulator]) -> Emulator:
    return emulate(enqueued_token_limit=300)


def test_too_many_queued_tokens_fail_the_batch_later(narrow: Emulator, openai_for: Callable[..., OpenAI]) -> None:
    client = openai_for(narrow)
    first, second = submit(client, deals(8)), submit(client, deals(8))
    assert second.status == "validating"
    narrow.advance(600)
    failed = look(client, second)
    assert (look(client, first).status, failed.status) == ("completed", "failed")
    assert failed.errors.data[0].code == "token_limit_exceeded"
    assert "Enqueued token limit reached for gpt-4o-mini" in failed.errors.data[0].message
    assert {one.batch_id for one in narrow.charges} == {first.id}


def test_the_same_file_fits_once_the_queue_is_free(narrow: Emulator, openai_for: Callable[..., OpenAI]) -> None:
    client = openai_for(narrow)
    submit(client, deals(8))
    narrow.advance(600)
    second = submit(client, deals(8))
    narrow.advance(600)
    assert look(client, second).status == "completed"


def test_the_queue_is_counted_per_model(narrow: Emulator, openai_for: Callable[..., OpenAI]) -> None:
    client = openai_for(narrow)
    submit(client, deals(8))
    second = submit(client, deals(8, model="gpt-4.1-mini"))
    narrow.advance(600)
    assert look(client, second).status == "completed"


def test_a_full_queue_can_refuse_at_create(narrow: Emulator, openai_for: Callable[..., OpenAI]) -> None:
    narrow.refuse_at_create = True
    client = openai_for(narrow)
    submit(client, deals(8))
    with pytest.raises(openai.BadRequestError) as refused:
        submit(client, deals(8))
    assert refused.value.code == "token_limit_exceeded"
    assert len(narrow.batches) == 1


def test_items_cancelled_can_be_absent_from_both_files(
    emulate: Callable[..., Emulator], openai_for: Callable[..., OpenAI]
) -> None:
    emulator = emulate(faults=[Fault(action="cancelled_absent")])
    client = openai_for(emulator)
    batch = submit(client, deals(10))
    emulator.advance(300)
    client.batches.cancel(batch.id)
    emulator.advance(600)
    done = look(client, batch)
    assert (len(results(client, done.output_file_id)), done.error_file_id) == (5, None)
