"""The contract, at its edges: why an answer stopped, and what fits into a batch to the byte and to the request."""

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from batchjobs.pack import Packer, Pricing, shard_limits
from batchjobs.prices import FREE
from batchjobs.render import Reject, Renderer, Requests
from providers.contract import Outcome
from storage.inputs import Line
from tests.providers.kit import (
    BEDROCK,
    CASES,
    CONVERSE,
    answer_line,
    chat_choice,
    claude,
    converse,
    each_format,
    format_of,
    message_line,
    openai_line,
    record_line,
    template,
)
from tests.small_task import TASK

CUT = {CASES[2]: "max_tokens", BEDROCK: "max_tokens", CONVERSE: "max_tokens"}
DECLINED = {CASES[2]: "refusal", BEDROCK: "refusal", CONVERSE: "content_filtered"}


def stopped(case: tuple[str, str], reason: str) -> bytes:
    """A result line whose answer ended for a reason, in the provider's own shape."""
    if case == CASES[1]:
        return answer_line("incomplete", incomplete_details={"reason": reason})
    if case == CASES[2]:
        return message_line(reason)
    if case == BEDROCK:
        return record_line(claude(reason))
    if case == CONVERSE:
        return record_line(converse(reason))
    return openai_line(**chat_choice(finish_reason=reason))


@pytest.mark.contract("stop reasons")
@each_format
def test_an_answer_that_was_cut_is_truncated_and_kept(case: tuple[str, str]) -> None:
    reason = CUT.get(case, "max_output_tokens" if case == CASES[1] else "length")
    reply = format_of(case).decode(stopped(case, reason))
    assert (reply.outcome, bool(reply.text)) == (Outcome.truncated, True)


@pytest.mark.contract("stop reasons")
@each_format
def test_an_answer_that_was_declined_is_refused(case: tuple[str, str]) -> None:
    reason = DECLINED.get(case, "content_filter")
    assert format_of(case).decode(stopped(case, reason)).outcome is Outcome.refused


@pytest.mark.contract("stop reasons")
@each_format
def test_an_unheard_of_reason_drops_no_answer(case: tuple[str, str]) -> None:
    if case == CASES[1]:
        reply = format_of(case).decode(answer_line())
    else:
        reply = format_of(case).decode(stopped(case, "a_reason_of_tomorrow"))
    assert reply.outcome is Outcome.succeeded


class Nowhere:
    """A store that keeps nothing."""

    def create_from(self, key: str, path: Path) -> None:
        assert (key, path.exists()) != ("", False)


def packed(case: tuple[str, str], folder: Path, bodies: list[bytes], **limits: int) -> list[tuple[int, int]]:
    """Requests and bytes of the shards that bodies come to under limits."""
    made = format_of(case)
    made.limits = replace(made.limits, **limits)
    packer = Packer(
        store=Nowhere(),
        format=made,
        job="20261120-verdict-ab12cd34",
        short="ab12cd34",
        attempt=1,
        limits=shard_limits(made, None, None, None),
        pricing=Pricing(FREE, 100),
        spool=folder,
        names=(f"1-{n:05d}" for n in itertools.count(1)),
    )
    packer.add(
        Requests.of([(number, f"i{number}", f"{number:064x}", body, "{}") for number, body in enumerate(bodies)])
    )
    packer.close()
    return [(shard.requests, shard.bytes) for shard in packer.shards]


@pytest.mark.contract("limits to the byte")
@each_format
def test_a_batch_holds_as_many_requests_as_the_provider_takes_and_not_one_more(
    case: tuple[str, str], tmp_path: Path
) -> None:
    found = packed(case, tmp_path, [b"{}"] * 11, requests=5, requests_min=1)
    assert [requests for requests, _ in found] == [5, 5, 1]


@pytest.mark.contract("limits to the byte")
@each_format
def test_a_batch_never_holds_more_bytes_than_the_provider_takes(case: tuple[str, str], tmp_path: Path) -> None:
    most = 20_000
    found = packed(
        case, tmp_path, [b'"' + b"x" * size + b'"' for size in range(1, 4_000, 97)], bytes=most, requests_min=1
    )
    assert sum(requests for requests, _ in found) == 42
    assert max(size for _, size in found) <= most
    assert min(size for _, size in found[:-1]) > most * 0.6


@pytest.mark.contract("limits to the byte")
@each_format
def test_a_request_of_the_largest_size_is_taken_and_one_byte_more_is_a_reject(case: tuple[str, str]) -> None:
    made, line = format_of(case), Line(1, b'{"doc_id":"d","text":"words"}', "")

    def rendered(most: int) -> Any:
        made.limits = replace(made.limits, line_bytes=most)
        return Renderer(TASK, template(case), made, "host", case[1], 10_000, b"").render(line)

    whole = rendered(10**9)
    _, _, _, body, _ = whole
    assert rendered(len(body)) == whole
    tight = rendered(len(body) - 1)
    assert isinstance(tight, Reject)
    assert tight.reason == "too_large"
