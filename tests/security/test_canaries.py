"""Canary keys and texts through every failing path: found nowhere but where they belong (DESIGN promise 8)."""

import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from batchjobs.cli import cli
from providers.emulator import Fault, Rates
from providers.emulator.faults import BATCH, REPLY
from tests.security.canaries import (
    ANSWER,
    AWS_KEY,
    AWS_SECRET,
    DEBUG,
    ECHO,
    KEY,
    PROMPT,
    Stage,
    answer,
    command_line,
    found,
    in_environment,
    items,
)
from tests.storage.stores import BUCKET, Proxy
from tests.storage.stores import Fault as S3Fault
from tests.storage.stores import s3_proxy as s3_proxy
from tests.world import TASK, World

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path for package in ("batchjobs", "providers", "storage") for path in (ROOT / package).rglob("*.py"))

MakeWorld = Callable[..., World]
MakeStage = Callable[..., Stage]
FAST = {"speed": 50_000.0, "batch_seconds": 3_000.0, "answer": answer}
ROUTES = [
    ("openai", "POST /v1/files"), ("openai", "GET /v1/files/*"), ("openai", "POST /v1/batches"),
    ("openai", "GET /v1/batches/*"), ("openai", "GET /v1/files/*/content"), ("openai", "DELETE /v1/files/*"),
    ("anthropic", "POST /v1/messages/batches"), ("anthropic", "GET /v1/messages/batches/*"),
    ("anthropic", "GET /v1/messages/batches/*/results"), ("anthropic", "DELETE /v1/messages/batches/*"),
]  # fmt: skip
LIVES_MAX = 3
PAGE = f"<html>{KEY} {PROMPT}</html>"
ON_THE_WIRE: list[dict[str, Any]] = [
    {"action": "status", "status": 400, **ECHO}, {"action": "status", "status": 401, **ECHO},
    {"action": "status", "status": 429, **ECHO}, {"action": "status", "status": 500, **ECHO},
    {"action": "status", "status": 200, "body": PAGE}, {"action": "status", "status": 502, "body": PAGE},
    {"action": "not_found"}, {"action": "drop_before"}, {"action": "accept_then_drop"},
    {"action": "accept_then_timeout", "seconds": 0.1}, {"action": "cut", "after": 10},
]  # fmt: skip


@pytest.fixture
def make_stage(make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch) -> MakeStage:
    def make(provider: str = "openai", **options: Any) -> Stage:
        world = make_world(provider, **(FAST | options))
        in_environment(monkeypatch, world)
        return Stage(world)

    return make


def calls(stage: Stage, route: str) -> int:
    """How often a route was called: so many of its faults have struck."""
    method, _, path = route.partition(" ")
    return sum(one.method == method and fnmatchcase(one.path, path) for one in stage.world.emulator.requests)


def whole_life(stage: Stage, source: Path) -> None:
    """Every command that talks to the provider or reads the store, as people would try them on a bad night."""
    stage.run("run", str(source))
    for verb in ("poll", "collect", "status", "cancel", "failures", "report", "verify"):
        stage.run(verb, *([next(stage.world.desk().store.children("jobs/"))] if verb in NAMED else []))
    stage.run("purge", next(stage.world.desk().store.children("jobs/")), "--yes")


NAMED = ("cancel", "failures", "report")


@pytest.mark.parametrize(("provider", "route"), ROUTES, ids=[" ".join(route) for route in ROUTES])
def test_every_failure_of_every_route(make_stage: MakeStage, provider: str, route: str):
    faults = [Fault(route=route, nth=number, **fault) for number, fault in enumerate(ON_THE_WIRE, start=1)]
    stage = make_stage(provider, faults=faults)
    source = stage.world.write(items(4))
    for _ in range(LIVES_MAX):
        whole_life(stage, source)
        if calls(stage, route) >= len(faults):
            break
        source = stage.world.write(items(4), f"{len(stage.said)}.jsonl")
    assert stage.leaks() == []
    assert calls(stage, route) >= min(len(faults), 4)


CREATE = {"openai": "POST /v1/batches", "anthropic": "POST /v1/messages/batches"}


def struck(stage: Stage, route: str, verb: str) -> None:
    """One command again and again, until every fault of the route has struck."""
    source = stage.world.write(items(2))
    stage.run("submit", str(source))
    job = next(stage.world.desk().store.children("jobs/"))
    for _ in ON_THE_WIRE:
        stage.run(verb, job)
    assert calls(stage, route) >= len(ON_THE_WIRE)
    assert stage.leaks() == []


