"""`verify` proves what holds and names what does not, by key or by id."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from msgspec import to_builtins
from msgspec.structs import replace

from batchjobs.cli import cli
from batchjobs.jobs import load_job
from batchjobs.rehearsal import variables
from batchjobs.verify import verify
from providers.emulator import Emulator, Fault, Rates
from storage.content import file_sha8, sealed
from storage.layout import ledger_key, outcomes_key
from storage.ledger import Ledger
from storage.tables import OUTCOMES, write_parquet
from tests.damage.kit import DAMAGES, flip
from tests.world import World, documents

MakeWorld = Callable[..., World]
KINDS = {
    "plan": "plan.json",
    "draft": "plan.*.json",
    "shards": "shards/*.jsonl.zst",
    "requests": "shards/*.parquet",
    "carried": "carried.*",
    "rejects": "rejects.*",
    "ledgers": "ledger/[12]-*/*",
    "job ledger": "ledger/job/*",
    "raw": "raw/*/*",
    "outcomes": "outcomes/*",
    "strays": "strays/*",
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A night with everything in it: rejects, shared requests, strays, retries of what went wrong, two shards."""
    folder = tmp_path_factory.mktemp("finished")
    faults = [Fault(action="stranger_lines", count=1), Fault(action="duplicate_lines", count=1, nth=2)]
    rates = Rates(transient=0.2, permanent=0.1, truncated=0.1)
    options: dict[str, Any] = {"rates": rates, "faults": faults, "speed": 0.0, "batch_seconds": 600.0}
    with pytest.MonkeyPatch.context() as patch, Emulator(seed=7, **options) as emulator:
        for name, value in variables(emulator.url).items():
            patch.setenv(name, value)
        world = World(emulator, str(folder / "store"), folder)
        items = [*documents(20), b"bad line", {**documents(1)[0], "doc_id": "another"}]
        world.run(world.write(items), shard_requests=10)
        world.close()
        yield world


@pytest.fixture
def copy(finished: World, tmp_path: Path) -> World:
    """That night's store and database, to be damaged."""
    shutil.copytree(finished.store, tmp_path / "copy/store")
    world = World(finished.emulator, str(tmp_path / "copy/store"), tmp_path / "copy")
    shutil.copy(finished.desk().database, world.desk().database)
    return world


def objects(world: World, kind: str) -> list[Path]:
    found = sorted((Path(world.store) / "jobs").glob(f"*/{KINDS[kind]}"))
    assert found
    return found


def only_job(world: World) -> str:
    return next((Path(world.store) / "jobs").iterdir()).name


def test_a_finished_job_is_proved(world: World):
    job = world.run(world.write([*documents(9), b"bad line"]), shard_requests=4)
    proof = verify(world.desk(), job.id)
    assert proof.violations == []
    assert proof.counts["requests"] == proof.counts["outcomes"] == proof.counts["succeeded"] == 9


def test_a_night_with_everything_in_it_is_proved(copy: World):
    proof = verify(copy.desk())
    assert proof.violations == []
    assert proof.counts["items"] == proof.counts["succeeded"] + proof.counts["failed"] == 21
    assert proof.counts["shards"] > 2


def test_a_job_in_flight_is_proved(world: World):
    world.send(world.write(documents(6)), shard_requests=4)
    proof = verify(world.desk())
    assert proof.violations == []
    assert (proof.counts["in_flight"], proof.counts["outcomes"]) == (6, 0)


def test_the_kinds_below_are_all_there_is(copy: World):
    named = {path for kind in KINDS for path in objects(copy, kind)}
    assert {path for path in (Path(copy.store) / "jobs").rglob("*") if path.is_file()} == named


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("kind", sorted(KINDS.keys() - {"job ledger"}))
def test_damage_to_any_object_is_named(copy: World, kind: str, damage: str):
    for path in objects(copy, kind):
        written = path.read_bytes()
        DAMAGES[damage](path)
        key = str(path.relative_to(copy.store))
        violations = verify(copy.desk()).violations
        # A last record that is gone shows in what only it said to count: this shard's rows, or the shard made of it.
        names = {key, path.parent.name[1:]} if kind == "ledgers" and damage == "delete" else {key}
        assert any(name in sentence for name in names for sentence in violations), key
        path.write_bytes(written)
    assert verify(copy.desk()).violations == []


