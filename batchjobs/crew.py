"""Pure work in several processes at once: forked, so that they know everything already, and gone with their parent.

    parent ─chunk─► worker 1 ─┐
           ─chunk─► worker 2 ─┴─► results, in the order of the chunks

A worker has one chunk at a time, so that what is under way is bounded and no two of us ever wait for each other. It
holds none of its parent's files but the pipe, and ends when that does: neither a lock nor a process outlives a killed
command. What a worker cannot answer the parent works out itself, so that an error is raised where it can be read.
"""

import gc
import os
import signal
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import cycle
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NoReturn, TypeVar

C = TypeVar("C")
R = TypeVar("R")
WORTH_FORKING_BYTES = 2_000_000  # below this a fork takes longer than it saves
WORKERS_MAX = 8
_SELF = Path("/proc/self")
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def workers_for(size_bytes: int) -> int:
    """How many processes are worth it for so many bytes; 0 for few, and where forking is not safe.

    It is not where other Python threads run: a child has none of them, and what they hold is held there for ever. The
    idle threads of libraries do no harm, because a worker calls none of those.
    """
    if size_bytes < WORTH_FORKING_BYTES or not _SELF.exists() or threading.active_count() > 1:
        return 0
    cores = len(os.sched_getaffinity(0))
    return min(cores, WORKERS_MAX) if cores > 1 else 0


@contextmanager
def crew(work: Callable[[C], R], workers: int) -> Iterator[Callable[[Iterable[C]], Iterator[R]]]:
    """`map` for `work` and chunks, in order, by so many processes; by this one where there are none.

    For one after the other: who begins the next takes what is left of the one before away from it.
    """
    pipes: list[Connection] = []
    children: list[int] = []
    under_way: deque[tuple[Connection, C]] = deque()
    try:
        with suppress(OSError):  # no room for one more process: those there are will do
            for _ in range(workers):
                ours, child = _worker(work)
                pipes.append(ours)
                children.append(child)
        yield lambda chunks: _spread(work, chunks, pipes, under_way)
    finally:
        for pipe, child in zip(pipes, children, strict=True):
            pipe.close()
            with suppress(ProcessLookupError, ChildProcessError):  # where children are not waited for, it is gone
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)


def _worker(work: Callable[[C], R]) -> tuple[Connection, int]:
    """A new process, and the pipe to it. Raises OSError. No signal comes between the fork and its own beginning."""
    ours, theirs = Pipe()
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # of threads that do no harm
            child = os.fork()
        if child == 0:
            _become_worker(work, theirs)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        theirs.close()
    return ours, child


def _spread(
    work: Callable[[C], R], chunks: Iterable[C], pipes: list[Connection], under_way: deque[tuple[Connection, C]]
) -> Iterator[R]:
    if not pipes:
        yield from map(work, chunks)
        return
    while under_way:  # for somebody who gave up: what comes of it is no answer to us
        with suppress(EOFError, OSError):
            under_way.popleft()[0].recv()
    for pipe, chunk in zip(cycle(pipes), chunks, strict=False):
        done = [_result(work, *under_way.popleft())] if len(under_way) == len(pipes) else []
        with suppress(OSError):  # it died: nothing comes back either
            pipe.send(chunk)
        under_way.append((pipe, chunk))
        yield from done
    while under_way:
        yield _result(work, *under_way.popleft())


def _result(work: Callable[[C], R], pipe: Connection, chunk: C) -> R:
    try:
        result: R = pipe.recv()
    except (EOFError, OSError):
        return work(chunk)
    return result


def _become_worker(work: Callable[[C], R], pipe: Connection) -> NoReturn:
    """Never comes back, and never does anything else: not even what the parent has planned for its own end."""
    try:
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)  # the parent's to take: the pipe tells us
        _let_go(pipe.fileno())
        gc.freeze()  # or the first collection would copy all of the parent's memory
        while True:
            pipe.send(work(pipe.recv()))
    finally:
        os._exit(0)


def _let_go(pipe: int) -> None:
    for number in [int(path.name) for path in (_SELF / "fd").iterdir()]:
        if number > 2 and number != pipe:
            with suppress(OSError):
                os.close(number)
