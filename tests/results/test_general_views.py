"""The general views over a small night whose numbers can be counted by hand."""

import re
from decimal import Decimal
from typing import Any

import pytest

from storage.results import CarriedCounts, Failure
from tests.results.kit import COST, NIGHT, SYNC_COST, Night

PROGRESS = "SELECT items, succeeded, failed, in_flight FROM job_progress WHERE job_id = '{}'"


def two_nights(night: Night) -> Night:
    """j1: a answered at once, b after a retry, c dead after two attempts, d shares a's request.

    j2: a reused, c2 waits for a request in flight, c bought again and in flight, e waits for j1's dead request.
    """
    night.job("j1", 4, [("d", "a", "shared")], requests=3)
    night.settle("j1", "1-00001", {"a": "succeeded", "b": "errored", "c": "truncated"})
    night.settle("j1", "2-00001", {"b": "succeeded", "c": "refused"})
    night.job("j2", 4, [("a", "a", "reused"), ("f2", "f", "in_flight")], day=1, requests=2, reused=1)
    night.shard("j2", "1-00001", ["f", "g"])
    return night


def test_items_are_succeeded_failed_or_in_flight(night: Night) -> None:
    two_nights(night)
    assert night.ask(PROGRESS.format("j1")) == [(4, 3, 1, 0)]
    assert night.ask(PROGRESS.format("j2")) == [(4, 1, 0, 3)]


def test_an_item_that_is_not_loaded_yet_counts_as_in_flight(night: Night) -> None:
    night.job("j1", 5)
    night.settle("j1", "1-00001", {"a": "succeeded", "b": "failed"})
    assert night.ask(PROGRESS.format("j1")) == [(5, 1, 1, 3)]


def test_an_answer_bought_later_rescues_the_item_of_an_earlier_job(night: Night) -> None:
    two_nights(night)
    night.job("j3", 1, day=2)
    night.settle("j3", "1-00001", {"c": "succeeded"})
    assert night.ask(PROGRESS.format("j1")) == [(4, 4, 0, 0)]
    assert night.results.failures("j1") == []


def test_a_retry_planned_but_not_loaded_is_still_in_flight(night: Night) -> None:
    night.job("j1", 1)
    night.shard("j1", "1-00001", ["a"])
    night.merge("j1", "1-00001", {"a": "errored"})
    assert night.ask(PROGRESS.format("j1")) == [(1, 0, 0, 1)]
    assert night.results.failures("j1") == []


def test_progress_of_a_job(night: Night) -> None:
    columns = "rejected, reused, requests, shards, attempts, cost_usd, saved_usd, percent, started_at, changed_at"
    found = two_nights(night).ask(f"SELECT {columns} FROM job_progress WHERE job_id = 'j1'")
    start = NIGHT.replace(tzinfo=None)
    saved = 5 * (SYNC_COST - COST)
    assert found == [(0, 0, 3, {"settled": 2}, 5, 5 * COST, saved, 100.0, start, start.replace(day=21, hour=1))]


def test_a_job_without_items_is_done(night: Night) -> None:
    night.job("j1", 0)
    assert night.ask("SELECT percent, cost_usd, shards FROM job_progress") == [(100.0, Decimal(0), None)]


def test_spend_counts_every_attempt_and_what_bought_nothing(night: Night) -> None:
    two_nights(night)
    money = (5 * COST, 5 * SYNC_COST, 5 * (SYNC_COST - COST), 3 * COST)
    columns = "CAST(day AS VARCHAR), model, task, provider, requests, succeeded, input_tokens, output_tokens"
    assert night.ask(f"SELECT {columns}, cost_usd, sync_cost_usd, saved_usd, unusable_cost_usd FROM spend") == [
        ("2026-11-21", "gpt-5-mini", "deal-intelligence", "openai", 5, 2, 500, 50, *money)
    ]


