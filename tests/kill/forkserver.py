"""Commands by the hundred: a process that has imported everything forks itself for each, and the child is the command.

The child runs the real entry of the command line with the arguments and the environment it is given. Nothing is opened
before the fork: no connection, no database, no thread of ours. A SIGKILL of such a child is as real as any; only an
orderly end is short of one thing, the interpreter's clearing of its modules, which takes longer than the command.

    python -m tests.kill.forkserver      (requests on stdin, answers on stdout, one JSON document a line)
"""

import functools
import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

import boto3
import botocore.session

from batchjobs.cli import main

ROOT = Path(__file__).parents[2]
IMPORTED_BY_COMMANDS = (
    "anthropic.resources.messages.batches", "anyio.streams.tls", "batchjobs.actions", "batchjobs.looks",
    "genai_prices.data", "openai.resources.batches", "openai.resources.files", "providers.anthropic",
    "providers.bedrock", "providers.openai", "pyarrow.dataset", "storage.directory", "storage.s3", "tests.small_task",
)  # fmt: skip
AWS_SERVICES = ("s3", "bedrock", "bedrock-runtime", "service-quotas")
NEVER = 99  # an exit code that no command has


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended: its exit code, or minus the signal, as `subprocess` has it; and what it printed."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.out)
        return document


class ForkServer:
    """The parent's end: one command at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.kill.forkserver"],
            cwd=ROOT,
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},  # the one library that would start a thread by itself
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._process.communicate()

    def run(self, words: Sequence[str], environ: Mapping[str, str], kill_after: float | None = None) -> Done:
        """Run a command to its end; `kill_after` so many seconds it is sent a SIGKILL, if it has not ended by then."""
        request = {"words": list(words), "environ": dict(environ), "out": self._path("out"), "err": self._path("err")}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([request, kill_after]).encode() + b"\n")
        self._process.stdin.flush()
        code = self._process.stdout.readline()
        assert code, "the fork server has ended"
        return Done(int(code), Path(self._path("out")).read_text(), Path(self._path("err")).read_text())

    def _path(self, name: str) -> str:
        return str(self._folder / f"command.{name}")


def _serve() -> None:
    """Fork for every request; the child is the command, and ends with it."""
    while line := sys.stdin.buffer.readline():
        request, kill_after = json.loads(line)
        child = os.fork()
        if child == 0:
            _become(**request)
        if kill_after is not None:
            time.sleep(kill_after)
            os.kill(child, signal.SIGKILL)  # it is still ours to bury, so that the number is nobody else's
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        os.write(1, f"{code}\n".encode())


def _become(words: list[str], environ: dict[str, str], out: str, err: str) -> NoReturn:
    for descriptor, path in ((0, os.devnull), (1, out), (2, err)):
        flags = os.O_RDONLY if descriptor == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        opened = os.open(path, flags, 0o600)
        os.dup2(opened, descriptor)
        os.close(opened)
    os.environ.clear()
    os.environ.update(environ)
    sys.argv = ["batchjobs", *words]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        main()
    except SystemExit as end:
        sys.stdout.flush()
        os._exit(int(end.code or 0))
    finally:
        os._exit(NEVER)  # an exception that main let through, which it promises not to do


def _import_everything() -> None:
    """What a command imports while it runs."""
    for name in IMPORTED_BY_COMMANDS:
        importlib.import_module(name)
    _read_service_models()
    gc.freeze()  # or the first collection in a child would copy all of it


def _read_service_models() -> None:
    """boto3 reads the files that describe AWS for every session anew: half of what a short command on S3 would take."""
    botocore.session.create_loader = functools.cache(botocore.session.create_loader)
    for service in AWS_SERVICES:
        boto3.Session(region_name="us-east-1").client(service)  # opens no connection


if __name__ == "__main__":
    _import_everything()
    _serve()
    os._exit(0)  # nothing is open that would have to be closed
