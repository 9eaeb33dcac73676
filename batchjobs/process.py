"""The process of a command: set up for its work, asked to stop, ended."""

import ctypes
import gc
import os
import signal
import sys
import threading
from contextlib import suppress
from typing import NoReturn

GARBAGE = (20_000, 20, 20)  # imports and ledgers make none; by the default a tenth of a short command is spent on it
M_ARENA_MAX = -8


def tune() -> None:
    """Set the process up for what a command does: much work in few steps, some of it on threads.

    glibc would give every thread a heap of its own (mallopt(3), M_ARENA_MAX), and what is freed there would help nobody
    else, 20 MB of a night. Other C libraries have no such thing, and no such call.
    """
    gc.set_threshold(*GARBAGE)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_ARENA_MAX, 1)


def stop_on_signals() -> list[int]:
    """SIGTERM stops a command as Ctrl-C does; the list is filled when one comes. What is ignored (nohup) stays so."""
    came: list[int] = []

    def stop(number: int, _frame: object) -> None:
        came.append(number)
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, stop)
    return came


def leave(code: int) -> NoReturn:
    """End the process, at once also where threads still wait for a provider: Python itself would wait with them."""
    if threading.active_count() > 1:
        with suppress(OSError, ValueError):  # a closed pipe, a closed stream
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
