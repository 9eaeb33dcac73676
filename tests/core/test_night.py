"""Whole nights against the emulator: what is promised to a person, checked against its charge book."""

from collections.abc import Callable

import pytest

from batchjobs.errors import OverBudget, UsageError
from batchjobs.rounds import one_pass
from providers.emulator import Fault, Rates
from tests.world import World, documents

MakeWorld = Callable[..., World]


def paid_once(world: World) -> bool:
    return max(world.billed().values(), default=0) <= 1


def test_every_item_is_answered_and_paid_once(world: World):
    job = world.run(world.write(documents(30)))
    assert (job.state, job.succeeded, job.failed) == ("finished", 30, 0)
    assert len(world.emulator.charges) == 30
    assert paid_once(world)


def test_the_answers_are_in_duckdb_typed_and_complete(world: World):
    world.run(world.write(documents(30)))
    assert world.sql("SELECT count(*), count(label), min(score) >= 0, sum(characters) > 0 FROM label") == [
        (30, 30, True, True)
    ]


def test_the_booked_cost_is_what_the_charge_book_says(world: World):
    job = world.run(world.write(documents(30)))
    charged = sum(c.input_tokens for c in world.emulator.charges)
    [(booked, cost)] = world.sql("SELECT sum(input_tokens), sum(cost_usd) FROM attempts")
    assert booked == charged
    assert cost == job.cost


def test_the_same_command_again_sends_nothing(world: World):
    source = world.write(documents(30))
    first = world.run(source)
    assert world.run(source).id == first.id
    assert len(world.emulator.batches) == 1


def test_the_next_night_reuses_what_has_not_changed(world: World):
    world.run(world.write(documents(30)))
    world.emulator.advance(86_400)
    job = world.run(world.write(documents(33)))
    assert (job.plan.reused, job.plan.requests, job.succeeded) == (30, 3, 33)
    assert paid_once(world)


def test_a_job_of_yesterday_that_is_not_finished_is_taken_up_again(world: World):
    source = world.write(documents(5))
    yesterday = world.send(source)
    world.emulator.advance(7 * 3600)
    world.emulator.advance(20 * 3600)
    assert world.run(source).id == yesterday.id
    assert paid_once(world)


def test_items_in_flight_in_another_job_are_awaited_not_bought(world: World):
    first = world.send(world.write(documents(5)))
    second = world.run(world.write(documents(8), "more.jsonl"))
    assert second.plan.carried == 5
    assert (second.succeeded, second.in_flight) == (8, 0)
    assert world.job(first.id).finished
    assert paid_once(world)


def test_equal_requests_are_bought_once(world: World):
    twins = [{"doc_id": f"twin-{n}", "text": "the same text"} for n in range(4)]
    job = world.run(world.write(twins))
    assert (job.plan.requests, job.succeeded, len(world.emulator.charges)) == (1, 4, 1)
    assert world.sql("SELECT count(DISTINCT doc_id) FROM label") == [(4,)]


def test_bad_lines_are_named_and_the_rest_goes_on(world: World):
    lines = [*documents(3), b"not json", {"doc_id": "x"}, b'{"doc_id": 5, "text": null}', *documents(1)]
    job = world.run(world.write(lines))
    assert (job.succeeded, job.plan.rejected, job.plan.duplicates) == (3, 3, 1)
    assert world.sql("SELECT line, reason FROM rejects ORDER BY line") == [
        (4, "not_json"),
        (5, "does_not_fit"),
        (6, "does_not_fit"),
        (7, "duplicate_id"),
    ]


def test_strict_stops_before_anything_is_bought(world: World):
    with pytest.raises(UsageError, match="line 4"):
        world.accept(world.write([*documents(3), b"not json"]), strict=True)
    assert not world.emulator.requests


def test_an_empty_input_is_a_finished_job(world: World):
    job = world.run(world.write([]))
    assert (job.state, job.plan.items) == ("finished", 0)


def test_transient_failures_are_bought_again_and_permanent_ones_are_dead_letters(make_world: MakeWorld, provider: str):
    world = make_world(provider, rates=Rates(transient=0.2, permanent=0.1))
    job = world.run(world.write(documents(100)))
    assert job.failed > 0
    assert job.succeeded == 100 - job.failed
    assert world.sql("SELECT count(*) FROM dead_letters") == [(job.failed,)]
    assert paid_once(world)


