"""The contract, fetching what was paid for: whole, partial, cut, twice, or gone (RELIABILITY §5 rows 9 and 10)."""

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from providers.contract import Gone, Unavailable
from providers.emulator import Rates
from tests.providers.bench import DAY_S, Bench
from tests.providers.kit import AZURE, CASES, CLIENTS, COMPATIBLE, GROQ, WIRED

pytestmark = pytest.mark.contract("every answer read")

OPENAI, _, ANTHROPIC = CASES
sent_only = pytest.mark.parametrize("case", WIRED, ids="-".join)
stopping_only = pytest.mark.parametrize("case", [case for case in WIRED if case != COMPATIBLE], ids="-".join)
expiring_only = pytest.mark.parametrize("case", [case for case in WIRED if case != AZURE], ids="-".join)
each_client = pytest.mark.parametrize("case", CLIENTS, ids="-".join)
openai_only = pytest.mark.parametrize("case", CASES[:2], ids="-".join)
anthropic_only = pytest.mark.parametrize("case", [ANTHROPIC], ids="-".join)


def ids(bench: Bench, ref: str) -> Counter[str]:
    return Counter(reply.custom_id for reply in bench.replies(ref))


def expected_ids(count: int) -> Counter[str]:
    return Counter(f"job8aaaa-1-00001-{n:04}" for n in range(count))


def test_every_request_has_its_answer(bench: Bench) -> None:
    ref = bench.finished(bench.shard(requests=20))
    replies = bench.replies(ref)
    assert Counter(reply.custom_id for reply in replies) == expected_ids(20)
    assert all(json.loads(reply.text)["mood"] in ("good", "bad") for reply in replies)
    assert all(reply.usage.input_tokens and reply.usage.output_tokens for reply in replies)


def test_fetching_again_gives_the_same_bytes(bench: Bench) -> None:
    ref = bench.finished()
    assert bench.files(ref) == bench.files(ref)


def test_usage_agrees_with_the_bill(bench: Bench) -> None:
    """PROVIDERS §2.6"""
    ref = bench.finished()
    usages = [reply.usage for reply in bench.replies(ref)]
    bill = bench.charges
    assert sum(u.input_tokens for u in usages) == sum(charge.input_tokens for charge in bill)
    assert sum(u.output_tokens for u in usages) == sum(charge.output_tokens for charge in bill)


def test_each_fate_has_its_outcome(case: tuple[str, str], make_bench: Callable[..., Bench]) -> None:
    """PROVIDERS §1.4, §2.4, end to end; answers that do not fit the schema are for the collector to find."""
    share = 0.18
    rates = Rates(transient=share, permanent=share, truncated=share, refused=share)
    bench = make_bench(case, rates=rates)
    ref = bench.finished(bench.shard(requests=60))
    assert set(bench.outcomes(ref)) == {"succeeded", "truncated", "refused", "failed", "errored"}
    assert ids(bench, ref) == expected_ids(60)


@pytest.mark.parametrize("case", [*CASES[:2], AZURE, GROQ, COMPATIBLE], ids="-".join)
def test_successes_and_failures_come_in_two_files(case: tuple[str, str], make_bench: Callable[..., Bench]) -> None:
    """PROVIDERS §1.4"""
    bench = make_bench(case, rates=Rates(permanent=0.5))
    files = bench.files(bench.finished(bench.shard(requests=20)))
    assert list(files) == ["output", "error"]
    assert {bench.provider.format.decode(line).outcome for line in files["error"].split(b"\n") if line} == {"failed"}


@pytest.mark.contract("partial results read")
@openai_only
def test_where_all_failed_there_is_only_the_error_file(bench: Bench) -> None:
    """PROVIDERS §1.3, §1.9: the batch is `completed` and has no output file."""
    bench.fault("all_fail")
    ref = bench.finished()
    assert list(bench.files(ref)) == ["error"]
    assert len(bench.replies(ref)) == 5


@pytest.mark.contract("partial results read")
@openai_only
def test_an_empty_file_id_is_no_file(bench: Bench) -> None:
    """PROVIDERS §1.3: "" is seen live."""
    bench.fault("empty_error_file_id")
    assert list(bench.files(bench.finished())) == ["output"]


@pytest.mark.contract("partial results read")
@expiring_only
def test_an_expired_batch_gives_what_was_done(bench: Bench) -> None:
    """PROVIDERS §1.3, §2.3: it is paid; peers leave it lying (PEERS §4)."""
    bench.fault("expire", fraction=0.4)
    ref = bench.finished(bench.shard(requests=10))
    assert bench.outcomes(ref) == ["expired"] * 6 + ["succeeded"] * 4
    assert ids(bench, ref) == expected_ids(10)


@pytest.mark.contract("partial results read")
@stopping_only
def test_a_cancelled_batch_gives_what_was_done(bench: Bench) -> None:
    """PROVIDERS §2.9"""
    ref = bench.buy(bench.shard(requests=10))
    bench.emulator.advance(300)
    bench.provider.cancel(ref)
    bench.emulator.advance(DAY_S)
    assert set(bench.outcomes(ref)) == {"succeeded", "cancelled"}
    assert ids(bench, ref) == expected_ids(10)


@pytest.mark.contract("partial results read")
@openai_only
def test_a_cancelled_batch_may_be_silent_about_the_rest(bench: Bench) -> None:
    """PROVIDERS §1.4: cancelled requests may be in no file at all; whoever counts notices."""
    bench.fault("cancelled_absent")
    ref = bench.buy(bench.shard(requests=10))
    bench.emulator.advance(300)
    bench.provider.cancel(ref)
    bench.emulator.advance(DAY_S)
    assert set(bench.outcomes(ref)) == {"succeeded"}
    assert 0 < len(bench.replies(ref)) < 10


