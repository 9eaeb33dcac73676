"""Machines that work on one store at once: real commands in real processes, and what must be true of them."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from batchjobs.rehearsal import variables
from providers.emulator import Emulator
from tests.world import TASK, documents

ROOT = Path(__file__).parents[2]
ANALYST = Path(__file__).with_name("analyst.py")
FINISHED, SOME_FAILED, NOT_FINISHED = 0, 3, 4
JOB_COMMANDS = ("run", "poll", "collect", "status", "report", "retry", "cancel")


@dataclass(frozen=True)
class Done:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str


@dataclass
class Running:
    """One command, under way until `end`."""

    words: Sequence[str]
    process: subprocess.Popen[str]
    done: Done = field(default_factory=lambda: Done(-1, "", ""))

    def end(self) -> "Running":
        out, err = self.process.communicate()
        self.done = Done(self.process.returncode, out, err)
        return self

    @property
    def document(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.done.out)
        return document

    def faults(self, finals: dict[str, dict[str, Any]]) -> Iterator[str]:
        """Every sentence about what this command did or said that cannot be, given how the jobs ended."""
        said = f"{' '.join(self.words)}: exit {self.done.code}: {self.done.err[-600:]}"
        if self.words[0] == "verify" and self.done.out:
            yield from [f"verify: {sentence}" for sentence in self.document["violations"]]
        elif self.done.code not in (FINISHED, SOME_FAILED, NOT_FINISHED) or "Traceback" in self.done.err:
            yield said
        elif self.words[0] in JOB_COMMANDS:
            documents = self.document.get("jobs", [self.document])
            for document in documents:
                yield from (f"{said}: {untrue}" for untrue in _untrue(document, finals))
            yield from [] if len(documents) != 1 or self._code_fits(documents[0]) else [f"{said}: {self.done.out}"]

    def _code_fits(self, document: dict[str, Any]) -> bool:
        if "retried" in document and "state" not in document:
            return document["retried"] == 0
        finished = document["state"] in ("finished", "failed", "cancelled")
        expected = NOT_FINISHED if not finished else SOME_FAILED if document["failed"] else FINISHED
        return self.done.code == expected


def _untrue(document: dict[str, Any], finals: dict[str, dict[str, Any]]) -> Iterator[str]:
    """What a job's document says and what cannot have been so at any moment."""
    if "items" not in document:
        return
    final = finals.get(document["job_id"])
    if final is None:
        yield f"there is no job {document['job_id']}"
        return
    if document["items"] != document["succeeded"] + document["failed"] + document["in_flight"]:
        yield "its items do not add up"
    for name in ("items", "rejected", "requests"):
        if document[name] != final[name]:
            yield f"{name} is {document[name]}, in the end it was {final[name]}"
    for name in ("succeeded", "shards", "cost_usd"):
        if document[name] > final[name]:
            yield f"{name} was {document[name]}, in the end {final[name]}"


@dataclass
class Plant:
    """One store, one provider, and the machines that use them; a machine is a folder of its own."""

    emulator: Emulator
    store: str
    folder: Path
    provider: str
    machines: int = 1
    commands: list[Running] = field(default_factory=list)

    def write(self, name: str, count: int) -> str:
        path = self.folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps(item) + "\n" for item in documents(count, name)))
        return str(path)

    def results(self, machine: int = 0) -> Path:
        return self.folder / f"machine-{machine}/results.duckdb"

    def environ(self, machine: int = 0) -> dict[str, str]:
        settings = {
            "STORE": self.store, "RESULTS": str(self.results(machine)), "TASK": TASK, "PROVIDER": self.provider,
            "STATE_DIR": str(self.folder / f"machine-{machine}/state"), "INTERVAL": "0.05", "SHARD_REQUESTS": "5",
        }  # fmt: skip
        named = {f"BATCHJOBS_{name}": value for name, value in settings.items()}
        return os.environ | variables(self.emulator.url) | named

    def start(self, *words: str, machine: int = 0, module: str = "batchjobs") -> Running:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *words], env=self.environ(machine), cwd=ROOT,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.commands.append(Running(words, process))
        return self.commands[-1]

    @contextmanager
    def asleep_at(self, point: str, source: str, machine: int = 0) -> Iterator[Running]:
        """A `run` that has stopped itself at a fault point; it goes on when the block ends, and is waited for."""
        sleeper = self.start(point, source, machine=machine, module="tests.concurrency.paused")
        sleeper.words = ["run", source]
        _, status = os.waitpid(sleeper.process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status), "it ended without passing the point"
        try:
            yield sleeper
        finally:
            sleeper.process.send_signal(signal.SIGCONT)
            sleeper.end()

    def do(self, *words: str, machine: int = 0) -> Running:
        return self.start(*words, "--json", machine=machine).end()

    def together(self, *commands: tuple[int, Sequence[str]]) -> list[Running]:
        """Start them all, each on its machine, then wait for them all."""
        started = [self.start(*words, "--json", machine=machine) for machine, words in commands]
        return [one.end() for one in started]

    def jobs(self) -> dict[str, dict[str, Any]]:
        """What `status` says of every job."""
        document = self.do("status").document
        return {job["job_id"]: job for job in document.get("jobs", [document])}

    def faults(self) -> list[str]:
        """Everything that is not as promised: the charge book, every machine's proof, every command so far."""
        proofs = [self.do("verify", machine=machine) for machine in range(self.machines)]
        finals = self.jobs()
        wrong = [fault for one in self.commands for fault in one.faults(finals)]
        wrong += [f"verify: exit {proof.done.code}" for proof in proofs if proof.done.code]
        twice = [prompt for prompt, times in self.billed().items() if times > 1]
        batches = Counter(batch.custom_id_prefix for batch in self.emulator.batches)
        wrong += [f"{len(twice)} prompts were billed twice"] if twice else []
        wrong += [f"{prefix} was bought {times} times" for prefix, times in batches.items() if times > 1]
        return wrong

    def billed(self) -> Counter[str]:
        return Counter(charge.prompt_hash for charge in self.emulator.iter_charges())

    @contextmanager
    def analysts(self, machine: int = 0, python: str = sys.executable) -> Iterator[list[dict[str, Any]]]:
        """Two analysts at a machine's results, one who never closes them and one who opens them for every look.

        What they saw is in the list when the block has ended.
        """
        seen: list[dict[str, Any]] = []
        words = [[python, str(ANALYST), str(self.results(machine)), how] for how in ("held", "opened")]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        people = [subprocess.Popen(word, **pipes) for word in words]  # type: ignore[call-overload]
        for person in people:
            assert person.stdout.readline() == "looking\n"
        try:
            yield seen
        finally:
            for person in people:
                said, _ = person.communicate("enough\n")
                seen.append(json.loads(said) if person.returncode == 0 else {"errors": [said], "looks": 0})


def complaints(seen: Iterable[dict[str, Any]]) -> list[str]:
    """What analysts met that they must never meet."""
    unseen = ["an analyst saw nothing" for one in seen if not one["looks"]]
    return unseen + [error for one in seen for error in one["errors"]]
