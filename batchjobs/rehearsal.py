"""Rehearsing: tonight's job against emulated providers on loopback, in a store of its own. No key, no money."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

from batchjobs import actions
from batchjobs.session import Session
from batchjobs.settings import Settings
from providers.emulator import Emulator, Rates, environment
from providers.profiles import COMPATIBLE, compatible

STORE = "rehearsal"
KEY = "rehearsal-needs-no-key"
RATES = ("transient", "permanent", "truncated", "invalid", "refused")


def rehearse(
    open_session: Callable[[dict[str, Any]], Session], source: str | None, query: str | None, flags: dict[str, Any]
) -> int:
    """Run INPUT through the emulator, or serve the emulator until interrupted."""
    emulator = Emulator(
        seed=flags.pop("seed"),
        port=flags.pop("port"),
        speed=1.0,
        batch_seconds=flags.pop("batch_seconds"),
        rates=Rates(**{name: flags.pop(name) for name in RATES}),
    )
    flags["store"] = flags["store"] or STORE
    # Made-up answers must never reach the real store's database or the analysts' file, whatever the settings say.
    flags["results"] = flags["results"] or str(Path(flags["store"]) / "results.duckdb")
    flags["state_dir"] = str(Path(flags["store"]) / "private")
    flags["interval"] = flags["interval"] or 0.5
    with ExitStack() as stack:
        stack.enter_context(emulator)
        ours = stack.enter_context(pointed_at(emulator.url))
        session = stack.enter_context(open_session(flags))
        ours |= stack.enter_context(exported(described_variables(emulator.url, session.desk.settings)))
        if source is None:
            return _serve(session, ours)
        code = actions.run(session, source, query)
        billed = len(emulator.charges)
        session.tell([f"Rehearsal: {billed:,} requests would have been billed; nothing was spent."])
        return code


def pointed_at(url: str) -> AbstractContextManager[dict[str, str]]:
    """The SDKs' own variables point at the emulator inside this block."""
    return exported(variables(url))


@contextmanager
def exported(ours: dict[str, str]) -> Iterator[dict[str, str]]:
    """The environment holds these variables inside this block."""
    before = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    try:
        yield ours
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def variables(url: str) -> dict[str, str]:
    """What makes the SDKs talk to the emulator."""
    return environment(url, KEY)


def described_variables(url: str, settings: Settings) -> dict[str, str]:
    """The same for a server that settings describe: the emulator has one that takes whatever is asked of it."""
    if settings.provider != COMPATIBLE.name:
        return {}
    profile = compatible(settings.compatible)
    return {profile.url_variable: f"{url}/compatible/v1", profile.key_variable: KEY}


def _serve(session: Session, ours: dict[str, str]) -> int:
    lines = [f"export {name}={value}" for name, value in ours.items()]
    session.show(ours, "\n".join(lines))
    session.tell(["The emulator answers until Ctrl-C. Use a --store of its own: its answers are made up."])
    while True:
        session.desk.env.sleep(3600)