def test_a_truncated_answer_gets_a_larger_limit_and_an_invalid_one_is_asked_again(make_world: MakeWorld, provider: str):
    world = make_world(provider, rates=Rates(truncated=0.1, invalid=0.1))
    job = world.run(world.write(documents(60)))
    assert job.succeeded == 60
    outcomes = dict(world.sql("SELECT outcome, count(*) FROM attempts GROUP BY 1"))
    assert outcomes["truncated"] > 0
    assert outcomes["invalid"] > 0


def test_after_the_last_attempt_an_item_is_a_dead_letter_with_its_reason(make_world: MakeWorld, provider: str):
    world = make_world(provider, rates=Rates(invalid=1.0))
    job = world.run(world.write(documents(4)), max_attempts=2)
    assert (job.failed, job.succeeded) == (4, 0)
    assert world.sql("SELECT DISTINCT outcome, attempt FROM attempts ORDER BY 2") == [("invalid", 1), ("invalid", 2)]


def test_shards_respect_the_size_a_person_sets(world: World):
    job = world.run(world.write(documents(25)), shard_requests=10)
    assert [shard.plan.requests for shard in job.shards] == [10, 10, 5]
    assert job.succeeded == 25


def test_a_job_over_the_cap_is_refused_before_anything_is_bought(world: World):
    with pytest.raises(OverBudget, match="nothing was bought"):
        world.accept(world.write(documents(25)), max_cost="0.000001")
    assert not world.emulator.requests


def test_a_cancelled_job_keeps_what_was_answered_and_sends_nothing_more(world: World):
    job = world.send(world.write(documents(10)), shard_requests=5)
    from batchjobs.collect import cancel

    list(cancel(world.desk(), job))
    for _ in range(5):
        world.emulator.advance(600)
        job = world.go_on(job.id)
    assert job.finished
    assert job.succeeded + job.failed == 10
    assert len(world.emulator.batches) == 2


def test_an_expired_batch_gives_its_paid_rows_and_the_rest_is_bought_again(make_world: MakeWorld, provider: str):
    world = make_world(provider, faults=[Fault(action="expire", fraction=0.5)])
    job = world.run(world.write(documents(20)), interval=3600.0)
    assert (job.succeeded, job.failed) == (20, 0)
    assert paid_once(world)
    assert world.sql("SELECT count(*) FROM attempts WHERE outcome = 'expired'") == [(10,)]


def test_a_batch_rejected_for_queued_tokens_waits_and_is_sent_again(make_world: MakeWorld):
    """PROVIDERS §1.2"""
    rejected = Fault(action="reject", route="POST /v1/batches", nth=2, code="token_limit_exceeded")
    world = make_world("openai", faults=[rejected])
    job = world.run(world.write(documents(60)), shard_requests=20)
    assert (job.succeeded, job.failed, len(job.shards)) == (60, 0, 3)
    assert [shard.sends for shard in job.shards] == [1, 2, 1]
    assert paid_once(world)


def test_a_shard_larger_than_the_queue_is_packed_anew_in_smaller_ones(make_world: MakeWorld):
    world = make_world("openai", enqueued_token_limit=800)
    job = world.run(world.write(documents(60)))
    assert len(job.shards) > 2
    assert paid_once(world)
    assert world.sql("SELECT items, succeeded, in_flight FROM job_progress") == [(60, 60, 0)]


def test_a_lost_answer_to_a_purchase_is_found_again_and_not_bought_twice(make_world: MakeWorld, provider: str):
    route = "POST /v1/batches" if provider == "openai" else "POST /v1/messages/batches"
    world = make_world(provider, faults=[Fault(route=route, action="accept_then_drop")])
    job = world.send(world.write(documents(10)))
    assert job.state == "unknown purchase"
    for _ in range(5):
        world.emulator.advance(600)
        job = world.go_on(job.id)
    assert (job.state, job.succeeded) == ("finished", 10)
    assert len(world.emulator.batches) == 1


def test_a_purchase_that_never_arrived_is_held_until_a_person_says_so(make_world: MakeWorld, provider: str):
    route = "POST /v1/batches" if provider == "openai" else "POST /v1/messages/batches"
    world = make_world(provider, faults=[Fault(route=route, action="drop_before")])
    job = world.send(world.write(documents(10)))
    world.emulator.advance(7200)
    job = world.go_on(job.id)
    assert job.state == "unknown purchase"
    assert not world.emulator.batches
    job = world.run(world.folder / "items.jsonl", rebuy_unknown=True)
    assert (job.state, job.succeeded) == ("finished", 10)


def test_a_finished_job_is_left_in_peace(world: World):
    job = world.run(world.write(documents(5)))
    before = len(world.emulator.requests)
    one_pass(world.desk(), [job.id])
    assert len(world.emulator.requests) == before