@pytest.mark.parametrize("damage", ["flip", "truncate"])
def test_damage_to_the_ledger_of_the_job_is_named(copy: World, damage: str):
    [path] = objects(copy, "job ledger")
    DAMAGES[damage](path)
    assert any(str(path.relative_to(copy.store)) in sentence for sentence in verify(copy.desk()).violations)


def test_a_lost_note_about_carried_items_is_written_again(copy: World):
    [path] = objects(copy, "job ledger")
    path.unlink()
    assert verify(copy.desk()).violations == []
    assert path.exists()


@pytest.mark.parametrize("event", ["settled", "sent", "fetched", "retried", "unheard-of"])
def test_an_extra_record_is_named(copy: World, event: str):
    desk, job = copy.desk(), only_job(copy)
    number = len(Ledger(desk.store, job, "1-00002").records())
    data = {"counts": {}, "batch_id": "b", "files": [], "shards": [{"id": "2-00002x7"}]}
    assert desk.append(job, "1-00002", number, event, data) == number + 1
    violations = " ".join(verify(copy.desk()).violations)
    assert ledger_key(job, "1-00002", number + 1) in violations or "1-00002: ledger record" in violations


def test_a_record_beside_the_ledger_is_named(copy: World):
    path = objects(copy, "ledgers")[0]
    shutil.copy(path, path.with_name("000099.json"))
    assert any("000099.json" in sentence for sentence in verify(copy.desk()).violations)


