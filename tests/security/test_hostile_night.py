"""One night of hostile items and hostile answers: stored as data or refused by name, and the rest goes on."""

import json
from collections.abc import Iterator

import pytest
from click.testing import CliRunner

from batchjobs.cli import cli
from batchjobs.jobs import Job
from batchjobs.rehearsal import variables
from batchjobs.verify import verify
from providers.emulator import Emulator
from tests.security.hostile import (
    ANSWERS,
    BAD_LINES,
    FAILING,
    FILE_NAME,
    GOOD,
    IDS,
    control_signs,
    line_of,
    lines,
    said,
)
from tests.world import World

REASONS = {name: reason for name, (_, reason) in BAD_LINES.items()}  # without the lines, which are long to print
OUTCOMES = {name: outcome for name, (_, outcome) in ANSWERS.items()}
WORDS = ["run", "poll", "status", "failures", "report", "verify", "rebuild"]


@pytest.fixture(scope="module", params=["openai", "anthropic"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("hostile")
    with pytest.MonkeyPatch.context() as patch, Emulator(answer=said, batch_seconds=600.0) as emulator:
        settings = {
            "BATCHJOBS_RESULTS": str(folder / "results.duckdb"),
            "BATCHJOBS_STATE_DIR": str(folder / "state"),
            "BATCHJOBS_TASK": "tests.small_task:TASK",
            "BATCHJOBS_PROVIDER": request.param,
            "BATCHJOBS_MAX_OUTPUT_TOKENS": "30000",
            "BATCHJOBS_MAX_ATTEMPTS": "1",
            "BATCHJOBS_DEADLINE": "1s",
        }
        for name, value in (variables(emulator.url) | settings).items():
            patch.setenv(name, value)
        world = World(emulator, str(folder / "store"), folder, request.param)
        source = world.write(lines(), FILE_NAME)
        submitted = CliRunner().invoke(cli, ["submit", str(source), "--store", world.store], standalone_mode=False)
        assert submitted.return_value == 0, submitted.output
        world.run(source, max_attempts=1, max_output_tokens=30_000)
        yield world
        world.close()


@pytest.fixture
def job(world: World) -> Job:
    return world.job(next(iter(world.desk().store.children("jobs/"))))


def test_every_line_is_an_item_or_a_named_reject(world: World, job: Job):
    assert job.plan.items == len(IDS) + len(ANSWERS) + 1
    assert (job.plan.rejected, job.plan.duplicates) == (len(BAD_LINES), 1)
    assert job.finished
    assert verify(world.desk()).violations == []


@pytest.mark.parametrize("name", IDS)
def test_a_hostile_id_is_stored_as_it_is_and_answered(world: World, name: str):
    states = dict(world.sql("SELECT item_id, state FROM item_states"))
    assert states[IDS[name]] == ("failed" if name in FAILING else "succeeded")


@pytest.mark.parametrize("name", BAD_LINES)
def test_a_bad_line_is_refused_by_name(world: World, name: str):
    told = world.sql(f"SELECT reason, detail FROM rejects WHERE line = {line_of(name)}")
    assert [reason for reason, _ in told] == [REASONS[name]]
    [(_, detail)] = told
    assert len(detail) < 300


@pytest.mark.parametrize("name", ANSWERS)
def test_a_hostile_answer_is_stored_as_data_or_told_apart(world: World, name: str):
    item = f"answer {name}"
    query = "SELECT outcome, answer FROM items JOIN attempts USING (request_key) LEFT JOIN results USING (request_key)"
    [(found, answer)] = world.sql(f"{query} WHERE item_id = '{item}'")
    assert found == OUTCOMES[name]
    told = GOOD if name == "prose" else ANSWERS[name][0]
    same = answer is None if found != "succeeded" else json.loads(answer) == json.loads(told)
    assert same


def test_nothing_was_executed_and_no_file_left_its_place(world: World):
    assert {name for (name,) in world.sql("SELECT table_name FROM duckdb_tables()")} >= {"jobs", "items", "results"}
    names = {path.name for path in world.folder.iterdir()}
    assert names == {
        FILE_NAME,
        "store",
        "state",
        "results.duckdb",
        f"{world.sql('SELECT job_id FROM jobs')[0][0]}.rejects.jsonl",
    }
    assert world.sql("SELECT source FROM jobs") == [(str(world.folder / FILE_NAME),)]


def test_keys_and_ids_at_the_provider_are_plain(world: World):
    for key in world.desk().store.keys("jobs/"):
        assert key.isascii()
        assert ".." not in key
    assert all(charge.custom_id.replace("-", "").isalnum() for charge in world.emulator.charges)


def test_the_rejects_have_one_record_a_line(world: World):
    path = next(world.folder.glob("*.rejects.jsonl"))
    records = [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]
    assert len(records) == len(BAD_LINES) + 1
    assert IDS["osc"] in {record["item_id"] for record in records}


@pytest.mark.parametrize("how", [[], ["--json"], ["-v"]], ids=["plain", "json", "verbose"])
@pytest.mark.parametrize("word", WORDS)
def test_no_command_lets_a_control_sign_through(world: World, job: Job, word: str, how: list[str]):
    arguments = {"run": [str(world.folder / FILE_NAME)], "failures": [job.id], "report": [job.id]}
    words = [word, *arguments.get(word, []), "--store", world.store, *how]
    result = CliRunner().invoke(cli, words, standalone_mode=False)
    assert result.exception is None
    assert control_signs(result.stdout + result.stderr) == set()
    if how == ["--json"]:
        json.loads(result.stdout)


def test_failures_show_hostile_ids_harmlessly(world: World, job: Job):
    shown = CliRunner().invoke(cli, ["failures", job.id, "--store", world.store], standalone_mode=False).stdout
    assert "0;owned" in shown
    assert "answer deep" in shown
