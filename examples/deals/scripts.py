"""Reads the storylines: plain text, one beat after another.

    == email +3 champion>owner ?0.7 | Re: subject
    Text, with {slots} and [one way to say it|another].

`+3` are days since the beat before, `?0.7` is how likely it happens at all; calls and meetings name who took part and
for how many minutes: `== call +4 owner,champion 38 | title`.
"""

import re
from functools import cache
from pathlib import Path
from random import Random
from typing import NamedTuple

FOLDER = Path(__file__).parent
_BEAT = re.compile(r"== (\w+) \+(\d+)(?: ([a-z,>]+))?(?: (\d+))?(?: \?([\d.]+))?(?: \| (.*))?")


class Beat(NamedTuple):
    """One thing that happens. `roles` is who wrote to whom, or who took part."""

    kind: str
    days: int
    roles: tuple[str, ...]
    minutes: int
    likelihood: float
    title: str
    text: str


class Script(NamedTuple):
    """One storyline; `amount` is the share of the list price on the table at the end, if any."""

    stage: str
    amount: float | None
    lang: str
    beats: tuple[Beat, ...]


def dice(purpose: str) -> Random:
    """Chance that falls the same way every time, apart for each purpose."""
    return Random(purpose)  # noqa: S311 - for variety, nothing is secret


@cache
def script(story: str) -> Script:
    """The storyline of that name."""
    head, _, body = (FOLDER / "storylines" / f"{story}.txt").read_text(encoding="utf-8").partition("\n== ")
    facts = dict(line.split(": ", 1) for line in head.splitlines())
    amount = None if facts["amount"] == "none" else float(facts["amount"])
    return Script(facts["stage"], amount, facts.get("lang", "en"), _beats(f"== {body}"))


@cache
def asides() -> tuple[tuple[Beat, ...], ...]:
    """Short side conversations that fit into any story."""
    groups = (FOLDER / "asides.txt").read_text(encoding="utf-8").split("----\n")
    return tuple(_beats(group) for group in groups)


def _beats(text: str) -> tuple[Beat, ...]:
    return tuple(_beat(part) for part in re.split(r"^(?=== )", text, flags=re.MULTILINE) if part)


def _beat(part: str) -> Beat:
    head, _, text = part.partition("\n")
    match = _BEAT.fullmatch(head)
    if match is None:
        raise ValueError(f"not a beat: {head}")
    kind, days, roles, minutes, likelihood, title = match.groups()
    named = tuple(re.split("[,>]", roles)) if roles else ()
    return Beat(kind, int(days), named, int(minutes or 0), float(likelihood or 1), title or "", text.strip())
