"""The kernel itself refuses the n-th call of a real command: not the store's alone, but spool, lock and DuckDB too.

strace injects the error, so that nothing of the product has to know of it.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from batchjobs.errors import Unreachable
from batchjobs.rehearsal import variables
from providers.emulator import Emulator
from tests.sweep.night import ITEMS, is_sentence
from tests.world import TASK, documents

CALLS = ("write", "pwrite64", "fsync", "fdatasync", "link", "linkat", "rename", "mkdir", "ftruncate")
ENDS = (0, 4, 6)  # done, not finished yet, unreachable: what a machine in trouble may answer
STRACE = shutil.which("strace")


@dataclass
class Child:
    """A night as a person runs it, with real commands."""

    folder: Path
    emulator: Emulator
    provider: str

    def run(self, *more: str, under: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        command = [
            *under, sys.executable, "-m", "batchjobs", "run", str(self.folder / "items.jsonl"), "--task", TASK,
            "--provider", self.provider, "--store", str(self.folder / "store"), "--json",
            "--interval", "0.05", "--deadline", "20s", *more,
        ]  # fmt: skip
        return self._do(command)

    def verify(self) -> subprocess.CompletedProcess[str]:
        return self._do([sys.executable, "-m", "batchjobs", "verify", "--store", str(self.folder / "store"), "--json"])

    def _do(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        environ = os.environ | variables(self.emulator.url) | {"BATCHJOBS_GRACE": "0", "PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.run(command, env=environ, capture_output=True, text=True, check=False)


@contextmanager
def child(provider: str, folder: Path) -> Iterator[Child]:
    folder.mkdir(parents=True)
    (folder / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in documents(ITEMS)))
    with Emulator(seed=3, speed=1.0, batch_seconds=0.2) as emulator:
        yield Child(folder, emulator, provider)


def undisturbed(one: Child) -> Counter[str]:
    """How many calls of each kind the main thread of a night makes that nothing happens to."""
    run, log = traced(one)
    assert run.returncode == 0, run.stderr
    calls = re.findall(r"^(\d+) +(\w+)\(", log, re.MULTILINE)
    return Counter(call for thread, call in calls if thread == calls[0][0])


def refused(one: Child, call: str, error: str, nth: int, lasting: bool) -> str | None:
    """A night in which the kernel refuses the `nth` call of a kind; how it ended, None when there was no such call."""
    run, log = traced(one, "-e", f"inject={call}:error={error}:when={nth}{'+' * lasting}")
    assert run.returncode in ENDS, (run.returncode, run.stderr[-1500:])
    assert "Traceback" not in run.stderr, run.stderr[-1500:]
    mute = call == "write" and lasting  # then the sentence itself cannot be written
    said = run.stderr.strip().rpartition("\n")[2]
    assert run.returncode != Unreachable.exit_code or mute or is_sentence(said), said
    return f"exit {run.returncode}" if "(INJECTED)" in log else None


def traced(one: Child, *how: str) -> tuple[subprocess.CompletedProcess[str], str]:
    log = one.folder / "calls"
    run = one.run(under=(str(STRACE), "-f", "--seccomp-bpf", "-o", str(log), "-e", f"trace={','.join(CALLS)}", *how))
    return run, log.read_text()


def healed(one: Child) -> None:
    """The same command on a machine that is well again: every item answered, paid once, and proven."""
    run = one.run()
    if run.returncode == 4 and not one.emulator.charges:  # its one unknown purchase never arrived
        run = one.run("--rebuy-unknown")
    assert run.returncode == 0, run.stderr[-1500:]
    assert json.loads(run.stdout)["succeeded"] == ITEMS
    assert sorted(Counter(charge.prompt_hash for charge in one.emulator.charges).values()) == [1] * ITEMS
    assert one.verify().returncode == 0
