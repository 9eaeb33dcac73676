"""The fold: what a sequence of ledger records means."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from batchjobs.plan import ShardPlan
from batchjobs.shards import Phase, Shard, fold
from storage.contract import Damaged
from storage.ledger import Record

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
PLAN = ShardPlan("1-00001", 1, "k", "r", "sha", "p-", 10, 1000, 400, Decimal("0.1"), Decimal("0.4"))


def folded(*events: tuple[str, dict]) -> Shard:
    return fold(PLAN, [Record(n, event, NOON, data) for n, (event, data) in enumerate(events, start=1)])


INTENT = ("intent", {"staged": "file-1"})
SENT = ("sent", {"batch_id": "b1"})
ENDED = ("ended", {"word": "completed", "done": 10})
FETCHED = ("fetched", {"files": []})


def settled(**counts: int) -> tuple[str, dict]:
    return ("settled", {"counts": counts, "cost": "0.05", "sync_cost": "0.10", "outcomes_key": "o"})


def test_a_shard_without_records_is_planned_and_not_open():
    assert folded().phase is Phase.planned
    assert not folded().open


def test_an_intent_alone_is_an_unknown_purchase_and_counts_as_open():
    shard = folded(INTENT)
    assert (shard.phase, shard.sends, shard.open) == (Phase.unknown, 1, True)


def test_the_whole_life_ends_settled_with_its_cost():
    shard = folded(INTENT, SENT, ENDED, FETCHED, settled(succeeded=10))
    assert (shard.phase, shard.cost, shard.open) == (Phase.settled, Decimal("0.05"), False)


def test_a_refusal_puts_it_back_to_planned_until_its_time():
    shard = folded(INTENT, ("refused", {"kind": "later", "message": "429", "not_before": NOON.isoformat()}))
    assert (shard.phase, shard.not_before, shard.staged) == (Phase.planned, NOON, "file-1")


@pytest.mark.parametrize(("kind", "staged"), [("later", "file-1"), ("blocked", ""), ("never", "")])
def test_an_upload_is_used_again_only_after_a_refusal_for_now(kind: str, staged: str):
    refused = ("refused", {"kind": kind, "message": "403", "not_before": None})
    assert folded(INTENT, refused).staged == staged


def test_a_returned_batch_teaches_the_queue_limit_and_frees_the_shard():
    returned = ("returned", {"kind": "later", "message": "full", "not_before": None, "token_limit": 5})
    shard = folded(INTENT, SENT, returned)
    assert (shard.phase, shard.batch_id, shard.token_limit, shard.bounces) == (Phase.planned, "", 5, 1)


def test_a_second_intent_has_a_tag_of_its_own():
    refused = ("refused", {"kind": "later", "message": "429", "not_before": None})
    assert folded(INTENT, refused, INTENT).sends == 2


def test_a_disowned_batch_makes_the_purchase_unknown_again():
    shard = folded(INTENT, SENT, ENDED, ("disowned", {"batch_id": "b1", "why": "not ours"}))
    assert (shard.phase, shard.batch_id, shard.disowned) == (Phase.unknown, "", ("b1",))


@pytest.mark.parametrize(
    ("counts", "attempts", "due"),
    [
        ({"succeeded": 10}, 3, False),
        ({"succeeded": 9, "errored": 1}, 3, True),
        ({"succeeded": 9, "invalid": 1}, 3, True),
        ({"succeeded": 9, "failed": 1}, 3, False),
        ({"succeeded": 9, "refused": 1}, 3, False),
        ({"succeeded": 9, "errored": 1}, 1, False),
    ],
)
def test_a_retry_is_due_for_what_may_succeed_next_time(counts: dict, attempts: int, due: bool):
    assert folded(INTENT, SENT, ENDED, FETCHED, settled(**counts)).retry_due(attempts) is due


def test_an_unknown_event_is_damage_not_a_guess():
    with pytest.raises(Damaged, match="1-00001"):
        folded(("paid", {}))
