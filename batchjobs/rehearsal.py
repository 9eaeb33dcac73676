"""Rehearsing: tonight's job against emulated providers on loopback, in a store of its own. No key, no money."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from batchjobs import actions
from batchjobs.actions import Session
from providers.emulator import Emulator, Rates

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
    with emulator, pointed_at(emulator.url), open_session(flags) as session:
        if source is None:
            return _serve(session, emulator)
        code = actions.run(session, source, query)
        billed = len(emulator.charges)
        session.tell([f"Rehearsal: {billed:,} requests would have been billed; nothing was spent."])
        return code


@contextmanager
def pointed_at(url: str) -> Iterator[dict[str, str]]:
    """The SDKs' own variables point at the emulator inside this block."""
    ours = variables(url)
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
    return {
        "OPENAI_BASE_URL": f"{url}/v1",
        "OPENAI_API_KEY": KEY,
        "ANTHROPIC_BASE_URL": url,
        "ANTHROPIC_API_KEY": KEY,
        "AWS_ENDPOINT_URL_BEDROCK": url,
        "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": url,
        "AWS_ENDPOINT_URL_SERVICE_QUOTAS": url,
    }


def _serve(session: Session, emulator: Emulator) -> int:
    lines = [f"export {name}={value}" for name, value in variables(emulator.url).items()]
    session.show(variables(emulator.url), "\n".join(lines))
    session.tell(["The emulator answers until Ctrl-C. Use a --store of its own: its answers are made up."])
    while True:
        session.desk.env.sleep(3600)
