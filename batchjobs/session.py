"""One command's session: its desk, and where its words go. Imports little, so that looking costs little."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType

from batchjobs import report as reporting
from batchjobs.desk import Desk, open_desk
from batchjobs.env import Env, real_env
from batchjobs.jobs import Job
from batchjobs.settings import load_settings

PIPED_WIDTH = 140  # of tables in a file or a mail; lines of text are never broken


@dataclass(frozen=True, slots=True)
class Session:
    """One command: its desk, and where its words go (people's words on stdout, or on stderr beside a JSON document)."""

    desk: Desk
    out: Console
    as_json: bool

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *_: object) -> None:
        self.desk.close()

    def show_job(self, job: Job, *parts: RenderableType) -> None:
        """The same of one job, whose document takes longer than its tables."""
        show(self.out, self.as_json, reporting.job_document(job) if self.as_json else {}, *parts)

    def show(self, document: dict[str, Any], *parts: RenderableType) -> None:
        """The outcome: one JSON document for a machine, tables for a person."""
        show(self.out, self.as_json, document, *parts)

    def tell(self, sentences: Sequence[str]) -> None:
        """Troubles and notes, one a line."""
        for sentence in sentences:
            self.out.print(reporting.plain(sentence), soft_wrap=True)


def open_session(
    name: str, flags: dict[str, Any], config: Path | None, *, as_json: bool, verbose: bool, env: Env | None = None
) -> Session:
    """Settings from all layers, then the desk. Raises UsageError, Unreachable."""
    out = console(as_json)
    settings = load_settings(flags, config)
    desk = open_desk(
        env or real_env(), settings, lambda text: out.print(reporting.plain(text), style="dim", soft_wrap=True)
    )
    if verbose:
        desk.say(f"{name}: store {settings.store}, results {desk.results_path}")
    return Session(desk, out, as_json)


def show(out: Console, as_json: bool, document: dict[str, Any], *parts: RenderableType) -> None:
    """The document for a machine, or the parts for a person."""
    if as_json:
        print(json.dumps(document, default=str))  # noqa: T201 stdout is the interface here
        return
    for part in parts:
        out.print(reporting.plain(part) if isinstance(part, str) else part, soft_wrap=isinstance(part, str))


def console(as_json: bool) -> Console:
    """Where people read: stdout, or stderr beside a document; wide enough for a table where it is no terminal."""
    out = Console(stderr=as_json, highlight=False)
    return out if out.is_terminal else Console(stderr=as_json, highlight=False, width=PIPED_WIDTH)
