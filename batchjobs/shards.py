"""The state of a shard, folded from its ledger: pure, and the only place that says what a sequence of records means."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from batchjobs.plan import ShardPlan
from providers.contract import Outcome
from storage.contract import Damaged
from storage.ledger import Record


class Phase(StrEnum):
    """Where a shard stands, in the order it passes through."""

    planned = "planned"  # packed, nothing bought
    unknown = "unknown"  # an intent without an answer: it may have been bought
    sent = "sent"  # bought, the provider works on it
    ended = "ended"  # the provider is done, its files are not fetched yet
    fetched = "fetched"  # the provider's bytes are in our store
    settled = "settled"  # every request has its outcome


RETRIED = (Outcome.errored, Outcome.expired, Outcome.missing, Outcome.truncated, Outcome.invalid)


class Shard(Struct, frozen=True):
    """One shard now. `number` is the last ledger record; `data` of the deciding records is kept as it was written."""

    plan: ShardPlan
    number: int = 0
    phase: Phase = Phase.planned
    sends: int = 0
    staged: str = ""
    batch_id: str = ""
    certain: bool = True
    intent_at: datetime | None = None
    sent_at: datetime | None = None
    ended_at: datetime | None = None
    settled_at: datetime | None = None
    changed_at: datetime | None = None
    not_before: datetime | None = None
    bounces: int = 0
    word: str = ""
    reason: str = ""
    token_limit: int | None = None
    done: int | None = None
    disowned: tuple[str, ...] = ()
    misses: tuple[datetime, ...] = ()  # when the provider did not show what it must have
    missed: str = "batch"  # what that is: the batch, its results, or some of them
    end: dict[str, Any] = {}
    files: tuple[dict[str, Any], ...] = ()
    gone: str = ""
    counts: dict[str, int] = {}
    settlement: dict[str, Any] = {}
    replaced: tuple[str, ...] = ()  # outcomes that were damaged, and are in another object now
    children: tuple[ShardPlan, ...] = ()
    retry_planned: bool = False

    @property
    def open(self) -> bool:
        """May the provider be working, or have worked, for money we have not booked yet?"""
        return self.phase in (Phase.unknown, Phase.sent, Phase.ended, Phase.fetched)

    @property
    def bought(self) -> bool:
        """False for a shard that settled without ever costing an attempt: too large for the queue as it was packed."""
        return bool(self.settlement.get("bought", True))

    @property
    def cost(self) -> Decimal:
        return Decimal(self.settlement.get("cost", "0"))

    @property
    def sync_cost(self) -> Decimal:
        return Decimal(self.settlement.get("sync_cost", "0"))

    @property
    def repaired(self) -> int:
        """Answers that were no plain JSON, and were read all the same."""
        return int(self.settlement.get("repaired", 0))

    @property
    def handed_on(self) -> int:
        return sum(child.requests for child in self.children)

    def retry_due(self, max_attempts: int) -> bool:
        """Settled with requests that may succeed next time, and no shard planned for them yet."""
        if self.phase is not Phase.settled or self.retry_planned:
            return False
        another = self.plan.attempt < max_attempts or not self.bought
        return another and any(self.counts.get(outcome) for outcome in RETRIED)


def fold(plan: ShardPlan, records: Sequence[Record]) -> Shard:
    """The state after all records. Raises Damaged when an event is unknown or cannot follow."""
    shard = Shard(plan)
    for record in records:
        apply = _EVENTS.get(record.event)
        if apply is None:
            raise Damaged(f"Shard {plan.id}: ledger record {record.number} has the unknown event {record.event!r}.")
        try:
            shard = replace(apply(shard, record), number=record.number, changed_at=record.at)
        except (KeyError, TypeError, ValueError, msgspec.MsgspecError):
            raise Damaged(
                f"Shard {plan.id}: ledger record {record.number} ({record.event}) lacks what it must say."
            ) from None
    return shard


def _intent(shard: Shard, record: Record) -> Shard:
    return replace(
        shard,
        phase=Phase.unknown,
        sends=shard.sends + 1,
        staged=record.data.get("staged", ""),
        intent_at=record.at,
        misses=(record.at,),
        not_before=None,
        reason="",
    )


def _sent(shard: Shard, record: Record) -> Shard:
    data = record.data
    return replace(
        shard,
        phase=Phase.sent,
        batch_id=data["batch_id"],
        certain=data.get("certain", True),
        sent_at=record.at,
        misses=(),
        word="",
    )


def _refused(shard: Shard, record: Record) -> Shard:
    data = record.data
    return replace(
        shard,
        phase=Phase.planned,
        staged=shard.staged if data["kind"] == "later" else "",  # else the upload itself may be what was refused
        reason=data["message"],
        not_before=_moment(data.get("not_before")),
        bounces=shard.bounces + 1,
    )


def _returned(shard: Shard, record: Record) -> Shard:
    refused = _refused(shard, record)
    return replace(refused, batch_id="", word="", done=None, token_limit=record.data.get("token_limit"))


def _disowned(shard: Shard, record: Record) -> Shard:
    gone = (*shard.disowned, record.data["batch_id"])
    lost = replace(shard, phase=Phase.unknown, batch_id="", disowned=gone, files=(), end={}, reason=record.data["why"])
    return replace(lost, misses=(record.at,), missed="batch")


def _abandoned(shard: Shard, _record: Record) -> Shard:
    return replace(shard, phase=Phase.planned, reason="given up as never bought")


def _missed(shard: Shard, record: Record) -> Shard:
    what = record.data.get("what", "batch")
    return replace(shard, missed=what, misses=(*(shard.misses if what == shard.missed else ()), record.at))


def _seen(shard: Shard, record: Record) -> Shard:
    return replace(shard, word=record.data["word"], done=record.data.get("done"), misses=())


def _ended(shard: Shard, record: Record) -> Shard:
    data = dict(record.data)
    ended = replace(shard, phase=Phase.ended, end=data, word=data["word"], ended_at=record.at, misses=())
    return replace(ended, done=data.get("done"))


def _fetched(shard: Shard, record: Record) -> Shard:
    return replace(shard, phase=Phase.fetched, files=tuple(record.data["files"]), gone=record.data.get("gone", ""))


def _settled(shard: Shard, record: Record) -> Shard:
    data = dict(record.data)
    return replace(shard, phase=Phase.settled, settlement=data, counts=dict(data["counts"]), settled_at=record.at)


def _resettled(shard: Shard, record: Record) -> Shard:
    data = record.data
    told = {name: data[name] for name in ("outcomes_key", "strays_key") if name in data}
    replaced = (*shard.replaced, shard.settlement["outcomes_key"])
    return replace(shard, files=tuple(data["files"]), settlement=shard.settlement | told, replaced=replaced)


def _retried(shard: Shard, record: Record) -> Shard:
    children = msgspec.convert(record.data["shards"], tuple[ShardPlan, ...], strict=False)
    return replace(shard, children=shard.children + children, retry_planned=True)


_EVENTS = {
    "intent": _intent,
    "sent": _sent,
    "refused": _refused,
    "returned": _returned,
    "disowned": _disowned,
    "abandoned": _abandoned,
    "missed": _missed,
    "seen": _seen,
    "ended": _ended,
    "fetched": _fetched,
    "refetched": _fetched,
    "settled": _settled,
    "resettled": _resettled,
    "retried": _retried,
}


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