def test_every_failure_of_a_cancellation(make_stage: MakeStage, provider: str):
    route = f"{CREATE[provider]}/*/cancel"
    faults = [Fault(route=route, nth=number, **fault) for number, fault in enumerate(ON_THE_WIRE, start=1)]
    struck(make_stage(provider, faults=faults, speed=1.0, batch_seconds=3600.0), route, "cancel")


def test_every_failure_of_looking_for_a_lost_purchase(make_stage: MakeStage, provider: str):
    route = CREATE[provider].replace("POST", "GET")
    faults = [Fault(route=route, nth=number, **fault) for number, fault in enumerate(ON_THE_WIRE, start=1)]
    lost = Fault(action="drop_before", route=CREATE[provider], times=0)
    struck(make_stage(provider, faults=[lost, *faults]), route, "poll")


@pytest.mark.parametrize("action", sorted(REPLY | BATCH))
def test_every_odd_reply_and_every_odd_batch(make_stage: MakeStage, provider: str, action: str):
    stage = make_stage(provider, faults=[Fault(action=action, times=2, word="odd", code=ECHO["code"])])
    whole_life(stage, stage.world.write(items(4)))
    assert stage.leaks() == []


def test_bad_lines_bad_answers_and_refusals(make_stage: MakeStage, provider: str):
    """A validator's and a reject's words say what was expected, never what was found."""
    rates = Rates(permanent=0.1, transient=0.1, invalid=0.3, refused=0.2, truncated=0.1)
    stage = make_stage(provider, rates=rates)
    bad = [
        PROMPT.encode(),
        json.dumps({"doc_id": "a", "text": [PROMPT]}).encode(),
        json.dumps({"text": PROMPT}).encode(),
        json.dumps({"doc_id": "b", PROMPT: 1}).encode(),
        json.dumps({"doc_id": "doc-1", "text": PROMPT}).encode(),
        b'{"doc_id": "c", "text": "' + PROMPT.encode() + b"\xff",
    ]
    whole_life(stage, stage.world.write([*items(12), *bad]))
    assert (stage.world.folder / "results.duckdb").exists()
    assert stage.leaks() == []


@pytest.mark.parametrize(
    "said", [f"{ANSWER}", json.dumps({"label": ANSWER}), json.dumps({"label": 1, "score": ANSWER})]
)
def test_answers_that_do_not_fit(make_stage: MakeStage, said: str):
    stage = make_stage(answer=lambda _: said)
    stage.run("run", str(stage.world.write(items(3))), "--deadline", "60s")
    assert stage.run("failures", next(stage.world.desk().store.children("jobs/"))) == 3
    assert stage.leaks() == []


def test_a_strict_refusal_says_where_and_not_what(make_stage: MakeStage):
    stage = make_stage()
    source = stage.world.write([json.dumps({"doc_id": "a", "text": [PROMPT]}).encode()])
    assert stage.run("run", str(source), "--strict") == -1
    assert "line 1 is rejected" in stage.said[0]
    assert stage.leaks() == []


@pytest.mark.parametrize("kind", ["plan.json", "shards/*", "ledger/*/*", "raw/*/*", "outcomes/*"])
def test_a_damaged_store(make_stage: MakeStage, kind: str):
    """What is found in the place of an object is somebody's text, and is not shown."""
    stage = make_stage()
    source = stage.world.write(items(4))
    stage.run("run", str(source))
    job = next(stage.world.desk().store.children("jobs/"))
    for path in Path(stage.world.store, "jobs", job).glob(kind):
        path.write_bytes(json.dumps({"canary": [PROMPT, KEY]}).encode() if kind.endswith("json") else PROMPT.encode())
    stage.said.clear()
    for verb in ("status", "poll", "collect", "verify", "rebuild"):
        stage.run(verb)
    for verb in ("report", "failures", "retry", "purge"):
        stage.run(verb, job, *(["--yes"] if verb == "purge" else []))
    stage.run("run", str(source))
    assert found("\n".join(stage.said)) == []
    assert 1 in stage.codes or -1 in stage.codes


def test_a_damaged_database(make_stage: MakeStage):
    stage = make_stage()
    source = stage.world.write(items(4))
    stage.run("run", str(source))
    database = stage.world.desk().database
    for content in (PROMPT.encode() * 1000, database.read_bytes()[:9000]):
        database.write_bytes(content)
        stage.run("verify")
    assert found("\n".join(stage.said)) == []


