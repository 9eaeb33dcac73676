"""Replies that are not what they should be."""

from collections.abc import Callable

import pytest
from anthropic import Anthropic
from openai import OpenAI

from providers.emulator import Emulator, Fault
from tests.emulator.support import deals, entries, results, submit

Emulate = Callable[..., Emulator]


def test_a_stale_read_shows_an_earlier_status(emulator: Emulator, oa: OpenAI) -> None:
    batch = submit(oa, deals(4))
    emulator.advance(600)
    assert oa.batches.retrieve(batch.id).status == "completed"
    emulator.add_fault(Fault(action="stale", seconds=300))
    stale = oa.batches.retrieve(batch.id)
    assert (stale.status, stale.request_counts.completed, stale.output_file_id) == ("in_progress", 2, None)
    assert oa.batches.retrieve(batch.id).status == "completed"


def test_a_stale_read_unends_a_message_batch(emulator: Emulator, an: Anthropic) -> None:
    batch = an.messages.batches.create(requests=entries(4))
    emulator.advance(600)
    emulator.add_fault(Fault(action="stale", seconds=300))
    stale = an.messages.batches.retrieve(batch.id)
    assert (stale.processing_status, stale.request_counts.processing) == ("in_progress", 4)


def test_a_stale_listing_lacks_the_newest(emulator: Emulator, oa: OpenAI) -> None:
    submit(oa, deals(1))
    emulator.add_fault(Fault(action="stale", seconds=60))
    assert oa.batches.list().data == []


def test_a_status_word_nobody_knows(emulator: Emulator, oa: OpenAI, an: Anthropic) -> None:
    batch, message_batch = submit(oa, deals(1)), an.messages.batches.create(requests=entries(1))
    emulator.add_fault(Fault(action="unknown_status", word="dreaming", times=3))
    assert oa.batches.retrieve(batch.id).status == "dreaming"
    assert an.messages.batches.retrieve(message_batch.id).processing_status == "dreaming"
    assert oa.batches.list().data[0].status == "dreaming"


def test_members_nobody_has_heard_of(emulator: Emulator, oa: OpenAI) -> None:
    batch = submit(oa, deals(1))
    emulator.advance(600)
    emulator.add_fault(Fault(action="unknown_fields", times=0))
    done = oa.batches.retrieve(batch.id)
    assert "x_new_member" in (done.model_extra or {})
    assert "x_new_member" in results(oa, done.output_file_id)[0]


def test_counts_that_disagree(emulator: Emulator, oa: OpenAI, an: Anthropic) -> None:
    batch, message_batch = submit(oa, deals(3)), an.messages.batches.create(requests=entries(3))
    emulator.advance(600)
    emulator.add_fault(Fault(action="wrong_counts", count=-1, times=2))
    assert oa.batches.retrieve(batch.id).request_counts.completed == 2
    assert an.messages.batches.retrieve(message_batch.id).request_counts.succeeded == 2


@pytest.mark.parametrize(
    ("action", "ids"),
    [
        ("missing_lines", 3),
        ("duplicate_lines", 5),
        ("stranger_lines", 7),
    ],
)
def test_result_lines_missing_twice_or_of_strangers(emulator: Emulator, oa: OpenAI, action: str, ids: int) -> None:
    batch = submit(oa, deals(5))
    emulator.advance(600)
    file_id = oa.batches.retrieve(batch.id).output_file_id
    emulator.add_fault(Fault(action=action, count=2))
    seen = [one["custom_id"] for one in results(oa, file_id)]
    assert len(set(seen)) == ids
    assert len(seen) == {"missing_lines": 3, "duplicate_lines": 7, "stranger_lines": 7}[action]
    assert len(results(oa, file_id)) == 5


def test_anthropic_results_can_be_mangled_too(emulator: Emulator, an: Anthropic) -> None:
    batch = an.messages.batches.create(requests=entries(5))
    emulator.advance(600)
    emulator.add_fault(Fault(action="missing_lines", count=2))
    assert len(list(an.messages.batches.results(batch.id))) == 3


def test_lines_with_status_zero(emulator: Emulator, oa: OpenAI) -> None:
    batch = submit(oa, deals(3))
    emulator.advance(600)
    done = oa.batches.retrieve(batch.id)
    emulator.add_fault(Fault(action="zero_status", count=2))
    assert [one["response"]["status_code"] for one in results(oa, done.output_file_id)] == [0, 0, 200]
    assert done.request_counts.failed == 0


def test_a_listing_may_show_a_batch_twice(emulator: Emulator, oa: OpenAI, an: Anthropic) -> None:
    batch, message_batch = submit(oa, deals(1)), an.messages.batches.create(requests=entries(1))
    emulator.add_fault(Fault(action="duplicate_listed", times=2))
    assert [one.id for one in oa.batches.list().data] == [batch.id] * 2
    assert [one.id for one in an.messages.batches.list().data] == [message_batch.id] * 2


def test_several_faults_apply_to_one_download(emulator: Emulator, oa: OpenAI) -> None:
    batch = submit(oa, deals(5))
    emulator.advance(600)
    emulator.add_fault(Fault(action="missing_lines", count=1))
    emulator.add_fault(Fault(action="stranger_lines", count=1))
    ids = [one["custom_id"] for one in results(oa, oa.batches.retrieve(batch.id).output_file_id)]
    assert (len(ids), ids[1]) == (5, "stranger-0")
