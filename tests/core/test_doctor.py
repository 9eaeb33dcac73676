"""`doctor` says what is right, what is not and how to mend it, and refuses a store that does not create once."""

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from click.testing import CliRunner

from batchjobs.cli import cli
from batchjobs.doctor import Check, document, examine, exit_code, lines
from providers.emulator import Fault
from storage import open_store
from storage.duckfile import DuckFile
from tests.storage.stores import CREDENTIALS
from tests.world import TASK, World

ROLE = "arn:aws:iam::000000000000:role/batch"
MakeWorld = Callable[..., World]


def states(checks: list[Check]) -> dict[str, str]:
    return {check.name: check.state for check in checks}


def failed(checks: list[Check]) -> dict[str, str]:
    return {check.name: check.detail for check in checks if check.state == "failed"}


class Careless(ThreadingHTTPServer):
    """An S3 server that ignores conditions, as some do: every PUT succeeds, the last one stays."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), CarelessHandler)
        self.objects: dict[str, bytes] = {}
        self.lock = Lock()


class CarelessHandler(BaseHTTPRequestHandler):
    server: Careless
    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with self.server.lock:
            self.server.objects[self.key] = body
        self.reply(200)

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        if "list-type" in query:
            self.reply(200, self.listing(query["prefix"][0], query.get("delimiter", [""])[0]))
        elif self.key in self.server.objects:
            self.reply(200, self.server.objects[self.key])
        else:
            self.reply(404, b"<Error><Code>NoSuchKey</Code></Error>")

    def do_DELETE(self) -> None:
        self.server.objects.pop(self.key, None)
        self.reply(204)

    @property
    def key(self) -> str:
        return unquote(urlsplit(self.path).path).split("/", 2)[2]

    def listing(self, prefix: str, delimiter: str) -> bytes:
        keys = sorted(key for key in self.server.objects if key.startswith(prefix))
        if delimiter:
            folders = sorted({prefix + key.removeprefix(prefix).split("/")[0] + "/" for key in keys})
            parts = [f"<CommonPrefixes><Prefix>{folder}</Prefix></CommonPrefixes>" for folder in folders]
        else:
            parts = [f"<Contents><Key>{key}</Key></Contents>" for key in keys]
        return f"<ListBucketResult>{''.join(parts)}<IsTruncated>false</IsTruncated></ListBucketResult>".encode()

    def reply(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Nothing to say."""


@pytest.fixture
def careless(monkeypatch: pytest.MonkeyPatch) -> Iterator[Careless]:
    server = Careless()
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    for name, value in (CREDENTIALS | {"AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{server.server_port}"}).items():
        monkeypatch.setenv(name, value)
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_good_place_passes_every_check(world: World):
    checks = examine(world.desk())
    assert failed(checks) == {}
    assert set(states(checks).values()) == {"ok"}
    assert exit_code(checks) == 0
    assert not world.emulator.batches


def test_nothing_stays_in_the_store(world: World):
    examine(world.desk())
    assert [path for path in Path(world.store).rglob("*") if path.is_file()] == []


def test_an_s3_server_that_keeps_its_promises_passes_and_is_left_empty(make_world: MakeWorld, s3_url: str):
    world = make_world(store=s3_url)
    checks = examine(world.desk())
    assert set(states(checks).values()) == {"ok"}
    assert list(open_store(s3_url).keys("")) == []


def test_an_s3_server_that_ignores_conditions_is_refused(make_world: MakeWorld, careless: Careless):
    checks = examine(make_world(store="s3://careless-bucket/store").desk())
    assert failed(checks).keys() == {"create once"}
    assert "16 of 16 writers" in failed(checks)["create once"]
    assert exit_code(checks) == 6
    assert careless.objects == {}


def test_a_store_that_cannot_be_written_is_told_once(make_world: MakeWorld):
    world = make_world()
    desk = world.desk()
    Path(world.store, "doctor").write_text("in the way")
    checks = states(examine(desk))
    assert checks["store writable"] == "failed"
    assert checks["create once"] == checks["list after write"] == "not checked"


