"""`purge` removes a job's texts everywhere, keeps what they cost, and can be killed and repeated."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest
import zstandard

from batchjobs.collect import mend_job
from batchjobs.desk import Desk, open_desk
from batchjobs.errors import Unreachable, UsageError
from batchjobs.project import catch_up, open_results
from batchjobs.purge import purchases, purge, survey
from batchjobs.verify import verify
from providers.emulator import Fault, Rates
from storage.ledger import Record
from tests.core.test_cli import command
from tests.world import World

MakeWorld = Callable[..., World]
SECRET = "Mrs Canary of Acme"


def texts(count: int) -> list[dict[str, str]]:
    return [{"doc_id": f"doc-{n}", "text": f"{SECRET} wrote letter {n}"} for n in range(count)]


def purged(world: World, job: str, local_only: bool = False) -> None:
    desk = world.desk()
    with desk.exclusive("test"):
        purge(desk, job, local_only)


def everything(*folders: Path) -> bytes:
    """All bytes below some folders, decompressed; Parquet and DuckDB as they are read."""
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return b"".join(_readable(path) for path in files)


def _readable(path: Path) -> bytes:
    data = path.read_bytes()
    if path.suffix == ".zst":
        return zstandard.ZstdDecompressor().decompressobj().decompress(data)
    if path.suffix == ".parquet":
        return str(duckdb.sql(f"FROM read_parquet('{path}')").fetchall()).encode()
    if path.suffix == ".duckdb":
        with duckdb.connect(path, read_only=True) as connection:
            tables = [name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()]
            data += b"".join(str(connection.execute(f"FROM {name}").fetchall()).encode() for name in tables)
    return data


@pytest.fixture
def answered(make_world: MakeWorld, provider: str) -> World:
    """A night of two shards with everything a purge must think of."""
    faults = [Fault(action="stranger_lines", count=1)]
    return make_world(provider, rates=Rates(permanent=0.2, invalid=0.2), faults=faults)


def night(world: World) -> str:
    again = {"doc_id": "twin", "text": texts(1)[0]["text"]}
    return world.run(world.write([*texts(12), again, b'{"doc_id": "bad"}']), shard_requests=8).id


def test_no_text_is_left_here_or_at_the_provider(answered: World):
    job = night(answered)
    words = [SECRET.encode(), *(json.loads(a)["label"].encode() for (a,) in answered.sql("SELECT answer FROM results"))]
    places = (Path(answered.store), answered.folder / "state", answered.folder / "results.duckdb")
    before = everything(*places[:2]) + _readable(places[2])
    assert all(word in before for word in words)
    (answered.folder / "items.jsonl").unlink()
    purged(answered, job)
    after = everything(Path(answered.store), answered.folder)
    assert [word for word in words if word in after and word not in b"not"] == []
    kept = {path.suffix for path in Path(answered.store).rglob("*") if path.is_file()}
    assert kept == {".json", ".parquet"}


def test_the_provider_keeps_nothing(answered: World):
    purged(answered, night(answered))
    deleted = {one.path for one in answered.emulator.requests if one.method == "DELETE" and one.status == 200}
    assert len(deleted) >= len(answered.emulator.batches) > 1


def test_counts_money_and_tokens_stay(answered: World):
    job = night(answered)
    columns = "items, succeeded, failed, requests, rejected, attempts, cost_usd, saved_usd"
    before = answered.sql(f"SELECT {columns} FROM job_progress"), answered.sql("SELECT * FROM spend"), answered.job(job)
    purged(answered, job)
    after = answered.job(job)
    assert before[:2] == (answered.sql(f"SELECT {columns} FROM job_progress"), answered.sql("SELECT * FROM spend"))
    assert (after.succeeded, after.failed, after.cost) == (before[2].succeeded, before[2].failed, before[2].cost)
    assert (after.state, answered.sql("SELECT state FROM job_progress")) == ("purged", [("purged",)])


def test_item_ids_stay_and_the_typed_view_shows_no_empty_answers(answered: World):
    job = night(answered)
    ids = answered.sql("SELECT item_id FROM items ORDER BY ALL")
    assert answered.sql("SELECT count(*) FROM label") != [(0,)]
    purged(answered, job)
    assert answered.sql("SELECT item_id FROM items ORDER BY ALL") == ids
    assert answered.sql("SELECT count(*) FROM label") == [(0,)]


def test_a_purged_job_is_still_proved(answered: World):
    job = night(answered)
    purged(answered, job)
    proof = verify(answered.desk(), job)
    assert proof.violations == []
    assert proof.counts["outcomes"] == proof.counts["requests"] > 12


def test_verify_names_what_a_purge_should_have_removed(answered: World):
    job = night(answered)
    purged(answered, job)
    left = Path(answered.store) / f"jobs/{job}/raw/1-00001/1-output.00000000.jsonl.zst"
    left.parent.mkdir(parents=True, exist_ok=True)
    left.write_bytes(b"")
    assert [
        one for one in verify(answered.desk(), job).violations if left.name in one and "should have been purged" in one
    ]
    purged(answered, job)
    assert verify(answered.desk(), job).violations == []


def test_a_damaged_table_of_a_purged_job_is_named_and_nothing_is_made_up_in_its_place(answered: World):
    job = night(answered)
    purged(answered, job)
    table = next((Path(answered.store) / f"jobs/{job}/outcomes").iterdir())
    table.write_bytes(table.read_bytes()[:-1])
    before = answered.job(job)
    troubles = mend_job(answered.desk(), before)
    assert [one for one in troubles if table.name in one and "purged" in one]
    assert answered.job(job) == before


def test_a_rebuild_gives_the_same_rows(answered: World):
    purged(answered, night(answered))
    query = "SELECT * EXCLUDE (messages) FROM dead_letters ORDER BY ALL"
    before = answered.sql(query), answered.sql("FROM results ORDER BY ALL"), answered.sql("FROM items ORDER BY ALL")
    command(answered, "rebuild", "--results", str(answered.folder / "results.duckdb"))
    assert (
        answered.sql(query),
        answered.sql("FROM results ORDER BY ALL"),
        answered.sql("FROM items ORDER BY ALL"),
    ) == before


@pytest.mark.parametrize("count", [3, 4, 5, 6])  # whose job ids sort one way and the other
def test_the_same_input_again_is_another_job_that_buys_anew(world: World, count: int):
    source = world.write(texts(count))
    first = world.run(source)
    purged(world, first.id)
    second = world.run(source)
    assert (second.id != first.id, second.plan.reused, second.succeeded) == (True, 0, count)
    assert set(world.billed().values()) == {2}
    assert world.sql("SELECT count(*) FROM label") == [(count,)]
    assert world.run(source).id == second.id
    assert verify(world.desk()).violations == []


def test_what_was_bought_anew_can_be_purged_too(world: World):
    source = world.write(texts(3))
    for _ in range(2):
        purged(world, world.run(source).id)
    assert world.sql("SELECT state, count(*) FROM jobs GROUP BY ALL") == [("purged", 2)]
    assert world.run(source).plan.reused == 0


def test_other_jobs_keep_their_texts_and_lose_what_they_borrowed(world: World):
    first = world.run(world.write(texts(3)))
    second = world.run(world.write([*texts(2), {"doc_id": "own", "text": "nobody"}], "second.jsonl"))
    assert (second.plan.reused, survey(world.desk(), first.id).lent) == (2, 2)
    assert survey(world.desk(), second.id).borrowed == [first.id]
    purged(world, first.id)
    assert world.job(second.id).succeeded == 3
    assert world.sql("SELECT doc_id FROM label") == [("own",)]
    assert verify(world.desk()).violations == []


def test_a_job_in_flight_is_not_purged(world: World):
    job = world.send(world.write(texts(3)))
    with pytest.raises(UsageError, match="shard 1-00001 is not done"):
        purged(world, job.id)
    assert world.go_on(job.id).state == "in flight"


def test_a_cancelled_job_is_purged_once_its_batches_have_ended(world: World):
    job = world.send(world.write(texts(3)))
    command(world, "cancel", job.id, BATCHJOBS_STATE_DIR=str(world.folder / "state"))
    with pytest.raises(UsageError, match="has ended"):
        purged(world, job.id)
    world.emulator.advance(2_000)
    world.go_on(job.id)
    purged(world, job.id)
    assert world.job(job.id).state == "purged"


def test_a_job_that_waits_for_another_is_not_purged(world: World):
    world.send(world.write(texts(3)))
    second = world.send(world.write(texts(2), "second.jsonl"))
    with pytest.raises(UsageError, match="other jobs are buying"):
        purged(world, second.id)


def test_a_retry_says_that_the_requests_are_gone(answered: World):
    job = night(answered)
    purged(answered, job)
    done = command(answered, "retry", job, BATCHJOBS_STATE_DIR=str(answered.folder / "state"))
    assert done.returncode == 2
    assert "was purged on" in done.stderr
    assert "Submit the items again" in done.stderr


@pytest.mark.parametrize("verb", ["status", "report", "failures"])
def test_looking_at_a_purged_job_says_that_it_is(answered: World, verb: str):
    job = night(answered)
    purged(answered, job)
    settings = {"BATCHJOBS_STATE_DIR": str(answered.folder / "state")}
    done = command(answered, verb, job, **settings)
    assert done.returncode == 3
    assert "was purged on" in done.stdout
    assert "batchjobs retry" not in done.stdout


def test_the_tombstone_says_what_when_and_by_whom(world: World):
    job = world.run(world.write(texts(3)))
    gone = set(world.desk().store.keys(f"jobs/{job.id}/"))
    purged(world, job.id)
    gone -= set(world.desk().store.keys(f"jobs/{job.id}/"))
    records = [json.loads(path.read_bytes()) for path in sorted(Path(world.store).glob("jobs/*/ledger/job/*"))]
    assert [record["event"] for record in records] == ["purging", "purged"]
    assert records[1]["by"] == "test"
    assert records[1]["data"] == {"objects": 4, "batches": 1, "at_provider": True}, sorted(gone)


def test_purging_twice_changes_nothing(world: World):
    job = world.run(world.write(texts(3))).id
    purged(world, job)
    before = sorted(Path(world.store).rglob("*.*"))
    purged(world, job)
    assert sorted(Path(world.store).rglob("*.*")) == before


def test_another_machines_database_forgets_at_its_next_command(world: World):
    job = world.run(world.write(texts(3))).id
    other = world.desk(state_dir=str(world.folder / "elsewhere"))
    with open_results(other) as results:
        catch_up(other, results)
    assert SECRET.encode() not in other.database.read_bytes()
    answer = world.sql("SELECT answer FROM results")[0][0].encode()
    assert answer in _readable(other.database)
    purged(world, job)
    with open_results(other) as results:
        catch_up(other, results)
    assert answer not in _readable(other.database)


def test_databases_that_were_set_aside_go_too(world: World):
    job = world.run(world.write(texts(3))).id
    aside = world.desk().database.with_name("pipeline.duckdb.set-aside-1")
    aside.write_bytes(b"an older database")
    purged(world, job)
    assert not aside.exists()


def test_a_provider_that_is_away_leaves_the_purge_to_be_finished(world: World):
    job = world.run(world.write(texts(3))).id
    route = "DELETE /v1/*"
    world.emulator.add_fault(Fault(action="status", status=500, route=route, times=0))
    purged(world, job)
    assert world.job(job).state == "purging"
    assert [one for one in verify(world.desk(), job).violations if "was not finished" in one]
    world.emulator.clear_faults()
    purged(world, job)
    assert world.job(job).state == "purged"


def test_a_wrong_key_is_said_and_local_only_goes_without(world: World, monkeypatch: pytest.MonkeyPatch):
    job = world.run(world.write(texts(3))).id
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(Unreachable, match="--local-only"):
        purged(world, job)
    purged(world, job, local_only=True)
    tombstone = world.job(job).tombstone
    assert tombstone is not None
    assert (tombstone.at_provider, tombstone.ended_at is None) == (False, False)
    assert not [one for one in world.emulator.requests if one.method == "DELETE"]


def test_the_providers_part_can_be_made_up_for(world: World):
    job = world.run(world.write(texts(3))).id
    purged(world, job, local_only=True)
    purged(world, job)
    tombstone = world.job(job).tombstone
    assert tombstone is not None
    assert tombstone.at_provider
    assert [one for one in world.emulator.requests if one.method == "DELETE"]


def test_a_job_on_s3_is_purged(make_world: MakeWorld, s3_url: str):
    world = make_world(store=s3_url)
    job = world.run(world.write([*texts(5), b"bad"]), shard_requests=3).id
    purged(world, job)
    keys = list(world.desk().store.keys(f"jobs/{job}/"))
    assert {key.rpartition(".")[2] for key in keys} == {"json", "parquet"}
    assert verify(world.desk(), job).violations == []


# --- interrupted at every fault point


class Dead(BaseException):
    """The process ends here."""


POINTS = [
    "shards.before:1", "shards.after:2", "outcomes.before:1", "outcomes.after:1", "rejects.before:1", "rejects.after:1",
    "carried.before:1", "carried.after:1",
    "ledger-purging.before:1", "ledger-purging.after:1", "forget.before:1", "forget.after:1", "forget.before:2",
    "delete.before:1", "delete.after:1", "delete.after:4", "merge.before:1", "merge.after:2", "publish.before:1",
    "publish.after:1", "ledger-purged.before:1", "ledger-purged.after:1",
]  # fmt: skip


def dying(world: World, spec: str) -> Desk:
    """A desk whose process dies at the n-th passing of a point."""
    desk, seen = world.desk(), list[str]()
    wanted, _, count = spec.partition(":")

    def fault(point: str) -> None:
        seen.append(point)
        if point == wanted and seen.count(point) == int(count):
            raise Dead(spec)

    return open_desk(replace(world.env(), fault=fault), desk.settings)


@pytest.mark.parametrize("point", POINTS)
def test_interrupted_at(make_world: MakeWorld, point: str):
    answered = make_world("openai", rates=Rates(permanent=0.2, invalid=0.2), faults=[Fault(action="stranger_lines")])
    job = night(answered)
    (answered.folder / "items.jsonl").unlink()
    desk, before = dying(answered, point), answered.job(job)
    with pytest.raises(Dead), desk.exclusive("test"):
        purge(desk, job)
    desk.close()
    between = answered.go_on(job)  # any command in between finds a job that adds up
    assert (between.succeeded, between.failed, between.cost) == (before.succeeded, before.failed, before.cost)
    purged(answered, job)
    assert SECRET.encode() not in everything(Path(answered.store), answered.folder)
    assert verify(answered.desk()).violations == []


def test_the_points_above_are_all_there_are(answered: World):
    job = night(answered)
    answered.faults.clear()
    purged(answered, job)
    assert {point.partition(".")[0] for point in answered.faults} <= {point.partition(".")[0] for point in POINTS}


def test_every_purchase_is_forgotten_and_no_strangers():
    steps = [("intent", {"staged": "f1"}), ("refused", {}), ("intent", {"staged": "f2"}), ("sent", {"batch_id": "b1"})]
    steps += [("disowned", {"batch_id": "b1"}), ("sent", {"batch_id": "b2"})]
    records = [Record(n, event, None, data) for n, (event, data) in enumerate(steps)]  # type: ignore[arg-type]
    assert purchases(records) == [("", "f1"), ("b2", "f2")]
