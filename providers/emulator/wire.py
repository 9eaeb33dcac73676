"""What a provider sees of an HTTP request, and what it answers; no sockets here."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import parse_qsl, unquote

import msgspec

from providers.emulator.faults import Fault


class Body(Protocol):
    """A request body that is read at most once, already freed of its transfer and content encodings."""

    def chunks(self) -> Iterator[bytes]: ...

    def read(self) -> bytes: ...

    def drain(self) -> None: ...

    @property
    def raw_size(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP request. `args` are the variable parts of the path; header names are lower-case."""

    method: str
    path: str
    query_string: str
    headers: Mapping[str, str]
    body: Body
    host: str
    args: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()  # those of the batch this call creates
    behind_s: float = 0.0  # answer as of so many virtual seconds ago (a stale read)

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(self.query_string))


@dataclass(slots=True)
class Reply:
    """One HTTP response: a JSON `document`, or `chunks` of a download (sent chunked, without Content-Length)."""

    status: int = 200
    document: Any = None
    chunks: Iterator[bytes] | None = None
    text: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)

    def encoded(self) -> bytes:
        """The body of a reply that is not a download."""
        return self.text if self.text is not None else msgspec.json.encode(self.document)


class Problem(Exception):
    """Ends a handler early with an error reply."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.status)
        self.reply = reply


Handler = Callable[[Call], Reply]


@dataclass(frozen=True, slots=True)
class Route:
    """One method and path; `{}` in the path stands for one segment, which arrives percent-decoded in `Call.args`."""

    method: str
    path: str
    handler: Handler

    def match(self, method: str, path: str) -> tuple[str, ...] | None:
        if method != self.method:
            return None
        found = _pattern(self.path).fullmatch(path)
        return None if found is None else tuple(unquote(part) for part in found.groups())


_PATTERNS: dict[str, re.Pattern[str]] = {}


def _pattern(path: str) -> re.Pattern[str]:
    if path not in _PATTERNS:
        _PATTERNS[path] = re.compile(re.escape(path).replace(r"\{\}", "([^/]+)"))
    return _PATTERNS[path]


def file_chunks(path: str, size: int = 262_144) -> Iterator[bytes]:
    """The bytes of a file, streamed."""
    with open(path, "rb") as file:  # noqa: PTH123 -- a plain path is cheaper to hold than a Path, and as clear
        while chunk := file.read(size):
            yield chunk
