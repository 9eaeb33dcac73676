"""The providers side by side: what `batchjobs providers` prints is what packing and sending go by."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from rich.table import Table

import providers
from providers.contract import Format, Limits, State, Traits
from providers.profiles import NEVER_S

DAY_S = 86_400


def document(switches: Mapping[str, Any]) -> dict[str, Any]:
    """Every provider with every way of asking it; for "compatible" as `switches` describe it."""
    return {"providers": [_entry(name, endpoint, made) for name, endpoint, made in _formats(switches)]}


def tables(switches: Mapping[str, Any]) -> Iterator[Table]:
    """A table a provider, for people; its ways of asking share it, but for the size of a batch."""
    for name in providers.NAMES:
        formats = {endpoint: made for other, endpoint, made in _formats(switches) if other == name}
        first = next(iter(formats.values()))
        table = Table.grid(padding=(0, 2))
        table.title, table.title_justify, table.title_style = name, "left", "bold"
        table.add_row("endpoints", ", ".join(providers.endpoints(name, switches)))
        for what, words in facts(first).items():
            table.add_row(what, words)
        for endpoint in (one for one, made in formats.items() if made.limits != first.limits):
            table.add_row(endpoint, batch_words(formats[endpoint].limits))
        table.add_row()
        yield table


def facts(made: Format) -> dict[str, str]:
    """One provider in words."""
    limits, traits = made.limits, made.traits
    return {
        "batch": batch_words(limits) + (" (documented; doctor asks for yours)" if traits.limits_vary else ""),
        "too little": "answered one by one, at the full price"
        if traits.at_once
        else "one request is enough for a batch",
        "window": _window(limits),
        "kept": "in our own bucket" if traits.reads_store else f"{limits.retention_s // DAY_S} days",
        "statuses": ", ".join(f"{state}: {' '.join(words)}" for state, words in _words(traits).items()),
        "cancel": _cancel(traits),
        "lost purchase": f"found by {traits.traced_by}; held for {_length(limits.grace_s)}",
        "structured": str(traits.enforces),
        "price": str(traits.priced),
        "requests": str(traits.carriage),
        "sdk": f"{traits.sdk}: pip install 'batchjobs[{traits.extra}]'",
        "key": " or ".join(traits.key_variables),
        "beside it": ", ".join(traits.more_variables) or "nothing",
        "address": traits.address_variable + (" (must be set)" if traits.address_needed else ""),
        "settings": ", ".join(traits.settings) or "none of its own",
    }


def batch_words(limits: Limits) -> str:
    """How large a batch may be."""
    return (
        f"{limits.requests_min:,} to {limits.requests:,} requests, {_size(limits.bytes)}, "
        f"a request {_size(limits.line_bytes)}"
    )


def _formats(switches: Mapping[str, Any]) -> Iterator[tuple[str, str, Format]]:
    for name in providers.NAMES:
        for endpoint in providers.endpoints(name, switches):
            yield name, endpoint, providers.load_format(name, endpoint, switches)


def _entry(name: str, endpoint: str, made: Format) -> dict[str, Any]:
    """The very figures and words, by the names they have in the program."""
    return {"provider": name, "endpoint": endpoint, "limits": asdict(made.limits), "traits": _plain(made.traits)}


def _plain(traits: Traits) -> dict[str, Any]:
    own = asdict(traits) | {"reads_store": traits.reads_store, "idempotent": traits.idempotent}
    return own | {"states": {word: str(state) for word, state in traits.states.items()}}


def _words(traits: Traits) -> dict[State, list[str]]:
    found: dict[State, list[str]] = {}
    for word, state in sorted(traits.states.items(), key=lambda pair: list(State).index(pair[1])):
        found.setdefault(state, []).append(word)
    return found


def _cancel(traits: Traits) -> str:
    if not traits.cancels:
        return "not possible: a batch runs to its end"
    said = " or ".join(word for word, state in traits.states.items() if state is State.stopping)
    return f"says {said}, then ends; what was answered is billed and read"


def _window(limits: Limits) -> str:
    if limits.window_s >= NEVER_S:
        return "none: a batch goes on until it is done or cancelled"
    return f"{_length(limits.window_s)}, then what is not done expires"


def _length(seconds: int) -> str:
    return f"{seconds // 3_600} h" if seconds >= 3_600 else f"{seconds // 60} min"


def _size(count: int) -> str:
    return f"{count / 1e9:g} GB" if count >= 10**9 else f"{count / 1e6:.4g} MB"
