"""What request and result lines of all providers have in common: putting bodies together, reading JSON strictly."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from msgspec import Raw

from providers.contract import Prompt, RequestTemplate, Undecodable

T = TypeVar("T")

_CUSTOM_IDS = re.compile(r"(?:[a-zA-Z0-9_-]{1,64}\n)*")  # what every provider takes (PROVIDERS §1.1, §2.1)
LINE_BYTES = 16_777_216  # our own bound: no provider documents one, and a result of this size is a bomb

_HOLE = "\0prompt\0"
_HOLE_JSON = msgspec.json.encode(_HOLE)
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Named(msgspec.Struct):
    """Of a result line nothing but its name."""

    custom_id: str


def known(*kinds: type[msgspec.Struct]) -> None:
    """Let msgspec work these types out now: two threads that are the first to use one, at once, end the process.

    It fills in what it keeps of a type step by step, where the other thread sees it (msgspec 0.22).
    """
    for kind in kinds:
        msgspec.json.Decoder(kind)


Outline = Callable[[RequestTemplate, str, str], dict[str, Any]]


class Encoder:
    """Writes request bodies: what a template fixes is encoded once, so that a request costs little but its own prompt.

    `outline` makes the body from a template, a system text ("" for none) and a user text, in this order.
    """

    def __init__(self, outline: Outline, reserved: Sequence[str]) -> None:
        self._outline = outline
        self._reserved = reserved
        self._last: tuple[RequestTemplate, bool, list[bytes]] | None = None

    def __call__(self, template: RequestTemplate, prompt: Prompt) -> bytes:
        """The body; raises ValueError as `Format.encode` says."""
        user = msgspec.json.encode(prompt.user)
        pieces = self._pieces(template, bool(prompt.system))
        if not prompt.system:
            return pieces[0] + user + pieces[1]
        return b"".join((pieces[0], msgspec.json.encode(prompt.system), pieces[1], user, pieces[2]))

    def _pieces(self, template: RequestTemplate, has_system: bool) -> list[bytes]:
        last = self._last
        if last is not None and last[0] is template and last[1] is has_system:
            return last[2]
        pieces = self._cut(template, has_system)
        self._last = (template, has_system, pieces)
        return pieces

    def _cut(self, template: RequestTemplate, has_system: bool) -> list[bytes]:
        holes = Prompt(_HOLE if has_system else "", _HOLE)
        pieces = whole(self._outline, self._reserved, template, holes).split(_HOLE_JSON)
        if len(pieces) != 2 + has_system:
            raise ValueError("The request parameters contain the mark that stands for the prompt.")
        return pieces


def whole(outline: Outline, reserved: Sequence[str], template: RequestTemplate, prompt: Prompt) -> bytes:
    """One body, written at once: for outlines that put a prompt between other words. Raises ValueError as `encode`."""
    taken = [name for name in template.extra if name in reserved]
    if taken:
        raise ValueError(f"Extra request parameters may not set {', '.join(sorted(taken))}: the task does.")
    return msgspec.json.encode(_merged(outline(template, prompt.system, prompt.user), template.extra))


def _merged(body: dict[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """`body` with the extra members, in an order that does not depend on how their mapping was filled.

    A member that both have as an object keeps both halves: an effort or a verbosity sits beside the schema.
    """
    for name in sorted(extra):
        mine, theirs = body.get(name), extra[name]
        if isinstance(mine, dict) and isinstance(theirs, Mapping):
            body[name] = mine | {key: _sorted(theirs[key]) for key in sorted(theirs)}
        else:
            body[name] = _sorted(theirs)
    return body


def _sorted(value: Any) -> Raw:
    return Raw(msgspec.json.encode(value, order="deterministic"))


def seal(custom_ids: Sequence[str], between: bytes, bodies: Sequence[bytes], name: bytes = b"custom_id") -> bytes:
    """For each `{"<name>": …` + `between` + body + `}` + newline. Raises ValueError for what could not be read back."""
    if not _CUSTOM_IDS.fullmatch("".join(f"{custom_id}\n" for custom_id in custom_ids)):
        raise ValueError("A custom_id is 1 to 64 letters, digits, _ or -.")
    head, between = b'{"' + name + b'":"', b'"' + between
    sealed = [b"%b%b%b%b}\n" % (head, i.encode(), between, body) for i, body in zip(custom_ids, bodies, strict=True)]
    data = b"".join(sealed)
    if data.count(b"\n") != len(custom_ids):
        raise ValueError("A request body is one line.")
    return data


def unseal(line: bytes, between: bytes) -> bytes:
    """The body that `seal` put into `line`. A custom_id has no quotes, so the first `between` is the right one."""
    at = line.find(between)
    if at < 0 or not line.endswith(b"}\n"):
        raise ValueError("Not a request line of this provider.")
    return line[at + len(between) : -2]


def changed(body: bytes, members: Mapping[str, Any], turns: str, feedback: str | None) -> bytes:
    """`body` with `members` replaced and `feedback` as a further user message at the end of the list `turns`."""
    fields = msgspec.json.decode(body, type=dict[str, Raw])
    fields |= {name: Raw(msgspec.json.encode(value)) for name, value in members.items()}
    if feedback is not None:
        said = msgspec.json.decode(fields[turns], type=list[Raw])
        said.append(Raw(msgspec.json.encode({"role": "user", "content": feedback})))
        fields[turns] = Raw(msgspec.json.encode(said))
    return msgspec.json.encode(fields)


def read(decoder: "msgspec.json.Decoder[T]", data: bytes | Raw) -> T:
    """Decode JSON, or say that it cannot be read without repeating any of it. Raises Undecodable."""
    if len(data) > LINE_BYTES:
        raise Undecodable(f"A result line of {len(data)} bytes is longer than any answer.")
    try:
        return decoder.decode(data)
    except _UNREADABLE as error:
        raise Undecodable(f"A result line of {len(data)} bytes cannot be read: {type(error).__name__}.") from None


def read_lines(decoder: "msgspec.json.Decoder[T]", block: bytes) -> list[T]:
    """Decode every line of some that can be read."""
    try:
        block.decode()  # what is skipped is not looked at otherwise
        found = decoder.decode_lines(block)
    except _UNREADABLE:
        found = []
    if len(found) == block.count(b"\n") + (not block.endswith(b"\n")) and len(block) <= LINE_BYTES:
        return found
    # One of them cannot be read, or they are not one a line: then each by itself.
    return [one for line in block.split(b"\n") if (one := _read_or_none(decoder, line)) is not None]


def _read_or_none(decoder: "msgspec.json.Decoder[T]", line: bytes) -> T | None:
    try:
        line.decode()
        return read(decoder, line)
    except (Undecodable, UnicodeDecodeError):
        return None


def split(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The lines in a stream of bytes, on newline bytes only (RELIABILITY E7)."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from whole
    if rest:
        yield rest


def reject_twins(line: bytes, once: Sequence[bytes]) -> None:
    """Raise Undecodable where an object names a member twice, as nobody can tell which is meant (RELIABILITY E7).

    `once` are the members, quoted, that ordinary lines hold at most once: only where one comes again is it worth the
    much slower look at the whole line.
    """
    for name in once:
        if line.count(name) > 1:
            break
    else:
        return
    try:
        json.loads(line, object_pairs_hook=_no_twins)
    except (ValueError, RecursionError) as error:
        raise Undecodable(f"A result line of {len(line)} bytes cannot be trusted: {type(error).__name__}.") from None


class _Twins(ValueError):
    """An object with two members of one name."""


def _no_twins(pairs: list[tuple[str, Any]]) -> None:
    if len({name for name, _ in pairs}) != len(pairs):
        raise _Twins
