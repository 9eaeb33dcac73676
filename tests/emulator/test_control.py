"""The emulator as a process and its own pages."""

import json
import os
import signal
import subprocess
import sys
from argparse import ArgumentTypeError
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI

from providers.emulator import Emulator, Fault, environment
from providers.emulator.__main__ import fault_of
from tests.emulator.support import deals, fetch, submit


def post(emulator: Emulator, page: str, body: Any, method: str = "POST") -> tuple[int, Any]:
    connection = HTTPConnection(emulator.url.removeprefix("http://"), timeout=10)
    connection.request(method, f"/_emulator/{page}", body=json.dumps(body))
    answer = connection.getresponse()
    try:
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def page(emulator: Emulator, name: str) -> Any:
    return json.loads(fetch(emulator, f"/_emulator/{name}")[2])


def test_other_processes_read_the_books(emulator: Emulator, oa: OpenAI) -> None:
    batch = submit(oa, deals(3), metadata={"tag": "x"})
    emulator.advance(600)
    charges, batches, requests = (page(emulator, name) for name in ("charges", "batches", "requests"))
    assert ({one["batch_id"] for one in charges}, len(charges)) == ({batch.id}, 3)
    assert (batches[0]["status"], batches[0]["label"]) == ("completed", {"tag": "x"})
    assert [(one["method"], one["path"]) for one in requests] == [("POST", "/v1/files"), ("POST", "/v1/batches")]


def test_other_processes_move_the_clock(emulator: Emulator) -> None:
    before = emulator.now
    status, answer = post(emulator, "advance", {"seconds": 90})
    assert (status, datetime.fromisoformat(answer["now"])) == (200, emulator.now)
    assert (emulator.now - before).total_seconds() == 90


def test_other_processes_order_faults(emulator: Emulator) -> None:
    assert post(emulator, "faults", {"action": "status", "status": 503, "times": 0})[0] == 200
    assert fetch(emulator, "/v1/batches")[0] == 503
    post(emulator, "faults", {}, "DELETE")
    assert fetch(emulator, "/v1/batches")[0] == 401


@pytest.mark.parametrize("body", [{"action": "nonesuch"}, {"actoin": "cut"}, [], {"seconds": -1}])
def test_a_wrong_order_is_refused(emulator: Emulator, body: Any) -> None:
    assert post(emulator, "faults", body)[0] == 400


@pytest.mark.parametrize("body", [{"seconds": -1}, {}, {"seconds": "soon"}])
def test_a_wrong_advance_is_refused(emulator: Emulator, body: Any) -> None:
    assert post(emulator, "advance", body)[0] == 400


def test_the_log_masks_keys_and_tells_sizes(emulator: Emulator, oa: OpenAI) -> None:
    submit(oa, deals(3))
    first = emulator.requests[0]
    assert first.headers["authorization"] == "***"
    assert first.size > len(deals(3))
    assert first.headers["user-agent"].startswith("OpenAI/Python")


def test_the_clock_starts_where_told_and_stands_still(emulate: Callable[..., Emulator]) -> None:
    start = datetime(2026, 3, 1, 20, tzinfo=UTC)
    emulator = emulate(start=start)
    assert emulator.now == start
    emulator.advance(10)
    assert (emulator.now - start).total_seconds() == 10


def test_the_clock_can_run(emulate: Callable[..., Emulator]) -> None:
    start = datetime(2026, 3, 1, 20, tzinfo=UTC)
    assert emulate(start=start, speed=1e6).now > start


def test_equal_seeds_and_starts_give_equal_ids(
    emulate: Callable[..., Emulator], openai_for: Callable[..., OpenAI]
) -> None:
    start = datetime(2026, 3, 1, tzinfo=UTC)
    ids = [submit(openai_for(emulate(seed=seed, start=start)), deals(1)).id for seed in (1, 1, 2)]
    assert ids[0] == ids[1] != ids[2]


def test_a_state_directory_keeps_the_files(
    emulate: Callable[..., Emulator], openai_for: Callable[..., OpenAI], tmp_path: Path
) -> None:
    emulator = emulate(state_dir=tmp_path / "state")
    submit(openai_for(emulator), deals(2))
    emulator.advance(600)
    assert len(emulator.charges) == 2
    emulator.stop()
    assert [one.suffix for one in (tmp_path / "state").iterdir() if one.stat().st_size]


def test_a_fault_can_be_written_on_the_command_line() -> None:
    text = "action=status,route=POST /v1/batches,status=503,times=2,work=yes,seconds=1.5"
    wanted = Fault(action="status", route="POST /v1/batches", status=503, times=2, work=True, seconds=1.5)
    assert fault_of(text) == wanted
    with pytest.raises(ArgumentTypeError, match="no 'colour'"):
        fault_of("action=status,colour=red")


@pytest.fixture
def process() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "providers.emulator", "--speed", "0", "--fault", "action=status,status=529"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    yield running
    running.kill()
    running.communicate()


def test_the_emulator_runs_as_a_process_until_told_to_stop(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    urls = dict(process.stdout.readline().strip().split("=", 1) for _ in environment("", ""))
    assert urls["OPENAI_BASE_URL"] == urls["ANTHROPIC_BASE_URL"] + "/v1"
    assert urls["AWS_ENDPOINT_URL_BEDROCK"] == urls["AWS_ENDPOINT_URL_SERVICE_QUOTAS"] == urls["ANTHROPIC_BASE_URL"]
    connection = HTTPConnection(urls["ANTHROPIC_BASE_URL"].removeprefix("http://"), timeout=10)
    connection.request("GET", "/v1/messages/batches")
    assert connection.getresponse().status == 529
    connection.close()
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
