"""What breaks other tools (read or run from their published packages), as regression cases of ours."""

import json
import sys
from collections.abc import Callable

import pytest

from batchjobs.jobs import load_job
from providers import load_format
from providers.emulator import Fault, Rates
from storage.contract import Damaged
from storage.layout import ledger_key
from tests.world import World, documents

MakeWorld = Callable[..., World]


def test_an_expired_batch_is_collected_and_does_not_loop(make_world: MakeWorld):
    """Elsewhere each run resubmits every row of an expired batch, without end."""
    world = make_world("openai", faults=[Fault(action="expire", fraction=0.5, times=0)])
    job = world.run(world.write(documents(8)), interval=3600.0)
    assert job.finished
    assert len(world.emulator.batches) == job.plan.max_attempts
    assert job.succeeded == 7  # 4, then 2, then 1: every paid row is kept


def test_a_failed_row_with_error_null_is_a_failure_with_its_reason(make_world: MakeWorld):
    """Elsewhere a row with status 400 and `error: null` crashes the parser, or passes as a success."""
    world = make_world("openai", rates=Rates(permanent=1.0))
    job = world.run(world.write(documents(3)))
    assert (job.failed, job.succeeded) == (3, 0)
    assert all(code for (code,) in world.sql("SELECT code FROM dead_letters"))


def test_an_all_failed_batch_without_output_file_ends(make_world: MakeWorld):
    """Elsewhere a completed batch without an output file is waited for, or loses its errors."""
    world = make_world("openai", faults=[Fault(action="all_fail")])
    job = world.run(world.write(documents(3)))
    assert job.finished
    assert job.succeeded + job.failed == 3


def test_every_packed_shard_is_sent(make_world: MakeWorld, provider: str):
    """Elsewhere three request files are written and one is submitted."""
    world = make_world(provider)
    job = world.run(world.write(documents(30)), shard_requests=7)
    assert len(world.emulator.batches) == len(job.plan.shards) == 5


def test_the_reported_cost_is_not_zero(make_world: MakeWorld, provider: str):
    """Elsewhere the running total is passed by value and stays 0."""
    world = make_world(provider)
    job = world.run(world.write(documents(3)))
    [(spent,)] = world.sql("SELECT sum(cost_usd) FROM spend")
    assert spent == job.cost > 0


def test_unreadable_state_is_named_and_the_rest_goes_on(make_world: MakeWorld):
    """Elsewhere the saved state cannot be loaded again."""
    world = make_world("openai")
    job = world.run(world.write(documents(3)))
    record = world.folder / "store" / ledger_key(job.id, "1-00001", 2)
    record.write_bytes(record.read_bytes().replace(b"batch_", b"hctab_"))
    with pytest.raises(Damaged, match=r"000002\.json"):
        load_job(world.desk().store, job.id)


def test_a_row_in_no_file_is_missing_and_bought_again(make_world: MakeWorld, provider: str):
    """Elsewhere an id that is in neither file is waited for, for ever."""
    route = "GET /v1/files/*/content" if provider == "openai" else "GET /v1/messages/batches/*/results"
    world = make_world(provider, faults=[Fault(action="missing_lines", route=route, count=2, times=15)])
    grace = load_format(provider).limits.grace_s
    job = world.run(world.write(documents(10)), interval=grace + 60.0)  # three downloads a pass, five passes
    assert job.succeeded == 10
    assert world.sql("SELECT count(*) FROM attempts WHERE outcome = 'missing'") == [(2,)]


def test_strangers_and_twins_are_kept_apart_and_named(make_world: MakeWorld, provider: str):
    """Elsewhere one unknown id fails the whole paid batch, or a twin overwrites a row (PROVIDERS §1.9)."""
    route = "GET /v1/files/*/content" if provider == "openai" else "GET /v1/messages/batches/*/results"
    faults = [
        Fault(action="stranger_lines", route=route, count=2),
        Fault(action="duplicate_lines", route=route, count=1),
    ]
    world = make_world(provider, faults=faults)
    job = world.run(world.write(documents(10)))
    assert job.succeeded == 10
    kinds = dict(world.sql("SELECT kind, count(*) FROM strays GROUP BY 1"))
    assert kinds == {"stranger": 2, "twin": 1}


def test_a_silently_short_download_is_asked_for_again_and_nothing_is_bought_twice(make_world: MakeWorld, provider: str):
    """Elsewhere the end of the stream is taken for the end of the results."""
    route = "GET /v1/files/*/content" if provider == "openai" else "GET /v1/messages/batches/*/results"
    cut = Fault(action="cut", route=route, framing="close", at="line", after=2_000)
    world = make_world(provider, faults=[cut, Fault(action="expire", fraction=0.5)])
    job = world.run(world.write(documents(20)), interval=3600.0)
    assert job.succeeded == 20
    assert max(world.billed().values()) == 1


def test_the_work_grows_with_the_rows_not_with_their_square(make_world: MakeWorld):
    """Elsewhere merging 50,000 results takes 93 s and 2,000 take 0.3 s."""
    world = make_world("openai")

    def calls_an_item(count: int) -> float:
        source = world.write(documents(count, f"of-{count}"), f"{count}.jsonl")
        return calls(lambda: world.run(source)) / count

    assert calls_an_item(2_000) <= calls_an_item(200)


def calls(work: Callable[[], object]) -> int:
    """How many Python functions the work calls: the same on every machine, unlike seconds."""
    count = 0

    def tick(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(tick)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def test_the_ledger_holds_no_prompt_and_no_key(make_world: MakeWorld, provider: str):
    world = make_world(provider)
    world.run(world.write([{"doc_id": "a", "text": "CANARY-PROMPT"}]))
    ledgers = [path for path in (world.folder / "store").rglob("*.json") if path.is_file()]
    text = "".join(path.read_text() for path in ledgers)
    assert len(ledgers) > 5
    assert "CANARY" not in text
    assert "rehearsal-needs-no-key" not in text
    assert json.loads(ledgers[0].read_text())