CHANGES = {
    "jobs": "UPDATE jobs SET lines = 5",
    "requests": "UPDATE requests SET line = 77 WHERE item_id = 'doc-3'",
    "items": "UPDATE items SET summary = '{}' WHERE item_id = 'doc-3'",
    "carried": "UPDATE items SET item_id = 'someone' WHERE how = 'shared'",
    "attempts": "UPDATE attempts SET cost_usd = 1 WHERE raw_line = 1",
    "answers": "UPDATE results SET answer = '{}'",
    "rejects": "DELETE FROM rejects",
    "strays": "UPDATE strays SET kind = 'twin'",
    "no outcome": "DELETE FROM attempts WHERE outcome = 'succeeded'",
    "twin": "INSERT INTO attempts SELECT * FROM attempts LIMIT 1",
    "unknown job": "UPDATE jobs SET job_id = 'nobody'",
    "not loaded": "DELETE FROM loaded WHERE kind = 'outcomes'",
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_row_in_duckdb_is_named(copy: World, change: str):
    desk = copy.desk()
    with duckdb.connect(desk.database) as connection:
        connection.execute(CHANGES[change])
    violations = verify(desk).violations
    assert violations
    assert all(only_job(copy) in sentence or "request " in sentence or "nobody" in sentence for sentence in violations)


def test_a_lost_plan_is_named_when_its_job_was_bought(copy: World):
    objects(copy, "plan")[0].unlink()
    shutil.rmtree(copy.folder / "state")
    assert only_job(copy) in verify(copy.desk()).violations[0]


def test_what_an_interrupted_packing_left_is_no_violation(copy: World):
    objects(copy, "plan")[0].unlink()
    shutil.rmtree(copy.folder / "state")
    shutil.rmtree(objects(copy, "job ledger")[0].parent.parent)
    assert verify(copy.desk()).violations == []


def test_one_job_is_proved_while_another_is_damaged(make_world: MakeWorld):
    world = make_world()
    broken = world.run(world.write(documents(3, "old"), "old.jsonl"))
    job = world.run(world.write(documents(4)))
    flip(Path(world.store) / broken.shards[0].settlement["outcomes_key"])
    assert verify(world.desk(), job.id).violations == []
    assert broken.shards[0].settlement["outcomes_key"] in verify(world.desk()).violations[0]


def test_the_command_prints_a_proof_and_names_damage_with_exit_1(copy: World):
    words = [copy.store, "--results", str(copy.folder / "results.duckdb")]
    environment = {"BATCHJOBS_STATE_DIR": str(copy.folder / "state")}
    proved = CliRunner().invoke(cli, ["verify", "--store", *words, "--json"], env=environment, standalone_mode=False)
    assert (proved.return_value, json.loads(proved.stdout)["state"]) == (0, "proved")
    path = objects(copy, "raw")[0]
    flip(path)
    violated = CliRunner().invoke(cli, ["verify", "--store", *words], env=environment, standalone_mode=False)
    assert violated.return_value == 1
    assert path.name in violated.stdout


def rewritten(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """A ledger record that says something else, with the right checksum: what only the identities can tell."""
    record = json.loads(path.read_bytes())
    del record["sha256"]
    change(record["data"])
    path.write_bytes(sealed(json.dumps(record).encode()))


def resettled(world: World, change: Callable[[dict[str, Any]], None]) -> None:
    """The outcomes of the second shard replaced by others, under their own right key."""
    job = load_job(world.desk().store, only_job(world))
    shard = job.shards[1]
    columns = pq.read_table(Path(world.store) / shard.settlement["outcomes_key"]).to_pydict()
    change(columns)
    path = world.folder / "outcomes"
    write_parquet(path, OUTCOMES, columns)
    key = outcomes_key(job.id, shard.plan.id, file_sha8(path))
    world.desk().store.create_from(key, path)
    events = [record.event for record in Ledger(world.desk().store, job.id, shard.plan.id).records()]
    settled = Path(world.store) / ledger_key(job.id, shard.plan.id, events.index("settled") + 1)
    rewritten(settled, lambda data: data.update(outcomes_key=key))


def last_row(columns: dict[str, Any], **values: Any) -> None:
    for name, value in values.items():
        columns[name][-1] = value


OUTCOME_CHANGES: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "lost": (lambda c: [values.pop() for values in c.values()], "has no outcome"),
    "stranger": (lambda c: last_row(c, custom_id="someone"), "someone in .* was never asked"),
    "twin": (lambda c: [values.append(values[-1]) for values in c.values()], "more than one outcome"),
    "other outcome": (lambda c: last_row(c, outcome="expired"), "the ledger says {"),
    "no outcome at all": (lambda c: last_row(c, outcome="whatever"), "do not exist"),
    "cost": (lambda c: last_row(c, cost_usd=Decimal(7)), "the cost of .* comes to 7"),
    "tokens": (lambda c: last_row(c, input_tokens=10**6), "the input_tokens of"),
    "repair": (
        lambda c: c["repaired"].__setitem__(c["outcome"].index("succeeded"), True),
        "the repaired of .* comes to 1",
    ),
    "repair of nothing": (lambda c: last_row(c, repaired=True, outcome="expired", answer=None), "that did not succeed"),
    "source": (lambda c: last_row(c, raw_key=None, raw_line=None), "come from 1[0-9] lines"),
    "foreign source": (lambda c: last_row(c, raw_key="elsewhere"), "elsewhere is named"),
}


@pytest.mark.parametrize("change", OUTCOME_CHANGES)
def test_outcomes_that_break_an_identity_are_named(copy: World, change: str):
    make, sentence = OUTCOME_CHANGES[change]
    resettled(copy, make)
    assert any(re.search(sentence, one) for one in verify(copy.desk()).violations)


def test_a_request_handed_on_twice_is_named(copy: World):
    job = load_job(copy.desk().store, only_job(copy))
    parent = next(shard for shard in job.shards if shard.children)
    again = {"shards": to_builtins([replace(parent.children[0], id="2-00001x9")]), "requests": 1}
    copy.desk().append(job.id, parent.plan.id, parent.number, "retried", again)
    assert any(f"shard {parent.plan.id}" in one and "handed on" in one for one in verify(copy.desk()).violations)


def test_a_job_on_s3_is_proved(make_world: MakeWorld, s3_url: str):
    world = make_world(store=s3_url)
    world.run(world.write(documents(5)), shard_requests=3)
    proof = verify(world.desk())
    assert (proof.violations, proof.counts["outcomes"]) == ([], 5)