def test_a_store_on_s3_that_refuses(make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch, s3_proxy: Proxy):
    for name, value in {"AWS_ACCESS_KEY_ID": AWS_KEY, "AWS_SECRET_ACCESS_KEY": AWS_SECRET}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3_proxy.endpoint)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    world = make_world("openai", store=f"s3://{BUCKET}/canaries", **FAST)
    in_environment(monkeypatch, world)
    stage = Stage(world)
    for method in ("GET", "PUT"):
        s3_proxy.faults.append(S3Fault(method, 403, f"InvalidAccessKeyId {AWS_KEY} {AWS_SECRET}"))
        assert stage.run("run", str(world.write(items(3)))) == -1
    assert stage.run("doctor") in (0, 6)
    assert found("\n".join(stage.said)) == []


# --- processes: what they say, and what everybody may see of them


def process(world: World, *words: str, **more: str) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-m", "batchjobs", *words, "--store", world.store]
    return subprocess.Popen(arguments, env=os.environ | more, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def ended(world: World, *words: str, **more: str) -> tuple[int, str]:
    with process(world, *words, **more) as one:
        out, err = one.communicate()
    return one.returncode, out + err


@pytest.mark.parametrize("how", [["-v"], ["--json"]], ids=" ".join)
def test_the_sdks_own_debug_switches_change_nothing(make_stage: MakeStage, provider: str, how: list[str]):
    world = make_stage(provider).world
    words = ["run", str(world.write(items(3))), "--task", TASK, "--provider", provider, "--deadline", "60s", *how]
    code, said = ended(world, *words, **DEBUG)
    assert code == 0, said
    assert found(said) == []
    assert "DEBUG" not in said


def test_code_that_stumbles_over_an_item_is_named_and_not_quoted(make_stage: MakeStage):
    world = make_stage().world
    words = ["run", str(world.write(items(1))), "--task", "tests.security.wordy_task:TASK"]
    for more in ([], ["-v"]):
        code, said = ended(world, *words, *more)
        assert (code, found(said)) == (1, [])
        assert "Stumbled" in said
    assert "wordy_task.py" in said


def test_a_wrong_key_is_told_and_not_shown(make_stage: MakeStage, provider: str):
    world = make_stage(provider).world
    world.emulator.add_fault(Fault(action="status", status=401, times=0, **ECHO))
    words = ["run", str(world.write(items(3))), "--task", TASK, "--provider", provider, "-v"]
    code, said = ended(world, *words)
    assert (code, found(said)) == (6, [])


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda how: how.name)
def test_a_process_that_is_stopped(make_stage: MakeStage, how: signal.Signals):
    stage = make_stage(speed=1.0, batch_seconds=3600.0)
    words = ["run", str(stage.world.write(items(3))), "--task", TASK, "--deadline", "60s"]
    with process(stage.world, *words) as one:
        assert one.stdout is not None
        first = next(line for line in one.stdout if "in flight: " in line)
        seen = command_line(one.pid)
        one.send_signal(how)
        out, err = one.communicate()
    stage.said += [first, out, err, seen]
    assert "batchjobs run" in seen
    assert stage.leaks() == []


def test_a_process_killed_while_it_holds_prompts(make_stage: MakeStage):
    stage = make_stage()
    words = ["run", str(stage.world.write(items(3))), "--task", TASK]
    code, said = ended(stage.world, *words, BATCHJOBS_KILL_AT="ledger-intent.before:1")
    stage.said.append(said)
    assert code == -signal.SIGKILL
    assert list((stage.world.folder / "state").rglob("spool-*"))
    assert all(path.stat().st_mode & 0o077 == 0 for path in (stage.world.folder / "state").rglob("spool-*"))
    stage.run("run", str(stage.world.folder / "items.jsonl"))
    assert not list((stage.world.folder / "state").rglob("spool-*"))
    assert stage.leaks() == []


# --- the rule about local variables


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_nothing_of_ours_formats_local_variables(path: Path):
    """RELIABILITY E6: with captured locals both SDKs' tracebacks hold key and prompt."""
    text = path.read_text()
    for word in ("capture_locals", "show_locals", "rich.traceback", "locals()", "cgitb", "faulthandler"):
        assert word not in text


def test_an_error_with_its_locals_would_hold_the_prompt(make_stage: MakeStage):
    """What the rule above is for: this is what a formatter that shows locals would print."""
    stage = make_stage()
    source = stage.world.write(items(1))
    result = CliRunner().invoke(
        cli, ["run", str(source), "--task", "tests.security.wordy_task:TASK", "--store", stage.world.store],
        standalone_mode=False,
    )  # fmt: skip
    assert result.exception is not None
    shown = "".join(traceback.TracebackException.from_exception(result.exception, capture_locals=True).format())
    assert PROMPT in shown