def test_a_missing_key_is_told_with_its_variable(world: World, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(f"{world.provider.upper()}_API_KEY")
    checks = examine(world.desk())
    assert f"{world.provider.upper()}_API_KEY" in failed(checks)["key"]
    assert exit_code(checks) == 6


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_is_told_from_a_provider_that_is_away(make_world: MakeWorld, provider: str, status: int):
    world = make_world(provider, faults=[Fault(action="status", status=status, times=0, route="GET *")])
    checks = examine(world.desk())
    assert states(checks)["provider"] == "ok"
    assert f"HTTP {status}" in failed(checks)["key"]


def test_a_provider_that_is_away_is_failed_and_its_key_not_judged(world: World):
    world.emulator.stop()
    checks = examine(world.desk())
    found = states(checks)
    assert (found["provider"], found["key"], found["clock"]) == ("failed", "not checked", "not checked")
    assert exit_code(checks) == 6


@pytest.mark.parametrize(
    "settings",
    [{"task": "nosuchtask"}, {"model": "nosuchmodel"}, {"provider": "nobody"}, {"endpoint": "nowhere"}],
    ids=str,
)
def test_a_wrong_choice_is_exit_2_and_the_store_is_checked_all_the_same(
    make_world: MakeWorld, settings: dict[str, str]
):
    checks = examine(make_world().desk(**settings))
    assert next(iter(settings.values())) in failed(checks)["task"]
    assert exit_code(checks) == 2
    assert states(checks)["create once"] == "ok"


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"shard_requests": 50_001}, "shard_requests is 50,001, and openai takes 50,000"),
        ({"shard_bytes": 300_000_000}, "shard_bytes is 300,000,000, and openai takes 200,000,000"),
        ({"provider": "bedrock"}, "There is no bedrock_role_arn"),
        ({"provider": "bedrock", "bedrock_role_arn": "batch"}, "'batch' cannot be a bedrock_role_arn"),
        ({"provider": "bedrock", "bedrock_role_arn": ROLE, "bedrock_kms_key": "k"}, "'k' cannot be a bedrock_kms_key"),
    ],
    ids=str,
)
def test_a_setting_the_provider_cannot_keep_is_refused(make_world: MakeWorld, settings: dict[str, Any], told: str):
    checks = examine(make_world("openai").desk(**settings))
    assert told in failed(checks)["limits"]
    assert exit_code(checks) == 2


def test_the_limits_of_the_provider_are_told(make_world: MakeWorld):
    desk = make_world("openai").desk(provider="bedrock", bedrock_role_arn=ROLE, bedrock_records_min=200)
    told = next(check.detail for check in examine(desk) if check.name == "limits")
    assert told.startswith(
        "a batch of bedrock: 200 to 50,000 requests, 1 GB, a request 16.78 MB: those of the settings"
    )


def test_the_accounts_own_limits_are_told(make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch):
    world = make_world("openai")
    for name, value in (CREDENTIALS | {"AWS_ENDPOINT_URL_SERVICE_QUOTAS": world.emulator.url}).items():
        monkeypatch.setenv(name, value)
    model = "anthropic.claude-haiku-4-5-20251001-v1:0"
    checks = examine(world.desk(provider="bedrock", bedrock_role_arn=ROLE, model=model, shard_requests=50_001))
    assert "bedrock takes 50,000 a batch" in failed(checks)["limits"]
    good = examine(world.desk(provider="bedrock", bedrock_role_arn=ROLE, model=model))
    assert next(check.detail for check in good if check.name == "limits").endswith("those that Service Quotas names")


def test_a_wrong_clock_is_told(make_world: MakeWorld):
    world = make_world()
    world.emulator.advance(timedelta(minutes=4).total_seconds())
    assert "NTP" in failed(examine(world.desk()))["clock"]


def test_a_full_disk_is_told(make_world: MakeWorld):
    checks = examine(make_world().desk(), free_bytes=lambda _: 10**8)
    assert failed(checks).keys() == {"disk of the state", "disk of the store"}


def test_a_database_in_use_is_told(make_world: MakeWorld):
    desk = make_world().desk()
    other = DuckFile(desk.database, {})
    try:
        assert "in use by process" in failed(examine(desk))["duckdb"]
    finally:
        other.close()


def test_every_check_is_a_line_and_an_entry_of_the_document(make_world: MakeWorld):
    checks = examine(make_world().desk())
    assert [line[:2] for line in lines(checks)] == ["ok"] * len(checks)
    assert [entry["name"] for entry in document(checks)["checks"]] == [check.name for check in checks]


def test_the_command_prints_a_document_and_its_exit_code(make_world: MakeWorld):
    words = ["doctor", "--store", make_world().store, "--json", "--task"]
    good = CliRunner().invoke(cli, [*words, TASK], standalone_mode=False)
    assert (good.return_value, json.loads(good.stdout)["state"]) == (0, "ok")
    bad = CliRunner().invoke(cli, [*words, "nosuchtask"], standalone_mode=False)
    assert (bad.return_value, json.loads(bad.stdout)["state"]) == (2, "failed")
