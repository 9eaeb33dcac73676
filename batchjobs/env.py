"""The outside world as one small value: clock, sleep, fresh ids and fault points; nothing else reads a clock."""

import os
import secrets
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

THREADS = 8  # asking about batches, a fifth of a second each, they come to what providers allow: 2,400 a minute


def _no_fault(_point: str) -> None:
    """In production a fault point is nothing."""


@dataclass(frozen=True, slots=True)
class Env:
    """`fault(point)` is called on both sides of every durable effect; a test makes it raise, or kill the process.

    `threads` is how many things at a time may be waited for, where waiting is free; with none, all goes in one order.
    """

    now: Callable[[], datetime]
    sleep: Callable[[float], None]
    new_id: Callable[[], str]
    fault: Callable[[str], None] = _no_fault
    by: str = ""
    threads: int = 0


def real_env() -> Env:
    """The world as it is, and for tests of crashes two variables that make fault points something.

    BATCHJOBS_KILL_AT=point:n makes the n-th passing of a point a SIGKILL, or point:n:SIGTERM another signal;
    BATCHJOBS_RECORD_POINTS=FILE notes every point that is passed, one a line.
    """
    by = f"{socket.gethostname()}:{os.getpid()}"
    kill_at, record = os.environ.get("BATCHJOBS_KILL_AT", ""), os.environ.get("BATCHJOBS_RECORD_POINTS", "")
    fault = _kill_at(kill_at) if kill_at else _record(Path(record)) if record else _no_fault
    return Env(
        now=lambda: datetime.now(UTC),
        sleep=time.sleep,
        new_id=lambda: secrets.token_hex(8),
        fault=fault,
        by=by,
        threads=THREADS,
    )


def _kill_at(spec: str) -> Callable[[str], None]:
    wanted, count, name = (*spec.split(":"), "SIGKILL")[:3]
    left, number = int(count), signal.Signals[name]

    def fault(point: str) -> None:
        nonlocal left
        if point == wanted:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), number)

    return fault


def _record(path: Path) -> Callable[[str], None]:
    def fault(point: str) -> None:
        with path.open("a") as out:
            out.write(f"{point}\n")

    return fault
