"""A bad night on real deals, every provider, both stores: everything accounted for, nothing bought twice.

The deals lie beside the checkout (`../shared/data`); where they do not, the sample deals stand in. `make nights` runs
all 2,000 of them, the suite a part.
"""

import gzip
import itertools
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from providers.emulator import Fault, Rates
from tests.world import World

ROOT = Path(__file__).parents[2]
REAL = ROOT.parent / "shared/data/deals-2000.jsonl.gz"
SAMPLE = ROOT / "examples/deals/deals.jsonl"
DEALS = int(os.environ.get("NIGHTS_DEALS", "120"))
CREATE = {
    "openai": "POST /v1/batches",
    "anthropic": "POST /v1/messages/batches",
    "bedrock": "POST /model-invocation-job",
}
ROLE = "arn:aws:iam::000000000000:role/batch"
MODEL = "us.anthropic.claude-haiku-4-5-20251001-v1:0"
NIGHTS = [(name, kind) for name in CREATE for kind in ("directory", "s3") if (name, kind) != ("bedrock", "directory")]


def deals(target: Path) -> Path:
    with gzip.open(REAL) if REAL.exists() else SAMPLE.open("rb") as source, target.open("wb") as out:
        out.writelines(itertools.islice(source, DEALS))
    return target


def bad_night(provider: str) -> dict:
    """The provider is full, then a batch runs out of time half done; Bedrock takes no small ones."""
    create, nth = CREATE[provider], 1 if provider == "bedrock" else 2
    full = {
        "openai": Fault(action="reject", route=create, nth=nth, code="token_limit_exceeded"),
        "anthropic": Fault(action="status", route=create, nth=nth, status=429, retry_after="60"),
        "bedrock": Fault(action="status", route=create, nth=nth, status=400, code="ServiceQuotaExceededException"),
    }
    return {
        "rates": Rates(transient=0.03, permanent=0.01, truncated=0.01, invalid=0.01),
        "faults": [
            full[provider],
            Fault(action="expire", route=create, nth=nth + 1, fraction=0.5),
        ],
    }


@pytest.mark.parametrize(("provider", "kind"), NIGHTS)
def test_a_bad_night_loses_nothing_and_buys_nothing_twice(
    provider: str,
    kind: str,
    make_world: Callable[..., World],
    request: pytest.FixtureRequest,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    store = request.getfixturevalue("s3_url") if kind == "s3" else None
    world = make_world(provider, store, **bad_night(provider))
    world.slower = 48.0
    source = deals(tmp_path / "deals.jsonl")
    settings = {"task": "deal-intelligence", "shard_requests": max(DEALS // 4, 1), "interval": 1800.0}
    if provider == "bedrock":  # a single answer that failed on the way is a person's to buy again
        settings |= {"model": MODEL, "bedrock_role_arn": ROLE, "rebuy_unknown": True}
    job = world.run(source, **settings)

    assert job.finished
    assert job.succeeded + job.failed == job.plan.items
    assert job.plan.items + job.plan.rejected + job.plan.duplicates == job.plan.lines
    accounted = world.sql("SELECT items, succeeded + failed, in_flight FROM job_progress")
    assert accounted == [(job.plan.items, job.plan.items, 0)]

    charges = world.emulator.charges
    bought = Counter(charge.custom_id for charge in charges if charge.custom_id)  # what is answered at once has none
    assert set(bought.values()) == {1}
    [(billed_rows, cost)] = world.sql("SELECT count(*) FILTER (input_tokens > 0), sum(cost_usd) FROM attempts")
    assert (billed_rows, cost) == (len(charges), job.cost)

    outcomes = Counter(dict(world.sql("SELECT outcome, count(*) FROM attempts GROUP BY 1")))
    assert outcomes["expired"] > 0
    refused, ends = told_by(world, provider)
    assert refused + ends["failed"] == 1  # for now: it was sent again, and nothing failed for it
    batches = len(world.emulator.batches)
    assert world.run(source, **settings).id == job.id
    assert len(world.emulator.batches) == batches
    singles = sum(shard.plan.at_once for shard in job.shards)
    with capsys.disabled():
        print(f"\n{provider:9} {kind:9} {job.plan.items} items, {job.failed} failed, ${job.cost:.4f}, {dict(outcomes)}")  # noqa: T201
        print(f"{'':19} batches {dict(ends)}, refused for now {refused}, answered one by one {singles}")  # noqa: T201


def told_by(world: World, provider: str) -> tuple[int, Counter[str]]:
    """How many purchases the provider refused, and how its batches ended, in its own words."""
    creates = [one for one in world.emulator.requests if f"{one.method} {one.path}" == CREATE[provider]]
    refused = sum(one.status is not None and one.status >= 400 for one in creates)
    return refused, Counter(batch.status for batch in world.emulator.batches)
