"""Grace: how long something may still exist at the provider that it does not show.

One look proves nothing, and neither does one clock. Several looks must come up empty, and from one to the next at most
a part of the period counts: a clock that jumps ahead by a day, a machine that slept, a cron job that looks once a night
end nothing by themselves. A clock that goes back only makes the wait longer.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise

from batchjobs.desk import Desk
from batchjobs.jobs import Job
from batchjobs.shards import Shard

PARTS = 4  # of the period: how many jumps of a clock in a row it takes to end it early


def remaining(misses: Sequence[datetime], now: datetime, grace: timedelta) -> timedelta:
    """What is left when a look now comes up empty too; `misses` are those that the ledger knows. Pure."""
    part, nothing = grace / PARTS, timedelta(0)
    steps = (later - earlier for earlier, later in pairwise([*misses, now]))
    return max(grace - sum((min(max(step, nothing), part) for step in steps), nothing), nothing)


def worth_noting(misses: Sequence[datetime], now: datetime, grace: timedelta) -> bool:
    """Does the ledger need this miss: the first one, one a whole part later, or one by a clock that went back?"""
    return not misses or not timedelta(0) <= now - misses[-1] < grace / PARTS


def still_due(desk: Desk, job: Job, shard: Shard, grace: timedelta, what: str = "batch") -> bool:
    """May what the provider has just not shown still come? Notes the miss where that is worth a record.

    Only misses of the same thing count together: results that were cut short for an hour are not gone at the first 404.
    """
    now = desk.env.now()
    misses = shard.misses if what == shard.missed else ()
    if not remaining(misses, now, grace):
        return False
    if worth_noting(misses, now, grace):
        desk.append(job.id, shard.plan.id, shard.number, "missed", {"what": what})
    return True
