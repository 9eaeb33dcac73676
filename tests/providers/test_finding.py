"""The contract, finding a purchase whose answer was lost (RELIABILITY §4.1, §5 rows 6 and 7; PROVIDERS §8)."""

from datetime import timedelta
from typing import Any

import pytest

from providers.contract import OutcomeUnknown, ShardFile, Unavailable
from tests.providers.bench import DAY_S, LIST, Bench
from tests.providers.kit import AZURE, BEDROCK, CASES, CLIENTS, GROQ, SENT

pytestmark = pytest.mark.contract("found by tag, also behind a lagging list")

OPENAI, _, ANTHROPIC = CASES
sent_only = pytest.mark.parametrize("case", SENT, ids="-".join)
by_tag = pytest.mark.parametrize("case", [OPENAI, BEDROCK, AZURE, GROQ], ids="-".join)
openai_only = pytest.mark.parametrize("case", CASES[:1], ids="-".join)
anthropic_only = pytest.mark.parametrize("case", [ANTHROPIC], ids="-".join)


@pytest.fixture(params=CLIENTS, ids="-".join)
def case(request: pytest.FixtureRequest) -> tuple[str, str]:
    chosen: tuple[str, str] = request.param
    return chosen


def lose(bench: Bench, shard: ShardFile, send: int = 1) -> str:
    """Buy a shard without hearing of it; returns the batch's id, which only the emulator knows."""
    bench.fault("accept_then_drop")
    with pytest.raises(OutcomeUnknown):
        bench.buy(shard, bench.tag(send))
    return bench.ref_of(bench.batches[-1])


def test_a_lost_purchase_is_found(bench: Bench) -> None:
    shard = bench.shard()
    ref = lose(bench, shard)
    (found,) = bench.find(shard)
    assert found.ref == ref
    assert found.created_at >= bench.began - timedelta(seconds=1)


def test_nothing_is_found_where_nothing_was_bought(bench: Bench) -> None:
    assert bench.find(bench.shard()) == []


@by_tag
def test_what_comes_back_with_a_tag_is_certain(bench: Bench) -> None:
    shard = bench.shard()
    ref = lose(bench, shard)
    assert [(found.ref, found.certain) for found in bench.find(shard)] == [(ref, True)]


@by_tag
def test_tags_are_told_apart(bench: Bench) -> None:
    """Another send of the shard, another shard of the same size: neither is this purchase."""
    first, other = bench.shard(), bench.shard(name="1-00002")
    bench.buy(other, bench.tag(1, "1-00002"))
    bench.buy(first, bench.tag(2))
    assert bench.find(first, send=1) == []


def test_two_purchases_of_one_shard_are_both_found(bench: Bench) -> None:
    """RELIABILITY §5, fault 7: the caller must see both."""
    shard = bench.shard()
    refs = {bench.buy(shard), bench.buy(shard)}
    assert {found.ref for found in bench.find(shard)} == refs


def test_a_purchase_before_the_time_asked_for_is_not_found(bench: Bench) -> None:
    shard = bench.shard()
    bench.buy(shard)
    assert bench.find(shard, since=bench.later(hours=1)) == []


def test_clocks_that_disagree_by_minutes_do_not_hide_a_purchase(bench: Bench) -> None:
    shard = bench.shard()
    ref = bench.buy(shard)
    assert [found.ref for found in bench.find(shard, since=bench.later(minutes=8))] == [ref]


@sent_only
def test_a_purchase_is_found_behind_a_page_of_others(bench: Bench) -> None:
    """RELIABILITY §5, fault 6: lists come in pages of a hundred, newest first (PROVIDERS §1.1)."""
    shard = bench.shard()
    ref = bench.buy(shard)
    for n in range(101):
        bench.emulator.advance(1)
        small = bench.shard(requests=1, name=f"2-{n:05}")
        bench.provider.create(small, bench.provider.stage(small) if n == 0 else "file-none", bench.tag(1, f"2-{n:05}"))
    assert [found.ref for found in bench.find(shard)] == [ref]


@pytest.mark.parametrize("case", [OPENAI, ANTHROPIC], ids="-".join)  # others may list them in any order
def test_paging_stops_at_batches_that_are_too_old(bench: Bench) -> None:
    for n in range(101):
        small = bench.shard(requests=1, name=f"2-{n:05}")
        bench.provider.create(small, "file-none", bench.tag(1, f"2-{n:05}"))
    bench.find(bench.shard(), since=bench.later(days=1))
    lists = [one for one in bench.requests if f"{one.method} {one.path}" == LIST[bench.name]]
    assert len(lists) == 1


