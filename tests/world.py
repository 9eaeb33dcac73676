"""A night in a box: the emulator with its virtual clock, a store, and the verbs as the commands use them."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb

from batchjobs import submit as submitting
from batchjobs.desk import Desk, open_desk
from batchjobs.env import Env
from batchjobs.jobs import Job, load_job
from batchjobs.rounds import Night, one_pass, run_until_done
from batchjobs.settings import load_settings
from providers.emulator import Emulator

TASK = "tests.small_task:TASK"


def documents(count: int, prefix: str = "doc") -> list[dict[str, str]]:
    return [{"doc_id": f"{prefix}-{n}", "text": f"This is document number {n} of {prefix}."} for n in range(count)]


@dataclass
class World:
    """`emulator.advance` is the only thing that moves time; sleeping advances it too."""

    emulator: Emulator
    store: str
    folder: Path
    provider: str = "openai"
    faults: list[str] = field(default_factory=list)
    ids: int = 0
    desks: list[Desk] = field(default_factory=list)
    started: datetime | None = None
    ahead: timedelta = timedelta(0)  # how wrong our clock is
    slower: float = 1.0  # how much slower our clock runs, so that a provider's day fits into one of our nights

    def close(self) -> None:
        for desk in self.desks:
            desk.close()

    def env(self) -> Env:
        return Env(
            now=self._now,
            sleep=self.emulator.advance,
            new_id=self._new_id,
            fault=self.faults.append,
            by="test",
        )

    def _now(self) -> datetime:
        started = self.started = self.started or self.emulator.now
        return started + (self.emulator.now - started) / self.slower + self.ahead

    def _new_id(self) -> str:
        self.ids += 1
        return f"id-{self.ids}"

    def desk(self, **settings: Any) -> Desk:
        flags = {
            "store": self.store,
            "results": str(self.folder / "results.duckdb"),
            "state_dir": str(self.folder / "state"),
            "task": TASK,
            "provider": self.provider,
            "interval": 60.0,
        }
        self.desks.append(open_desk(self.env(), load_settings(flags | settings, None, {})))
        return self.desks[-1]

    def write(self, items: Iterable[dict[str, Any] | bytes], name: str = "items.jsonl") -> Path:
        path = self.folder / name
        lines = [item if isinstance(item, bytes) else json.dumps(item).encode() for item in items]
        path.write_bytes(b"".join(line + b"\n" for line in lines))
        return path

    def accept(self, source: Path, **settings: Any) -> submitting.Submission:
        desk = self.desk(**settings)
        order = submitting.resolve(desk.settings, str(source), None, desk)
        with desk.exclusive("test"):
            return submitting.submit(desk, order)

    def send(self, source: Path, **settings: Any) -> Job:
        """`batchjobs submit`."""
        job = self.accept(source, **settings).plan.job
        return one_pass(self.desk(**settings), [job]).jobs[0]

    def night(self, source: Path, **settings: Any) -> Night:
        """`batchjobs run --deadline 240h` of virtual time."""
        job = self.accept(source, **settings).plan.job
        desk = self.desk(**settings)
        deadline = desk.env.now() + timedelta(hours=240)
        return run_until_done(desk, [job], deadline, lambda _: None)

    def run(self, source: Path, **settings: Any) -> Job:
        return self.night(source, **settings).jobs[0]

    def go_on(self, job: str, **settings: Any) -> Job:
        """`batchjobs poll` and `collect`, once."""
        return one_pass(self.desk(**settings), [job]).jobs[0]

    def job(self, job: str) -> Job:
        return load_job(self.desk().store, job)

    def sql(self, query: str) -> list[tuple[Any, ...]]:
        """What an analyst sees."""
        with duckdb.connect(self.folder / "results.duckdb", read_only=True) as connection:
            return connection.execute(query).fetchall()

    def billed(self) -> Counter[str]:
        """How often each prompt was billed."""
        return Counter(charge.prompt_hash for charge in self.emulator.charges)


def statuses(jobs: Sequence[Job]) -> list[str]:
    return [job.state for job in jobs]
