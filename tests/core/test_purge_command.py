"""`batchjobs purge` as a person meets it: it says what will go, asks, and can be killed."""

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.core.test_cli import command
from tests.core.test_purge import texts
from tests.world import World

MakeWorld = Callable[..., World]


@pytest.fixture
def person(make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch) -> World:
    world = make_world("openai")
    monkeypatch.setenv("BATCHJOBS_RESULTS", str(world.folder / "results.duckdb"))
    monkeypatch.setenv("BATCHJOBS_STATE_DIR", str(world.folder / "state"))
    return world


def test_killed_in_the_middle_the_same_command_finishes_it(person: World):
    job = person.run(person.write(texts(5)), shard_requests=3).id
    killed = command(person, "purge", job, "--yes", BATCHJOBS_KILL_AT="delete.after:2")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert "is being purged" in command(person, "status", job).stdout
    again = command(person, "purge", job, "--yes", "--json")
    document = json.loads(again.stdout)
    assert (again.returncode, document["state"], document["succeeded"]) == (0, "purged", 5)
    assert document["objects_removed"] > 0


def test_without_a_terminal_and_without_yes_nothing_is_removed(person: World):
    job = person.run(person.write(texts(3))).id
    done = command(person, "purge", job)
    assert done.returncode == 2
    assert "pass --yes" in done.stderr
    assert "bought anew" in done.stdout
    assert person.job(job).tombstone is None


@pytest.mark.parametrize(("answer", "state"), [(b"n\n", "finished"), (b"y\n", "purged")])
def test_on_a_terminal_it_asks(person: World, answer: bytes, state: str):
    job = person.run(person.write(texts(3))).id
    keyboard, terminal = pty.openpty()
    os.write(keyboard, answer)
    words = [sys.executable, "-m", "batchjobs", "purge", job, "--store", person.store]
    done = subprocess.run(words, stdin=terminal, capture_output=True, text=True, check=False)
    for descriptor in (keyboard, terminal):
        os.close(descriptor)
    assert done.returncode == 0, done.stderr
    assert "3 items, 3 of them answered" in done.stdout
    assert person.job(job).state == state


def test_a_wrong_key_is_exit_6(person: World):
    job = person.run(person.write(texts(3))).id
    done = command(person, "purge", job, "--yes", OPENAI_API_KEY="")
    assert done.returncode == 6
    assert "--local-only" in done.stderr
    assert command(person, "purge", job, "--yes", "--local-only", OPENAI_API_KEY="").returncode == 0