def test_a_list_that_lags_shows_the_purchase_later(bench: Bench) -> None:
    """RELIABILITY E2: not in the list is no proof of not bought, within the grace period."""
    bench.fault("list_lag", seconds=120.0)
    shard = bench.shard()
    ref = lose(bench, shard)
    assert bench.find(shard) == []
    assert bench.provider.format.limits.grace_s > 120
    bench.emulator.advance(121)
    assert [found.ref for found in bench.find(shard)] == [ref]


def test_a_passing_failure_of_the_list_is_tried_again(bench: Bench) -> None:
    shard = bench.shard()
    ref = bench.buy(shard)
    bench.fault("status", LIST[bench.name], status=503, times=2)
    assert [found.ref for found in bench.find(shard)] == [ref]
    assert len(bench.slept) == 2


def test_a_list_that_cannot_be_read_is_not_an_empty_one(bench: Bench) -> None:
    shard = bench.shard()
    bench.buy(shard)
    bench.fault("status", LIST[bench.name], status=500, times=0)
    with pytest.raises(Unavailable):
        bench.find(shard)


def test_a_garbled_list_is_not_an_empty_one(bench: Bench) -> None:
    bench.fault("status", LIST[bench.name], status=200, body="<html>hello</html>", times=0)
    with pytest.raises(Unavailable):
        bench.find(bench.shard())


@anthropic_only
def test_anthropic_is_not_certain_before_the_end(bench: Bench) -> None:
    """PROVIDERS §2.1: no label comes back; time and size are circumstances."""
    shard = bench.shard()
    ref = lose(bench, shard)
    assert [(found.ref, found.certain) for found in bench.find(shard)] == [(ref, False)]


@anthropic_only
def test_anthropic_is_certain_when_the_results_hold_our_ids(bench: Bench) -> None:
    """PROVIDERS §2.1"""
    shard = bench.shard()
    ref = lose(bench, shard)
    bench.emulator.advance(700)
    assert [(found.ref, found.certain) for found in bench.find(shard)] == [(ref, True)]


@anthropic_only
def test_an_ended_batch_of_the_same_size_with_other_ids_is_not_ours(bench: Bench) -> None:
    other = bench.shard(name="1-00002")
    bench.buy(other)
    assert len(bench.find(bench.shard())) == 1
    bench.emulator.advance(700)
    assert bench.find(bench.shard()) == []


@anthropic_only
def test_a_batch_of_another_size_is_not_ours(bench: Bench) -> None:
    bench.buy(bench.shard(requests=6, name="1-00002"))
    assert bench.find(bench.shard(requests=5)) == []


def test_a_provider_whose_clock_runs_far_ahead_does_not_hide_a_purchase(bench: Bench) -> None:
    """Leaving it out could buy it again; letting in too much only shows later."""
    bench.emulator.advance(DAY_S)
    shard = bench.shard()
    ref = lose(bench, shard)
    assert [found.ref for found in bench.find(shard)] == [ref]


@anthropic_only
def test_strangers_among_the_results_do_not_hide_our_ids(bench: Bench) -> None:
    shard = bench.shard()
    ref = bench.buy(shard)
    bench.emulator.advance(700)
    bench.fault("stranger_lines", bench.results_route(), count=2, times=0)
    assert [(found.ref, found.certain) for found in bench.find(shard)] == [(ref, True)]


@anthropic_only
@pytest.mark.parametrize("how", [{"action": "status", "status": 500}, {"action": "not_found"}])
def test_results_that_cannot_be_read_leave_it_open(bench: Bench, how: dict[str, Any]) -> None:
    """PROVIDERS §2.9: results can be 404 after the end."""
    shard = bench.shard()
    ref = bench.buy(shard)
    bench.emulator.advance(700)
    bench.fault(route=bench.results_route(), times=0, **how)
    assert [(found.ref, found.certain) for found in bench.find(shard)] == [(ref, False)]


@by_tag
def test_a_batch_that_was_rejected_is_found_too(bench: Bench) -> None:
    """It was our purchase, even if it came to nothing."""
    bench.fault("reject", code="token_limit_exceeded")
    shard = bench.shard()
    ref = lose(bench, shard)
    bench.emulator.advance(700)
    assert [found.ref for found in bench.find(shard)] == [ref]
