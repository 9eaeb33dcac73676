"""Asked to stop, or no longer read: a documented exit code, one sentence, nothing half done, and the night goes on."""

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from tests.kill.case import staged, stop_at
from tests.kill.forkserver import ForkServer
from tests.kill.place import Store
from tests.kill.points import known
from tests.kill.scenes import SCENES
from tests.world import TASK, World, documents

SUBMIT = next(scene for scene in SCENES if scene.name == "submit")
ASKED = zip(known()["submit"]["openai"], itertools.cycle(["SIGTERM", "SIGINT"]), strict=False)


def started(world: World, *words: str, before: str = "") -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "batchjobs", *words, "--store", world.store]
    environ = os.environ | {"BATCHJOBS_TASK": TASK}
    shell = ["sh", "-c", f'{before} exec "$@"', "sh"]
    return subprocess.Popen([*shell, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ)


@pytest.fixture
def live(make_world: Callable[..., World]) -> World:
    return make_world("openai", speed=1.0, batch_seconds=3600.0)


@pytest.mark.parametrize(("point", "name"), [*ASKED])
def test_asked_to_stop_at(point: str, name: str, tmp_path: Path, server: ForkServer):
    with staged(tmp_path, server, SUBMIT, "openai", Store(str(tmp_path / "store"))) as place:
        stop_at(place, SUBMIT, point, name)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_asked_to_stop_in_the_middle_of_a_query(number: signal.Signals, live: World):
    source = live.folder / "items.duckdb"
    duckdb.connect(source).close()
    endless = "SELECT sum(a.range * b.range) FROM range(1000000000) AS a, range(1000000000) AS b"
    with started(live, "submit", str(source), "--query", endless) as process:
        wait_until_busy(process.pid, source)
        process.send_signal(number)
        _, errors = process.communicate()
    assert (process.returncode, "Traceback" in errors) == (4, False)
    assert "goes on from here" in errors


def wait_until_busy(process: int, opened: Path) -> None:
    """The query is the only thing that takes half a second of this process once its database is open."""
    while opened not in opened_by(process):
        pass
    began = cpu_ticks(process)
    while cpu_ticks(process) < began + os.sysconf("SC_CLK_TCK") / 2:
        pass


def opened_by(process: int) -> list[Path]:
    try:
        return [link.readlink() for link in Path(f"/proc/{process}/fd").iterdir()]
    except FileNotFoundError:  # one was closed meanwhile
        return []


def cpu_ticks(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11])


def test_an_ignored_interrupt_stays_ignored(live: World):
    """(As under nohup, or in the background of a script.)"""
    source = live.write(documents(4))
    with started(live, "run", str(source), "--interval", "0.05", before="trap '' INT;") as process:
        assert process.stdout is not None
        next(line for line in process.stdout if "in flight: " in line)
        process.send_signal(signal.SIGINT)
        live.emulator.advance(3600)
        process.communicate()
    assert process.returncode == 0


@pytest.mark.parametrize("words", [("run", "INPUT", "--interval", "0.05"), ("status",), ("status", "--json")])
def test_closed_stdout_is_no_traceback_and_not_success(words: tuple[str, ...], live: World):
    source = live.write(documents(4))
    with started(live, *[str(source) if word == "INPUT" else word for word in words]) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        errors = process.stderr.read()
    assert process.returncode == 4
    assert "nobody reads the output" in errors
    assert "Traceback" not in errors
