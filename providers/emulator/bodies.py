"""Bodies on the wire: reading a request's, whatever its framing and coding, and breaking a reply's to order."""

import zlib
from collections.abc import Iterable, Iterator
from io import BufferedIOBase
from typing import Any

import msgspec
import zstandard

from providers.emulator.faults import Fault

_PIECE = 262_144


class UnknownCoding(Exception):
    """A content or transfer coding this server does not know."""


class IncomingBody:
    """A request body; `raw_size` counts the bytes taken from the socket."""

    def __init__(self, stream: BufferedIOBase, length: int | None, *, chunked: bool, coding: str) -> None:
        self._pieces = _dechunked(stream) if chunked else _sized(stream, length or 0)
        self._coding = coding
        self.raw_size = 0

    def chunks(self) -> Iterator[bytes]:
        """The decoded body, in pieces; once."""
        if self._coding in {"", "identity"}:
            yield from self._counted()
        elif self._coding in {"gzip", "zstd"}:
            decoder: Any = (
                zlib.decompressobj(31) if self._coding == "gzip" else zstandard.ZstdDecompressor().decompressobj()
            )
            for piece in self._counted():
                yield decoder.decompress(piece)
        else:
            raise UnknownCoding(self._coding)

    def read(self) -> bytes:
        return b"".join(self.chunks())

    def drain(self) -> None:
        """Take what is left off the socket, so that the connection can be used again."""
        for _ in self._counted():
            pass

    def _counted(self) -> Iterator[bytes]:
        for piece in self._pieces:
            self.raw_size += len(piece)
            yield piece


def _sized(stream: BufferedIOBase, length: int) -> Iterator[bytes]:
    while length > 0 and (piece := stream.read(min(length, _PIECE))):
        length -= len(piece)
        yield piece
    if length > 0:
        raise ConnectionError("the client closed inside its request body")


def _dechunked(stream: BufferedIOBase) -> Iterator[bytes]:
    while size := int(stream.readline().split(b";")[0] or b"0", 16):
        yield from _sized(stream, size)
        stream.readline()
    while stream.readline().strip():
        pass


def mangled(chunks: Iterable[bytes], faults: Iterable[Fault]) -> Iterator[bytes]:
    """A download with lines missing, twice, of strangers, or with unknown members, as ordered."""
    for fault in faults:
        if fault.action in _MANGLERS:
            chunks = _MANGLERS[fault.action](_lines(chunks), fault)
    return iter(chunks)


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line + b"\n"
    if rest:
        yield rest


def _missing(lines: Iterator[bytes], fault: Fault) -> Iterator[bytes]:
    for index, line in enumerate(lines):
        if index >= fault.count:
            yield line


def _twice(lines: Iterator[bytes], fault: Fault) -> Iterator[bytes]:
    for index, line in enumerate(lines):
        yield line
        if index < fault.count:
            yield line


def _strangers(lines: Iterator[bytes], fault: Fault) -> Iterator[bytes]:
    for index, line in enumerate(lines):
        yield line
        if index < fault.count:
            stranger = msgspec.json.decode(line)
            stranger["recordId" if "recordId" in stranger else "custom_id"] = f"stranger-{index}"
            yield msgspec.json.encode(stranger) + b"\n"


def _unheard_of(lines: Iterator[bytes], _fault: Fault) -> Iterator[bytes]:
    for line in lines:
        yield msgspec.json.encode({**msgspec.json.decode(line), **NOVELTY}) + b"\n"


NOVELTY = {"x_new_member": {"since": "tomorrow", "values": [1, None, "?"]}}


def _zero(lines: Iterator[bytes], fault: Fault) -> Iterator[bytes]:
    for index, line in enumerate(lines):
        if index < fault.count:
            nothing = {"status_code": 0, "request_id": "", "body": ""}
            yield msgspec.json.encode({**msgspec.json.decode(line), "response": nothing}) + b"\n"
        else:
            yield line


_MANGLERS = {
    "missing_lines": _missing,
    "duplicate_lines": _twice,
    "stranger_lines": _strangers,
    "zero_status": _zero,
    "unknown_fields": _unheard_of,
}


def distorted(document: Any, faults: Iterable[Fault]) -> Any:
    """A JSON reply with unknown members, a status word nobody knows, or wrong counts, as ordered."""
    for fault in faults:
        if isinstance(document, dict) and fault.action in _DISTORTERS:
            distort = _DISTORTERS[fault.action]
            listed = _listed(document)
            if listed:
                document = {**document, listed: [distort(one, fault) for one in document[listed]]}
            document = distort(document, fault)
    return document


def _listed(document: dict[str, Any]) -> str:
    """The member of a listing that has its objects; "" for other documents."""
    return next((name for name in ("data", "invocationJobSummaries") if isinstance(document.get(name), list)), "")


def _listed_twice(document: dict[str, Any], fault: Fault) -> dict[str, Any]:
    listed = _listed(document)
    return {**document, listed: document[listed][: fault.count] + document[listed]} if listed else document


def _new_members(document: dict[str, Any], _fault: Fault) -> dict[str, Any]:
    return {**document, **NOVELTY}


def _new_word(document: dict[str, Any], fault: Fault) -> dict[str, Any]:
    words: dict[str, Any] = {name: fault.word for name in ("status", "processing_status") if name in document}
    return {**document, **words}


def _off_counts(document: dict[str, Any], fault: Fault) -> dict[str, Any]:
    counts = document.get("request_counts", {})
    wrong = {name: counts[name] + fault.count for name in ("completed", "succeeded") if name in counts}
    if "successRecordCount" in document:
        return {**document, "successRecordCount": document["successRecordCount"] + fault.count}
    return {**document, "request_counts": {**counts, **wrong}} if counts else document


_DISTORTERS = {
    "unknown_fields": _new_members,
    "unknown_status": _new_word,
    "wrong_counts": _off_counts,
    "duplicate_listed": _listed_twice,
}


def beginning(chunks: Iterable[bytes], fault: Fault) -> bytes:
    """The first `after` bytes of a body, ending where the cut wants: at a byte, at a line end, or inside a line."""
    taken = b""
    for chunk in chunks:
        taken += chunk
        if len(taken) > fault.after:
            break
    taken = taken[: fault.after]
    if fault.at == "line":
        return taken[: taken.rfind(b"\n") + 1]
    return taken[:-1] if fault.at == "mid" and taken.endswith(b"\n") else taken