@pytest.mark.parametrize("case", [*CASES[:2], AZURE, GROQ, COMPATIBLE], ids="-".join)
def test_a_rejected_batch_gives_its_own_document(bench: Bench) -> None:
    """The validation errors are in nothing else."""
    bench.fault("reject", code="invalid_json_line")
    ref = bench.finished()
    files = bench.files(ref)
    assert list(files) == ["batch"]
    assert json.loads(files["batch"])["errors"]


@pytest.mark.contract("results gone or not there yet")
def test_results_before_the_end_are_not_there_yet(bench: Bench) -> None:
    ref = bench.buy()
    with pytest.raises(Unavailable, match="has not ended"):
        bench.files(ref)


@pytest.mark.contract("short download noticed")
@sent_only
@pytest.mark.parametrize("framing", ["chunked", "length"])
def test_a_download_that_breaks_off_is_an_error(bench: Bench, framing: str) -> None:
    """PROVIDERS §0.3: the transport's own exception, raised in the middle of the stream (PROVIDERS §2.9)."""
    ref = bench.finished()
    bench.fault("cut", bench.results_route(), framing=framing, after=1_000)
    with pytest.raises(Unavailable):
        bench.files(ref)
    assert ids(bench, ref) == expected_ids(5)


@pytest.mark.contract("short download noticed")
@sent_only
@pytest.mark.parametrize("at", ["byte", "line", "mid"])
def test_a_download_that_ends_early_without_a_word_arrives_as_sent(bench: Bench, at: str) -> None:
    """PROVIDERS §0.3: no error tells of it, so the caller counts; the bytes are the beginning of the file."""
    ref = bench.finished()
    bench.fault("cut", bench.results_route(), framing="close", after=1_500, at=at)
    short, whole = bench.files(ref)["output"], bench.files(ref)["output"]
    assert 0 < len(short) < len(whole)
    assert whole.startswith(short)


@pytest.mark.contract("stranger, twin, missing")
@pytest.mark.parametrize(("action", "change"), [("missing_lines", -1), ("duplicate_lines", 1), ("stranger_lines", 1)])
def test_lines_too_few_or_too_many_arrive_as_sent(bench: Bench, action: str, change: int) -> None:
    """RELIABILITY §5, fault 9: twins and strangers are read like any other line; the collector sorts them out."""
    bench.fault(action, bench.results_route())
    ref = bench.finished()
    assert sum(ids(bench, ref).values()) == 5 + change


@pytest.mark.contract("stranger, twin, missing")
def test_counts_that_disagree_with_the_files_change_nothing(bench: Bench) -> None:
    ref = bench.finished()
    bench.fault("wrong_counts", bench.batch_route("GET"), count=2, times=0)
    assert ids(bench, ref) == expected_ids(5)


@pytest.mark.contract("short download noticed")
@sent_only
@pytest.mark.parametrize("how", [{"action": "status", "status": 503}, {"action": "drop_before"}])
def test_a_download_that_does_not_begin_is_an_error(bench: Bench, how: dict[str, Any]) -> None:
    ref = bench.finished()
    bench.fault(route=bench.results_route(), **how)
    with pytest.raises(Unavailable):
        bench.files(ref)


@pytest.mark.contract("results gone or not there yet")
@sent_only
def test_results_that_are_404_in_passing_are_not_gone(bench: Bench) -> None:
    """PROVIDERS §2.9: results of a batch that has ended can be unknown for a moment."""
    ref = bench.finished()
    bench.fault("not_found", bench.results_route())
    with pytest.raises(Unavailable) as caught:
        bench.files(ref)
    assert caught.value.kind == "absent"
    assert len(bench.replies(ref)) == 5


@pytest.mark.contract("results gone or not there yet")
@sent_only
def test_results_the_provider_keeps_no_longer_are_gone(bench: Bench) -> None:
    """PROVIDERS §1.2, §2.2: 30 days after the end, 29 days after creation."""
    ref = bench.buy()
    bench.emulator.advance(bench.provider.format.limits.retention_s - DAY_S)
    assert len(bench.replies(ref)) == 5
    bench.emulator.advance(2 * DAY_S)
    with pytest.raises(Gone):
        bench.files(ref)


@pytest.mark.contract("results gone or not there yet")
@pytest.mark.parametrize("case", [*CASES[:2], AZURE, GROQ], ids="-".join)
def test_a_deleted_file_is_gone(bench: Bench) -> None:
    ref = bench.finished()
    client: Any = bench.provider
    file_id = client.client.batches.retrieve(ref).output_file_id
    client.client.files.delete(file_id)
    with pytest.raises(Gone, match=file_id):
        bench.files(ref)


@pytest.mark.contract("results streamed in pieces")
@each_client
def test_a_large_result_is_streamed_in_pieces(bench: Bench) -> None:
    ref = bench.finished(bench.shard(requests=2_500))
    sizes = [len(chunk) for raw in bench.provider.raw(ref) for chunk in raw.chunks]
    assert len(sizes) > 1
    assert max(sizes) <= 1_048_576


@pytest.mark.contract("results streamed in pieces")
@each_client
def test_a_stream_may_be_left_halfway(bench: Bench) -> None:
    ref = bench.finished(bench.shard(requests=2_500))
    (raw, *_) = bench.provider.raw(ref)
    assert next(raw.chunks)
    del raw
    assert len(bench.replies(ref)) == 2_500
