"""Every effect of a night fails, each in a night of its own, in every way, with every provider; and every power cut.

    python -m tests.sweep.campaign --minutes 60 [--parts disk,provider,s3,power,kernel] [--seed 1]

Prints one JSON line at the end and exits with 1 if anything did not hold. Where the minutes end before the nights, a
seeded part of them was tried, and the line says of how many. `kernel` needs strace, `s3` the S3 server of the tests.
"""

import argparse
import errno
import json
import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

from tests.storage.stores import s3_serving
from tests.sweep import kernel
from tests.sweep.loop import one_night
from tests.sweep.night import attempt
from tests.sweep.power import WRECKS, cut_night, undisturbed_calls
from tests.sweep.troubles import Trouble, bucket, disk, wire

PARTS = ("disk", "provider", "s3", "power", "kernel")
PROVIDERS = ("openai", "anthropic")
NEVER = 10**9  # an effect that no night comes to
LASTING = (False, True)
DISKS = [disk(name, getattr(errno, name)) for name in ("ENOSPC", "EIO", "EMFILE", "EROFS")]
WIRES = [
    wire("reset before", action="drop_before"),
    wire("reset after", action="accept_then_drop"),
    wire("stalled", action="accept_then_timeout", seconds=2.0, impatient=True),
    wire("429 now", action="status", status=429, retry_after="2"),
    wire("429 for days", action="status", status=429, retry_after="200000"),
    wire("500", action="status", status=500),
    wire("503 after", action="status", status=503, work=True),
    wire("401", action="status", status=401),
    wire("403", action="status", status=403),
    wire("cut", action="cut", after=20),
    wire("cut and closed", action="cut", after=20, framing="close"),
]
REFUSALS = {500: "InternalError", 503: "SlowDown", 409: "ConditionalRequestConflict", 403: "AccessDenied"}
ERRORS = ("ENOSPC", "EIO", "EROFS")

Night = Callable[[Path], str | None]  # how a night ended in which something failed; None where nothing did


@dataclass
class Campaign:
    """The nights to try, and what came of those that were tried."""

    nights: list[tuple[str, Night]] = field(default_factory=list)
    tried: int = 0
    fired: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    failures: list[dict[str, str]] = field(default_factory=list)

    def run(self, folder: Path, until: float) -> None:
        for name, night in self.nights:
            if time.monotonic() >= until:
                return
            self.tried += 1
            self._one(name, night, folder / str(self.tried))

    def _one(self, name: str, night: Night, folder: Path) -> None:
        try:
            end = night(folder)
        except Exception as error:  # noqa: BLE001 -- whatever went wrong is a finding, and the others go on
            where = traceback.format_exception(error)[-2].strip().splitlines()[0]
            self.failures.append({"night": name, "error": f"{type(error).__name__}: {error!s:.1000}", "where": where})
            print(f"FAILED {name}: {error!s:.300}", file=sys.stderr, flush=True)  # noqa: T201
            return
        self.fired += end is not None
        if end is not None:
            self.kinds[f"{name.partition(',')[0]}: {end}"] += 1


def swept(trouble: Trouble, folder: Path, known: dict[tuple[str, str], int]) -> Iterator[tuple[str, Night]]:
    """Every effect of a night, with both providers, once and from then on. `known`: how many there are, by family."""
    for provider in PROVIDERS:
        family = (trouble.name.split()[0], provider)
        if family not in known:
            known[family] = effects(trouble, provider, folder)
        for nth in range(1, known[family] + 1):
            for lasting in LASTING:
                name = f"{trouble.name}, {provider}, {nth}{' and after' * lasting}"
                yield name, partial(one_night, trouble, provider, nth=nth, lasting=lasting)


def effects(trouble: Trouble, provider: str, folder: Path) -> int:
    """How many there are in a night to which nothing happens."""
    with trouble.strike(provider, folder / f"{trouble.name} {provider}", NEVER, False) as broken:
        attempt(broken.world)
        return broken.effects()


def powers(folder: Path) -> Iterator[tuple[str, Night]]:
    for provider in PROVIDERS:
        for nth in range(1, undisturbed_calls(provider, folder / f"power {provider}") + 1):
            for wreck in WRECKS:
                name = f"power, {provider}, {nth}, {' '.join(wreck)}"
                yield name, partial(_cut, provider, nth=nth, wreck=wreck)


def _cut(provider: str, folder: Path, nth: int, wreck: tuple[str, str, str]) -> str | None:
    return "cut" if cut_night(provider, folder, nth, wreck) else None


def kernels(folder: Path) -> Iterator[tuple[str, Night]]:
    for provider in PROVIDERS:
        with kernel.child(provider, folder / f"kernel {provider}") as one:
            calls = kernel.undisturbed(one)
        for call, times in sorted(calls.items()):
            for nth in range(1, times + 1):
                for error in ERRORS:
                    for lasting in LASTING:
                        name = f"kernel {call} {error}, {provider}, {nth}{' and after' * lasting}"
                        yield name, partial(_refuse, provider, how=(call, error, nth, lasting))


def _refuse(provider: str, folder: Path, how: tuple[str, str, int, bool]) -> str | None:
    with kernel.child(provider, folder) as one:
        end = kernel.refused(one, *how)
        kernel.healed(one)
    return end


def planned(parts: list[str], folder: Path, stack: ExitStack) -> Iterator[tuple[str, Night]]:
    troubles: list[Trouble] = DISKS * ("disk" in parts) + WIRES * ("provider" in parts)
    if "s3" in parts:
        (folder / "server").mkdir()
        server = stack.enter_context(s3_serving(folder / "server"))
        spoilt = [bucket(how, server, spoil=how) for how in ("lose", "cut", "reset", "stall")]
        refused = [bucket(code, server, status, code) for status, code in REFUSALS.items()]
        troubles += [*spoilt, *refused, bucket("NoSuchBucket", server, 404, "NoSuchBucket")]
    known: dict[tuple[str, str], int] = {}
    for trouble in troubles:
        yield from swept(trouble, folder, known)
    if "power" in parts:
        yield from powers(folder)
    if "kernel" in parts:
        yield from kernels(folder)


def mixed(nights: Iterator[tuple[str, Night]], dice: random.Random) -> list[tuple[str, Night]]:
    """In an order that gives every part its turns, whenever the minutes end."""
    parts: dict[str, list[tuple[str, Night]]] = {}
    for night in nights:
        parts.setdefault(night[0].split()[0].rstrip(","), []).append(night)
    for part in parts.values():
        dice.shuffle(part)
    turns = zip_longest(*parts.values())
    return [night for turn in turns for night in turn if night is not None]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    began, campaign = time.monotonic(), Campaign()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        campaign.nights = mixed(planned(asked.parts.split(","), Path(folder), stack), random.Random(asked.seed))
        (Path(folder) / "nights").mkdir()
        campaign.run(Path(folder) / "nights", began + asked.minutes * 60)
    print(json.dumps(_line(campaign, time.monotonic() - began)))  # noqa: T201 the line is the result
    return 1 if campaign.failures or not campaign.fired else 0


def _line(campaign: Campaign, seconds: float) -> dict[str, Any]:
    return {
        "effects": len(campaign.nights),
        "tried": campaign.tried,
        "faults_fired": campaign.fired,
        "kinds": dict(sorted(campaign.kinds.items())),
        "failures": campaign.failures,
        "seconds": round(seconds),
    }


if __name__ == "__main__":
    sys.exit(main())
