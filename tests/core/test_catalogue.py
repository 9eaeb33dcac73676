"""`providers` prints the figures that packing and sending go by, and what each provider needs to be set."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console

import providers
from batchjobs import catalogue
from batchjobs.cli import cli
from batchjobs.pack import BYTES_MARGIN, shard_limits
from providers.contract import Carriage, Enforcement, PriceSource, State, Trace
from tests.world import World, documents

PRINTED = catalogue.document({})["providers"]
KNOWN = {(one["provider"], one["endpoint"]): one for one in PRINTED}
each = pytest.mark.parametrize("case", sorted(KNOWN), ids="-".join)


def printed(tmp_path: Path, *words: str, table: str = "") -> Any:
    (tmp_path / "batchjobs.toml").write_text(table)
    done = CliRunner().invoke(
        cli, ["providers", "--config", str(tmp_path / "batchjobs.toml"), *words], standalone_mode=False
    )
    assert done.return_value == 0
    return done.stdout


def test_every_provider_and_endpoint_is_in_the_document(tmp_path: Path):
    told = json.loads(printed(tmp_path, "--json"))
    assert told == json.loads(json.dumps(catalogue.document({})))
    assert {name for name, _ in KNOWN} == set(providers.NAMES)


@each
def test_packing_uses_the_limits_that_are_printed(case: tuple[str, str]):
    limits = KNOWN[case]["limits"]
    used = shard_limits(providers.load_format(*case), None, 10**12, None)
    told = (limits["requests_min"], limits["requests"], int(limits["bytes"] * BYTES_MARGIN))
    assert (used.requests_min, used.requests_max, used.bytes_max) == told


def test_a_night_is_packed_by_the_limit_that_is_printed(make_world: Any, tmp_path: Path):
    switches = {"max_requests": 3, "url_variable": "OPENAI_BASE_URL"}
    text = printed(tmp_path, "--json", table="[compatible]\nmax_requests = 3\n")
    entry = next(one for one in json.loads(text)["providers"] if one["provider"] == "compatible")
    world: World = make_world("openai")
    asked: dict[str, Any] = {"provider": "compatible", "compatible": switches, "model": "m", "no_price": True}
    plan = world.accept(world.write(documents(7)), **asked).plan
    assert [shard.requests for shard in plan.shards] == [entry["limits"]["requests"], 3, 1]


@each
def test_a_row_says_everything(case: tuple[str, str]):
    words = catalogue.facts(providers.load_format(*case))
    assert [what for what, text in words.items() if not text] == []
    states = {State(state) for state in KNOWN[case]["traits"]["states"].values()}
    assert {State.running, State.stopping, State.ended} <= states


@pytest.mark.parametrize("width", [80, 120])
def test_the_tables_fit_the_terminal(width: int):
    screen = Console(width=width, file=StringIO())
    for table in catalogue.tables({}):
        screen.print(table)
    lines = screen.file.getvalue().split("\n")
    assert max(map(len, lines)) <= width
    assert [name for name in providers.NAMES if not any(line.strip() == name for line in lines)] == []


@pytest.mark.parametrize("words", [[], ["--json"]], ids=str)
def test_it_needs_no_store_and_makes_none(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert "bedrock_role_arn" in printed(tmp_path, *words)
    assert [path.name for path in tmp_path.iterdir()] == ["batchjobs.toml"]


def test_the_kinds_of_provider_are_told_apart():
    traits = {name: providers.traits(name) for name in providers.NAMES}
    assert {name: t.traced_by for name, t in traits.items() if t.traced_by is not Trace.metadata} == {
        "anthropic": Trace.circumstances,
        "bedrock": Trace.token,
    }
    assert [name for name, t in traits.items() if t.carriage is Carriage.upload] == [
        *("openai", "azure", "groq", "compatible")
    ]
    assert [name for name, t in traits.items() if t.priced is PriceSource.told] == ["azure", "compatible"]
    assert traits["bedrock"].enforces is Enforcement.by_model


@pytest.mark.parametrize(
    ("table", "trace", "enforced"),
    [
        ({"metadata": False}, Trace.file_name, Enforcement.strict),
        ({"metadata": False, "file_status": False}, Trace.nothing, Enforcement.strict),
        ({"lists": False, "structured": "none"}, Trace.nothing, Enforcement.words),
        ({"structured": "json_object"}, Trace.metadata, Enforcement.json_object),
    ],
    ids=str,
)
def test_switches_change_the_row(table: dict[str, Any], trace: Trace, enforced: Enforcement):
    entry = next(one for one in catalogue.document(table)["providers"] if one["provider"] == "compatible")
    assert (entry["traits"]["traced_by"], entry["traits"]["enforces"]) == (trace, enforced)