def test_money_adds_up_to_the_last_digit(night: Night) -> None:
    keys = [f"{number}" for number in range(1000)]
    night.job("j1", 1000)
    night.settle("j1", "1-00001", dict.fromkeys(keys, "succeeded"), cost_usd=[Decimal("0.000000001")] * 1000)
    assert night.ask("SELECT cost_usd FROM spend") == [(Decimal("0.000001000"),)]


def test_a_dead_letter_tells_its_story(night: Night) -> None:
    story = ["truncated: why: what 1-00001 said", "refused: why: what 2-00001 said"]
    place = ("2-00001", 2, "jobs/j1/raw/2-00001", 2, "batchjobs retry j1")
    columns = "job_id, item_id, reason, code, message, attempts, messages, shard_id, attempt, raw_key, raw_line, retry"
    assert two_nights(night).ask(f"SELECT {columns} FROM dead_letters") == [
        ("j1", "deal c", "refused", "why", "what 2-00001 said", 2, story, *place)
    ]


def test_failures_are_the_dead_letters_of_a_job(night: Night) -> None:
    assert two_nights(night).results.failures("j1") == [
        Failure("deal c", "c", "j1", "2-00001", 2, "refused", "why", "what 2-00001 said", "jobs/j1/raw/2-00001", 2)
    ]
    assert night.results.failures("j2") == []


def test_an_item_that_waited_in_vain_names_the_job_that_bought(night: Night) -> None:
    night.job("j1", 1)
    night.shard("j1", "1-00001", ["a"])
    night.job("j2", 1, [("waiting", "a", "in_flight")], day=1)
    assert night.results.carried("j2") == CarriedCounts(succeeded=0, failed=0, waiting=1)
    night.merge("j1", "1-00001", {"a": "failed"})
    night.close_shard("j1", "1-00001", 1)
    assert night.results.carried("j2") == CarriedCounts(succeeded=0, failed=1, waiting=0)
    dead = "SELECT item_id, bought_by, retry FROM dead_letters WHERE job_id = 'j2'"
    assert night.ask(dead) == [("waiting", "j1", "batchjobs retry j1")]


def test_what_was_never_bought_says_why(night: Night) -> None:
    night.job("j1", 2, [("stray", "nobody", "shared")])
    night.shard("j1", "1-00001", ["a"])
    night.close_shard("j1", "1-00001", 1, state="refused", detail="model not found")
    assert night.ask("SELECT item_id, reason, message, attempts, messages FROM dead_letters ORDER BY 1") == [
        ("deal a", "not_bought", "model not found", 0, ["not_bought: model not found"]),
        ("stray", "not_bought", None, 0, []),
    ]


def test_the_last_purchase_counts_not_a_later_one_that_never_happened(night: Night) -> None:
    night.job("j1", 1)
    night.settle("j1", "1-00001", {"a": "truncated"})
    night.shard("j1", "2-00001", ["a"])
    night.close_shard("j1", "2-00001", 1, detail="cancelled")
    assert [(dead.outcome, dead.shard_id) for dead in night.results.failures("j1")] == [("truncated", "1-00001")]


def test_carried_counts(night: Night) -> None:
    two_nights(night)
    assert night.results.carried("j1") == CarriedCounts(succeeded=1, failed=0, waiting=0)
    assert night.results.carried("j2") == CarriedCounts(succeeded=1, failed=0, waiting=1)
    assert night.results.carried("unknown") == CarriedCounts(0, 0, 0)


@pytest.mark.parametrize("view", ["item_states", "job_progress", "spend", "dead_letters"])
def test_every_view_and_column_is_documented(night: Night, view: str) -> None:
    about = night.ask(f"SELECT comment FROM duckdb_views() WHERE view_name = '{view}'")
    columns = night.ask(f"SELECT column_name, comment FROM duckdb_columns() WHERE table_name = '{view}'")
    comments: list[Any] = [comment for (comment,) in about] + [comment for _, comment in columns]
    assert len(columns) > 4
    assert all(comment and not re.match("Computed by", comment) for comment in comments)
