"""The outside world as one small value: clock, sleep, fresh ids and fault points; nothing else reads a clock."""

import os
import secrets
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime


def _no_fault(_point: str) -> None:
    """In production a fault point is nothing."""


@dataclass(frozen=True, slots=True)
class Env:
    """`fault(point)` is called on both sides of every durable effect; a test makes it raise, or kill the process."""

    now: Callable[[], datetime]
    sleep: Callable[[float], None]
    new_id: Callable[[], str]
    fault: Callable[[str], None] = _no_fault
    by: str = ""


def real_env() -> Env:
    """The world as it is; BATCHJOBS_KILL_AT=point:n makes the n-th passing of a fault point a SIGKILL."""
    by = f"{socket.gethostname()}:{os.getpid()}"
    kill_at = os.environ.get("BATCHJOBS_KILL_AT", "")
    fault = _kill_at(kill_at) if kill_at else _no_fault
    return Env(now=lambda: datetime.now(UTC), sleep=time.sleep, new_id=lambda: secrets.token_hex(8), fault=fault, by=by)


def _kill_at(spec: str) -> Callable[[str], None]:
    wanted, _, count = spec.rpartition(":")
    left = int(count)

    def fault(point: str) -> None:
        nonlocal left
        if point == wanted:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return fault
