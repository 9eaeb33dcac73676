"""The emulator's own pages under /_emulator/: what the Python API offers, for other processes."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import msgspec

from providers.emulator.faults import Fault
from providers.emulator.wire import Call, Problem, Reply, Route
from providers.emulator.world import read_json

if TYPE_CHECKING:
    from providers.emulator.emulator import Emulator

PREFIX = "/_emulator/"


def routes(emulator: "Emulator") -> list[Route]:
    """GET charges, batches, requests, now; POST advance {"seconds"}, faults {…} (adds one); DELETE faults."""

    def advance(call: Call) -> Reply:
        seconds = _asked(call).get("seconds")
        if not isinstance(seconds, int | float) or seconds < 0:
            raise Problem(Reply(400, {"error": "seconds is a number, and virtual time does not go back"}))
        emulator.advance(seconds)
        return now(call)

    def now(_call: Call) -> Reply:
        return Reply(document={"now": emulator.now})

    def add_fault(call: Call) -> Reply:
        try:
            emulator.add_fault(Fault(**_asked(call)))
        except (TypeError, ValueError) as wrong:
            raise Problem(Reply(400, {"error": str(wrong)})) from None
        return Reply(document={"added": True})

    def clear_faults(_call: Call) -> Reply:
        emulator.clear_faults()
        return Reply(document={"cleared": True})

    return [
        Route("GET", PREFIX + "charges", lambda _call: _listed(emulator.iter_charges())),
        Route("GET", PREFIX + "batches", lambda _call: _listed(emulator.batches)),
        Route("GET", PREFIX + "requests", lambda _call: _listed(emulator.requests)),
        Route("GET", PREFIX + "now", now),
        Route("POST", PREFIX + "advance", advance),
        Route("POST", PREFIX + "faults", add_fault),
        Route("DELETE", PREFIX + "faults", clear_faults),
    ]


def _asked(call: Call) -> dict[str, Any]:
    asked = read_json(call.body.read())
    if not isinstance(asked, dict):
        raise Problem(Reply(400, {"error": "a JSON object is wanted"}))
    return asked


def _listed(rows: Iterable[Any]) -> Reply:
    """A JSON array, streamed, one element a line."""
    return Reply(chunks=_array(rows))


def _array(rows: Iterable[Any]) -> Iterator[bytes]:
    yield b"["
    buffered, first = bytearray(), True
    for row in rows:
        buffered += (b"\n" if first else b",\n") + msgspec.json.encode(asdict(row))
        first = False
        if len(buffered) > 65_536:
            yield bytes(buffered)
            buffered.clear()
    yield bytes(buffered) + b"\n]\n"
