"""What the emulated model says to one prompt: an answer, a refusal, a broken or a truncated one."""

from dataclasses import dataclass
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec
from msgspec import Raw

from providers.emulator.answers import Draw, Make, plain
from providers.emulator.world import Fate

ABSENT = Raw(b"")
REFUSAL = "I'm sorry, but I can't help with that request."


@dataclass(frozen=True, slots=True)
class Spoken:
    """The model's words. `cut`: the output limit ended them; `refused`: it declined; `wrong`: not what was asked."""

    text: str
    tokens: int
    cut: bool = False
    refused: bool = False
    wrong: bool = False


class Spent(NamedTuple):
    """The input tokens of one request; the cached ones and those written to a cache are parts of the total."""

    total: int
    cached_tokens: int = 0
    written_tokens: int = 0


class Served(NamedTuple):
    """One request as its endpoint answered it. Only a 200 is billed; `struck` marks a transient error."""

    status: int
    document: Any
    digest: bytes = b""
    spent: Spent = Spent(0)
    output_tokens: int = 0
    struck: bool = False


def given(part: Raw) -> bytes:
    """The JSON of an optional member; empty when it is absent or null."""
    text = bytes(part)
    return b"" if text == b"null" else text


def digest_of(parts: list[bytes]) -> bytes:
    """The identity of a prompt: its text parts, in order."""
    digest = sha256()
    for part in parts:
        digest.update(part)
        digest.update(b"\x00")
    return digest.digest()[:16]


def tokens_of(parts: list[bytes]) -> int:
    """About four bytes a token, and a few for each message's frame."""
    return sum(map(len, parts)) // 4 + 4 * len(parts) + 3


def speak(make: Make | None, digest: bytes, fate: Fate, limit: int, said: str | None = None) -> Spoken:
    """The answer to the prompt with this digest, or the words `said`; cut after `limit` tokens (0: never)."""
    if fate is Fate.refused:
        return Spoken(REFUSAL, tokens_in(REFUSAL), refused=True)
    draw = Draw(digest)
    if said is not None:
        text = said
    elif make is None:
        text = plain(draw)
    else:
        answer = make(draw)
        text = _spoilt(answer, digest) if fate is Fate.invalid else msgspec.json.encode(answer).decode()
    tokens = tokens_in(text)
    if fate is Fate.truncated and limit and tokens > 1:
        return Spoken(text[: max(len(text) * (3 + digest[3] % 6) // 10, 1)], limit, cut=True)
    if limit and tokens > limit:
        return Spoken(text[: limit * 4], limit, cut=True)
    return Spoken(text, tokens, wrong=fate is Fate.invalid)


def tokens_in(text: str) -> int:
    """Of an answer."""
    return len(text) // 4 + 1


def _spoilt(answer: Any, digest: bytes) -> str:
    """An answer that does not fit its schema, in one of the ways models have."""
    text = msgspec.json.encode(answer).decode()
    way = digest[5] % 4
    if not isinstance(answer, dict) or not answer:
        return "Here is the analysis you asked for:\n" + text
    if way == 0:  # without its braces: with them it could only mean what it should be
        return "Here is the analysis you asked for:\n" + text[1:-1]
    name = list(answer)[digest[6] % len(answer)]
    if way == 1:
        return msgspec.json.encode({key: value for key, value in answer.items() if key != name}).decode()
    if way == 2:
        return msgspec.json.encode({**answer, name: {"unexpected": "object"}}).decode()
    return text[:-1]
