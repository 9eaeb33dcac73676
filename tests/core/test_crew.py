"""Work spread over processes: in order, whatever happens to one of them, and gone with the command."""

import fcntl
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable
from pathlib import Path

import pytest

from batchjobs.crew import WORTH_FORKING_BYTES, crew, workers_for

ROOT = Path(__file__).parents[2]
PARENT = os.getpid()


def squared(number: int) -> tuple[int, bool]:
    """And whether another process did it."""
    return number * number, os.getpid() != PARENT


def spread(work: object, chunks: Iterable[int], workers: int) -> list[object]:
    with crew(work, workers) as spread_over:  # type: ignore[arg-type]
        return list(spread_over(chunks))


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("chunks", [0, 1, 2, 3, 50])
def test_results_come_in_the_order_of_the_chunks(workers: int, chunks: int):
    assert spread(squared, range(chunks), workers) == [(n * n, True) for n in range(chunks)]


def test_without_workers_it_is_a_map():
    assert spread(squared, range(3), 0) == [(0, False), (1, False), (4, False)]


def test_what_a_killed_worker_had_to_do_is_done_all_the_same():
    def fatal(number: int) -> int:
        if number == 2 and os.getpid() != PARENT:
            os.abort()
        return number

    assert spread(fatal, range(9), 2) == list(range(9))


def test_an_error_is_raised_where_it_can_be_read():
    def failing(number: int) -> float:
        return 1 / (number - 3)

    with pytest.raises(ZeroDivisionError):
        spread(failing, range(9), 2)


def test_large_chunks_and_large_results_do_not_lock_up():
    with crew(lambda data: data[::-1], 2) as turned:
        assert [len(one) for one in turned(b"x" * 3_000_000 for _ in range(6))] == [3_000_000] * 6


def test_chunks_are_taken_only_as_they_are_needed():
    taken = []

    def chunks() -> Iterable[int]:
        for number in range(100):
            taken.append(number)
            yield number

    with crew(squared, 2) as spread_over:
        results = spread_over(chunks())
        next(iter(results))
    assert len(taken) <= 4


def test_little_work_is_done_here(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr(threading, "active_count", lambda: 1)  # whatever runs the tests has threads
    assert (workers_for(WORTH_FORKING_BYTES - 1), workers_for(WORTH_FORKING_BYTES)) == (0, 2)


def test_a_process_with_threads_is_not_forked(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    done = threading.Event()
    other = threading.Thread(target=done.wait)
    other.start()
    try:
        assert workers_for(WORTH_FORKING_BYTES) == 0
    finally:
        done.set()
        other.join()


def test_where_no_process_can_be_had_it_is_done_here(monkeypatch: pytest.MonkeyPatch):
    def refuse() -> int:
        raise BlockingIOError

    monkeypatch.setattr(os, "fork", refuse)
    assert spread(squared, range(3), 2) == [(0, False), (1, False), (4, False)]


def test_children_that_nobody_waits_for_are_no_trouble():
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        assert spread(squared, range(3), 2) == [(0, True), (1, True), (4, True)]
    finally:
        signal.signal(signal.SIGCHLD, before)


KILLED = """
import fcntl, os, signal, sys
from batchjobs.crew import crew
lock = open(sys.argv[1], "wb")
fcntl.flock(lock, fcntl.LOCK_EX)
with crew(lambda _: os.getpid(), 2) as spread:
    print(*spread(range(2)), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_neither_a_process_nor_a_lock_outlives_a_killed_command(tmp_path: Path):
    words = [sys.executable, "-c", KILLED, str(tmp_path / "lock")]
    ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    workers = [int(pid) for pid in ended.stdout.split()]
    assert (ended.returncode, len(set(workers))) == (-9, 2)
    with (tmp_path / "lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    for pid in workers:
        _gone(pid)


def _gone(pid: int) -> None:
    """Waits for a process that is not ours: its status is closed when it ends."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    with os.fdopen(descriptor) as process:
        assert select.select([process], [], [], 30)[0]


def test_who_gave_up_leaves_nothing_to_the_next():
    with crew(squared, 2) as spread_over:
        abandoned = iter(spread_over(range(100, 110)))
        next(abandoned)
        assert list(spread_over(range(5))) == [(n * n, True) for n in range(5)]
