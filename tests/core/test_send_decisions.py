"""The two pure functions that decide what happens near money."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from msgspec import structs

from batchjobs.decide import Abandon, Adopt, Again, Drop, Hold, Look, Policy, Send, after_look, bounce_until, next_step
from batchjobs.plan import ShardPlan
from batchjobs.shards import Phase, Shard
from providers.contract import Found

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
PLAN = ShardPlan("1-00001", 1, "k", "r", "sha", "p-", 10, 1000, 400, Decimal("0.1"), Decimal("0.4"))
PLANNED = Shard(PLAN)
LOOKS = tuple(NOON + timedelta(minutes=minutes) for minutes in (0, 4, 8, 12))
UNKNOWN = Shard(PLAN, phase=Phase.unknown, sends=1, intent_at=NOON, misses=LOOKS)
POLICY = Policy(now=NOON, grace=timedelta(minutes=15))


def found(ref: str, certain: bool = True) -> Found:
    return Found(ref, NOON, certain)


def test_a_planned_shard_with_room_is_sent():
    assert next_step(PLANNED, POLICY) == Send()


def test_an_unknown_purchase_is_looked_for_and_never_sent():
    generous = replace(POLICY, room_cost=Decimal(1000), rebuy_unknown=True, now=NOON + timedelta(days=9))
    assert next_step(UNKNOWN, generous) == Look()


def test_a_shard_is_held_when_it_could_pass_the_cap():
    step = next_step(PLANNED, replace(POLICY, room_cost=Decimal("0.39")))
    assert isinstance(step, Hold)
    assert step.over_budget


def test_the_cap_may_be_met_exactly():
    assert next_step(PLANNED, replace(POLICY, room_cost=Decimal("0.4"))) == Send()


def test_a_shard_waits_for_room_in_the_queue():
    step = next_step(PLANNED, replace(POLICY, room_tokens=399, queue_idle=False))
    assert isinstance(step, Hold)


def test_a_shard_larger_than_an_empty_queue_is_packed_anew():
    step = next_step(PLANNED, replace(POLICY, room_tokens=399))
    assert isinstance(step, Drop)
    assert step.outcome == "errored"


def test_one_request_larger_than_the_queue_fails_instead_of_looping():
    single = Shard(replace_requests(PLAN, 1))
    step = next_step(single, replace(POLICY, room_tokens=399))
    assert isinstance(step, Drop)
    assert step.outcome == "failed"


def replace_requests(plan: ShardPlan, requests: int) -> ShardPlan:
    return ShardPlan(
        plan.id, 1, "k", "r", "sha", "p-", requests, plan.bytes, plan.tokens, plan.estimated_cost, plan.ceiling_cost
    )


def test_a_cancelled_job_sends_nothing_more():
    assert isinstance(next_step(PLANNED, replace(POLICY, cancelled=True)), Drop)


def test_a_refused_shard_waits_until_its_time_and_then_goes():
    shard = structs.replace(PLANNED, not_before=NOON + timedelta(seconds=60), reason="429")
    assert isinstance(next_step(shard, POLICY), Hold)
    assert next_step(shard, replace(POLICY, now=NOON + timedelta(seconds=60))) == Send()


def test_one_match_is_adopted():
    assert after_look(UNKNOWN, [found("b1")], POLICY) == Adopt("b1", certain=True)


def test_a_certain_match_wins_over_circumstances():
    assert after_look(UNKNOWN, [found("b2", certain=False), found("b1")], POLICY) == Adopt("b1", certain=True)


def test_two_matches_are_reported_and_never_silently_picked():
    held = after_look(UNKNOWN, [found("b1"), found("b2")], replace(POLICY, rebuy_unknown=True))
    assert isinstance(held, Hold)
    assert held.needs_person
    assert "b1" in held.reason
    assert "b2" in held.reason


def test_within_the_grace_period_nothing_is_given_up_even_when_told():
    assert isinstance(after_look(UNKNOWN, [], replace(POLICY, rebuy_unknown=True)), Hold)


def test_it_is_said_until_when_the_provider_is_asked():
    held = after_look(Shard(PLAN, phase=Phase.unknown, sends=1, intent_at=NOON, misses=(NOON,)), [], POLICY)
    assert held == Hold("unknown purchase: asking the provider until 12:15 UTC")


def test_past_the_grace_period_it_is_held_for_a_person():
    late = replace(POLICY, now=NOON + timedelta(minutes=16))
    held = after_look(UNKNOWN, [], late)
    assert isinstance(held, Hold)
    assert held.needs_person


def test_past_the_grace_period_and_only_when_told_it_is_abandoned():
    late = replace(POLICY, now=NOON + timedelta(minutes=16), rebuy_unknown=True)
    assert after_look(UNKNOWN, [], late) == Abandon()


def test_a_clock_that_says_that_the_grace_period_is_over_is_not_enough():
    tomorrow = replace(POLICY, now=NOON + timedelta(days=1), rebuy_unknown=True)
    assert isinstance(after_look(structs.replace(UNKNOWN, misses=LOOKS[:1]), [], tomorrow), Hold)


def test_a_wait_that_no_refusal_can_have_asked_for_is_not_believed():
    yesterday = replace(POLICY, now=NOON - timedelta(days=1))
    assert next_step(structs.replace(PLANNED, not_before=NOON, reason="429"), yesterday) == Send()


def test_a_provider_that_buys_a_tag_once_is_asked_again_at_once():
    assert after_look(UNKNOWN, [], replace(POLICY, idempotent=True)) == Again()


def test_what_was_found_is_adopted_rather_than_repeated():
    assert after_look(UNKNOWN, [found("b1")], replace(POLICY, idempotent=True)) == Adopt("b1", certain=True)


def test_a_cancelled_job_repeats_no_purchase():
    assert isinstance(after_look(UNKNOWN, [], replace(POLICY, idempotent=True, cancelled=True)), Hold)


def test_how_long_a_token_is_remembered_is_not_known_so_past_the_grace_period_it_is_for_a_person():
    late = replace(POLICY, idempotent=True, grace=timedelta(0))
    held = after_look(UNKNOWN, [], late)
    assert isinstance(held, Hold)
    assert held.needs_person


def test_a_shard_smaller_than_the_provider_takes_is_never_bought():
    step = next_step(PLANNED, replace(POLICY, requests_min=PLAN.requests + 1))
    assert isinstance(step, Drop)
    assert (step.outcome, step.code) == ("failed", "too_few_requests")
    assert next_step(PLANNED, replace(POLICY, requests_min=PLAN.requests)) == Send()


def test_waiting_after_refusals_doubles_and_is_bounded():
    waits = [(bounce_until(NOON, n, None) - NOON).total_seconds() for n in (0, 1, 2, 20)]
    assert waits == [60, 120, 240, 3600]


def test_a_huge_retry_after_is_bounded():
    assert bounce_until(NOON, 0, 1e9) == NOON + timedelta(hours=1)
