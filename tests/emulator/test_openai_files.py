from collections.abc import Callable

import openai
import pytest
from openai import OpenAI

from providers.emulator import Emulator
from tests.emulator.support import deals, line, upload

DAY = 86_400


def test_an_uploaded_file_is_processed_and_kept_thirty_days(oa: OpenAI) -> None:
    stored = oa.files.create(file=("shard.jsonl", deals(2)), purpose="batch")
    assert (stored.status, stored.bytes, stored.purpose) == ("processed", len(deals(2)), "batch")
    assert stored.expires_at == stored.created_at + 30 * DAY
    assert oa.files.retrieve(stored.id) == stored


def test_a_file_comes_back_as_it_went(oa: OpenAI) -> None:
    content = oa.files.content(upload(oa, deals(2)))
    assert content.content == deals(2)
    assert content.response.headers["content-type"] == "application/octet-stream"
    assert content.response.headers["content-disposition"] == 'attachment; filename="shard.jsonl"'
    assert "content-length" not in content.response.headers


@pytest.mark.parametrize(
    ("name", "content"),
    [("shard.json", deals(1)), ("shard.jsonl", b""), ("shard.jsonl", b"not json\n"), ("shard.jsonl", b"\n" + deals(1))],
)
def test_what_is_no_jsonl_is_refused_at_upload(oa: OpenAI, name: str, content: bytes) -> None:
    with pytest.raises(openai.BadRequestError, match=r"Invalid file format for Batch API. Must be .jsonl"):
        oa.files.create(file=(name, content), purpose="batch")


def test_a_malformed_later_line_is_accepted_at_upload(oa: OpenAI) -> None:
    assert upload(oa, deals(1) + b"not json\n")


def test_a_file_over_the_limit_is_too_large(
    emulate: Callable[..., Emulator], openai_for: Callable[..., OpenAI]
) -> None:
    with pytest.raises(openai.APIStatusError) as refused:
        upload(openai_for(emulate(file_bytes=1_000)), deals(3))
    assert refused.value.status_code == 413


def test_the_shelf_life_of_a_file_can_be_chosen(emulator: Emulator, oa: OpenAI) -> None:
    kept = {"anchor": "created_at", "seconds": 3_600}
    stored = oa.files.create(file=("a.jsonl", deals(1)), purpose="batch", expires_after=kept)
    assert stored.expires_at == stored.created_at + 3_600
    emulator.advance(3_600)
    with pytest.raises(openai.NotFoundError):
        oa.files.content(stored.id)


@pytest.mark.parametrize("seconds", [3_599, 2_592_001])
def test_a_shelf_life_out_of_range_is_refused(oa: OpenAI, seconds: int) -> None:
    kept = {"anchor": "created_at", "seconds": seconds}
    with pytest.raises(openai.BadRequestError):
        oa.files.create(file=("a.jsonl", deals(1)), purpose="batch", expires_after=kept)


def test_a_deleted_file_is_gone(oa: OpenAI) -> None:
    file_id = upload(oa, deals(1))
    assert oa.files.delete(file_id).deleted
    with pytest.raises(openai.NotFoundError, match="No such File object"):
        oa.files.retrieve(file_id)


def test_files_are_listed_newest_first_page_by_page(oa: OpenAI) -> None:
    ids = [upload(oa, deals(1)) for _ in range(5)]
    assert [one.id for one in oa.files.list(limit=2)] == ids[::-1]
    assert [one.id for one in oa.files.list(order="asc", purpose="batch")] == ids
    assert list(oa.files.list(purpose="vision")) == []


def test_a_file_can_be_uploaded_in_parts(oa: OpenAI) -> None:
    content = deals(3)
    begun = oa.uploads.create(bytes=len(content), filename="a.jsonl", mime_type="application/jsonl", purpose="batch")
    parts = [oa.uploads.parts.create(begun.id, data=piece).id for piece in (content[:500], content[500:])]
    done = oa.uploads.complete(begun.id, part_ids=parts)
    assert done.status == "completed"
    assert done.file is not None
    assert oa.files.content(done.file.id).content == content


def test_an_upload_of_other_length_than_promised_is_refused(oa: OpenAI) -> None:
    begun = oa.uploads.create(bytes=9, filename="a.jsonl", mime_type="application/jsonl", purpose="batch")
    part = oa.uploads.parts.create(begun.id, data=deals(1)).id
    with pytest.raises(openai.BadRequestError, match="number of bytes"):
        oa.uploads.complete(begun.id, part_ids=[part])


def test_an_upload_expires_after_an_hour(emulator: Emulator, oa: OpenAI) -> None:
    begun = oa.uploads.create(bytes=9, filename="a.jsonl", mime_type="application/jsonl", purpose="batch")
    emulator.advance(3_600)
    with pytest.raises(openai.BadRequestError, match="expired"):
        oa.uploads.complete(begun.id, part_ids=[])


def test_a_cancelled_upload_takes_no_more_parts(oa: OpenAI) -> None:
    begun = oa.uploads.create(bytes=9, filename="a.jsonl", mime_type="application/jsonl", purpose="batch")
    assert oa.uploads.cancel(begun.id).status == "cancelled"
    with pytest.raises(openai.BadRequestError, match="cancelled"):
        oa.uploads.parts.create(begun.id, data=b"x")


def test_a_line_without_a_final_newline_is_still_a_line(emulator: Emulator, oa: OpenAI) -> None:
    file_id = upload(oa, (deals(1) + line("last", {"model": "gpt-4o-mini", "messages": [{"role": "user"}]})).rstrip())
    batch = oa.batches.create(input_file_id=file_id, endpoint="/v1/chat/completions", completion_window="24h")
    emulator.advance(600)
    counts = oa.batches.retrieve(batch.id).request_counts
    assert counts is not None
    assert counts.total == 2
