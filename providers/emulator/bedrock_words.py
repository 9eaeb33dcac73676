"""What the readers of Bedrock's request bodies share."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from providers.emulator.answers import Make
from providers.emulator.spoken import Spoken
from providers.emulator.world import read_json

Ask = Mapping[str, Any]


class Target(NamedTuple):
    """A model: its base id and its family (anthropic, nova, llama or mistral)."""

    base: str
    family: str


class Prompt(NamedTuple):
    """A request that was found valid, and how to write down what the model says to it."""

    parts: list[bytes]
    limit: int  # output tokens; 0: the model's own
    make: Make | None
    render: Callable[[bytes, Spoken, int], Any]  # of the prompt's digest, the words, the input tokens


class Answer(NamedTuple):
    """One request as the model answered it. Only a 200 has a document and is billed; `struck`: a transient error."""

    status: int
    message: str
    document: Any = None
    digest: bytes = b""
    input_tokens: int = 0
    output_tokens: int = 0
    struck: bool = False


class Objection(Exception):
    """The request is wrong."""


def object_of(body: bytes) -> Ask:
    """The request as an object."""
    asked = read_json(body)
    if not isinstance(asked, dict):
        raise Objection("Malformed input request, please reformat your input and try again.")
    return asked


def part(ask: Ask, name: str) -> Ask:
    """An object inside the request; empty when it is absent."""
    inner = ask.get(name)
    if inner is None:
        return {}
    if not isinstance(inner, dict):
        raise Objection(f"{name}: expected an object")
    return inner


def first(ask: Ask, name: str) -> Ask:
    """The first object of a list inside the request; empty when it is absent."""
    listed = texts(ask, name, required=False)
    return listed[0] if listed else {}


def closed(ask: Ask, known: frozenset[str], place: str = "") -> None:
    """Object to members that nobody knows."""
    for name in ask:
        if name not in known:
            raise Objection(f"{place}{name}: Extra inputs are not permitted")


def limit_of(ask: Ask, *names: str) -> int:
    """The output limit, under the first of its names that is used; 0 for none."""
    name = next((one for one in names if one in ask), "")
    limit = ask.get(name, 0)
    if not isinstance(limit, int) or (name and limit < 1):
        raise Objection(f"{name}: expected a number greater than or equal to 1")
    return limit


def texts(ask: Ask, name: str, *, required: bool = True) -> list[dict[str, Any]]:
    """A list of objects, which must not be empty when it is `required`."""
    listed = ask.get(name)
    if not listed and not required:
        return []
    if not isinstance(listed, list) or not listed or not all(isinstance(one, dict) for one in listed):
        raise Objection(f"{name}: expected a list of at least one object")
    return listed


def encoded(value: Any) -> bytes:
    """A part of a prompt."""
    return msgspec.json.encode(value)


def decoded(text: str) -> Any:
    """The JSON value of an answer; None when it is cut or spoilt."""
    return read_json(text.encode())
