"""Planning attempt n+1: which requests, changed how, in which new shards; two processes plan the same."""

import hashlib
import itertools
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pyarrow.compute
import pyarrow.parquet

from batchjobs.desk import Desk
from batchjobs.jobs import Job
from batchjobs.pack import Packer, Pricing, shard_limits
from batchjobs.plan import ShardPlan, short_id
from batchjobs.render import Requests
from batchjobs.settle import raw_lines
from batchjobs.shards import RETRIED, Shard
from providers.contract import Format, Outcome, Revision

OUTPUT_LIMIT_GROWTH = 2  # of the output limit, after a truncated answer
OUTPUT_LIMIT_GROWTH_MAX = 4  # of the first attempt's limit
SOME_BYTES = 4_000_000  # of requests in memory at once

FEEDBACK = (
    "Your last answer to exactly this could not be used because it did not fit the required JSON schema: {errors}. "
    "Answer again with one JSON object that fits the schema, and nothing else."
)


def revision_for(outcome: Outcome, message: str, output_limit: int, first_limit: int) -> Revision | None:
    """What the next attempt does differently; None where nothing would change and it must end the same. Pure."""
    if outcome is Outcome.truncated:
        larger = min(output_limit * OUTPUT_LIMIT_GROWTH, first_limit * OUTPUT_LIMIT_GROWTH_MAX)
        return Revision(max_output_tokens=larger) if larger > output_limit else None
    if outcome is Outcome.invalid:
        return Revision(feedback=FEEDBACK.format(errors=message))
    return Revision()


def plan_retry(desk: Desk, job: Job, shard: Shard, wanted: set[str] | None = None, tokens: int | None = None) -> int:
    """Pack what may succeed next time (or the failed ones among the keys `wanted`); a ledger record makes it count.

    Returns the number of requests. Nothing is bought here: the new shards wait like any other. The record is written
    even when nothing can be tried again, so that the shard is done with. `tokens` is the provider's queue, if known.
    """
    again = _again(desk, job, shard, wanted)
    if not again and wanted is not None:
        return 0
    attempt = shard.plan.attempt + (1 if shard.bought else 0)
    with desk.spool() as spool:
        packer = _packer(desk, job, shard, attempt, spool, tokens)
        for some in _requests(desk, shard, packer.format, again):
            packer.add(some)
        packer.close()
    shards = [msgspec.structs.replace(plan, wanted=wanted is not None) for plan in packer.shards]
    data: dict[str, object] = {"shards": msgspec.to_builtins(shards), "requests": len(again)}
    desk.append(job.id, shard.plan.id, shard.number, "retried", data)
    return len(again)


def _output_limit(job: Job, attempt: int) -> int:
    """The largest output limit a request of this attempt can have, for the cap."""
    return job.plan.max_output_tokens * min(int(OUTPUT_LIMIT_GROWTH ** (attempt - 1)), OUTPUT_LIMIT_GROWTH_MAX)


def _again(desk: Desk, job: Job, shard: Shard, wanted: set[str] | None) -> dict[str, Revision]:
    """What the next attempt does differently, by the key of the request."""
    columns = ["request_key", "outcome", "message"]
    with desk.intact(shard.settlement["outcomes_key"]) as path:
        unanswered = pyarrow.compute.field("outcome") != Outcome.succeeded.value
        table = pyarrow.parquet.read_table(path, columns=columns, filters=unanswered).to_pydict()
    first = job.plan.max_output_tokens
    limit = _output_limit(job, shard.plan.attempt)
    handed_on = _handed_on(desk, shard)
    plans = {
        key: revision_for(Outcome(outcome), message or "", limit, first)
        for key, outcome, message in zip(*(table[name] for name in columns), strict=True)
        if (key in wanted if wanted is not None else outcome in RETRIED) and key not in handed_on
    }
    if wanted is not None:  # a person's word goes: the same request again where nothing better is known
        return {key: revision or Revision() for key, revision in plans.items()}
    return {key: revision for key, revision in plans.items() if revision is not None}


def _handed_on(desk: Desk, shard: Shard) -> set[str]:
    """Requests that a later shard has taken over already: they are never planned from here again."""
    keys: set[str] = set()
    for child in shard.children:
        with desk.intact(child.requests_key) as path:
            keys.update(pyarrow.parquet.read_table(path, columns=["request_key"]).column("request_key").to_pylist())
    return keys


def _requests(desk: Desk, shard: Shard, lines: Format, again: dict[str, Revision]) -> Iterator[Requests]:
    """The requests of the parent shard that are bought again, in its order, under their own key, some at a time."""
    columns = ["line", "item_id", "request_key", "summary"]
    with desk.intact(shard.plan.requests_key) as path:
        table = pyarrow.parquet.read_table(path, columns=columns).to_pydict()
    rows, size = [], 0
    with desk.intact(shard.plan.key) as path:
        for line, *named in zip(raw_lines(path), *(table[name] for name in columns), strict=True):
            number, item_id, key, summary = named
            if key in again:
                rows.append((number, item_id, key, _revised(lines, line, again[key]), summary))
                size += len(line)
            if size > SOME_BYTES:
                yield Requests.of(rows)
                rows, size = [], 0
    if rows:
        yield Requests.of(rows)


def _revised(lines: Format, line: bytes, revision: Revision) -> bytes:
    body = lines.body(line + b"\n")
    return body if revision == Revision() else lines.revise(body, revision)


def _packer(desk: Desk, job: Job, shard: Shard, attempt: int, spool: Path, tokens: int | None) -> Packer:
    settings, plan = desk.settings, job.plan
    provider_format = desk.format_of(plan)
    return Packer(
        store=desk.store,
        format=provider_format,
        job=job.id,
        short=short_id(job.id),
        attempt=attempt,
        limits=shard_limits(provider_format, settings.shard_requests, settings.shard_bytes, tokens),
        pricing=Pricing(plan.rates, plan.max_output_tokens),
        spool=spool,
        names=child_names(shard.plan, attempt, len(shard.children)),
        parent=shard.plan.id,
        max_output_tokens=_output_limit(job, attempt),
    )


def child_names(parent: ShardPlan, attempt: int, first: int) -> Iterator[str]:
    """Ids for the shards made from `parent`, of which there are `first` already: `1-00003` → `2-00003` → `3-00003`.

    Every other one carries a hash of its parent and its place, so that no two processes give one name to two shards.
    """
    root = parent.id.split("-", 1)[1].partition("x")[0]
    for number in itertools.count(first):
        if number == 0 and attempt == parent.attempt + 1 and "x" not in parent.id:
            yield f"{attempt}-{root}"
        else:
            mark = hashlib.sha256(f"{parent.id}/{number}".encode()).hexdigest()[:8]
            yield f"{attempt}-{root}x{mark}"
