"""SQLite's loop: let the n-th effect fail, for n = 1, 2, 3 … until none fails any more (RELIABILITY §6.3)."""

from collections import Counter
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from tests.sweep.night import attempt, check, finish
from tests.sweep.troubles import Trouble


@dataclass
class Tally:
    """What a sweep came to: how many effects a night has, how often a fault fired, how the nights with one ended."""

    effects: int = 0
    fired: int = 0
    ends: Counter[str] = field(default_factory=Counter)


def sweep(trouble: Trouble, provider: str, folder: Path, *, lasting: bool, first: int = 1, stride: int = 1) -> Tally:
    """Every `stride`-th effect fails in a night of its own."""
    tally = Tally()
    for nth in count(first, stride):
        end = one_night(trouble, provider, folder / f"{nth}", nth, lasting)
        if end is None:
            return tally
        tally.effects = nth
        tally.fired += 1
        tally.ends[end] += 1
    raise AssertionError("unreachable")


def one_night(trouble: Trouble, provider: str, folder: Path, nth: int, lasting: bool) -> str | None:
    """A night with a fault, then the same command without it, then the proof; None when the fault never fired."""
    with trouble.strike(provider, folder, nth, lasting) as broken:
        end = attempt(broken.world)
        fired = broken.fired()
        broken.heal()
        check(broken.world, finish(broken.world))
    return end if fired else None
