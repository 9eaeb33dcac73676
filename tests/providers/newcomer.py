"""A provider that was not there before: the one module that a client needs of it."""

import json
import os
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any
from urllib.request import Request, urlopen

import msgspec

from providers import lines
from providers.contract import (
    Carriage,
    Connection,
    Enforcement,
    Found,
    Limits,
    Outcome,
    PriceSource,
    Prompt,
    RawFile,
    Reply,
    RequestTemplate,
    Revision,
    ShardFile,
    State,
    Status,
    Tag,
    Trace,
    Traits,
    Unavailable,
    Usage,
)
from providers.failures import buying
from providers.structured import OPENAI, in_words, only_told

_BETWEEN = b',"ask":'


class _Line(msgspec.Struct):
    custom_id: str
    answer: str
    tokens: int


class NewcomerFormat:
    limits = Limits(
        requests=10,
        bytes=10**6,
        line_bytes=lines.LINE_BYTES,
        window_s=86_400,
        retention_s=86_400,
        grace_s=60,
        requests_min=1,
    )
    traits = Traits(
        sdk="json",
        extra="newcomer",
        states={"busy": State.running, "halting": State.stopping, "done": State.ended},
        traced_by=Trace.metadata,
        carriage=Carriage.body,
        enforces=Enforcement.words,
        priced=PriceSource.told,
        key_variables=("NEWCOMER_KEY",),
        address_variable="NEWCOMER_URL",
    )

    def encode(self, template: RequestTemplate, prompt: Prompt) -> bytes:
        return lines.whole(_outline, ("messages",), template, prompt)

    def shortfall(self, template: RequestTemplate) -> str:
        return only_told(template.model)

    def lines(self, custom_ids: Sequence[str], bodies: Sequence[bytes]) -> bytes:
        return lines.seal(custom_ids, _BETWEEN, bodies)

    def body(self, line: bytes) -> bytes:
        return lines.unseal(line, _BETWEEN)

    def revise(self, body: bytes, revision: Revision) -> bytes:
        return lines.changed(body, {}, "messages", revision.feedback)

    def whose(self, block: bytes) -> list[str]:
        return [one.custom_id for one in lines.read_lines(msgspec.json.Decoder(lines.Named), block)]

    def decode(self, line: bytes) -> Reply:
        told = lines.read(msgspec.json.Decoder(_Line), line)
        return Reply(told.custom_id, Outcome.succeeded, told.answer, usage=Usage(told.tokens, told.tokens))


def _outline(template: RequestTemplate, system: str, user: str) -> dict[str, Any]:
    told = in_words(template.schema or {}, OPENAI)
    said = [{"role": "system", "content": f"{system}\n{told}"}, {"role": "user", "content": user}]
    return {"model": template.model, "messages": said}


class Newcomer:
    def __init__(self, connection: Connection) -> None:
        self.format, self.connection = NewcomerFormat(), connection

    def close(self) -> None:
        """No connection stays open."""

    def stage(self, *_: Any) -> str:
        return ""

    def create(self, shard: ShardFile, _staged: str, tag: Tag) -> str:
        with buying(f"Shard {tag}"):
            return str(self._ask("POST", f"?{tag}", shard.path.read_bytes())["id"])

    def find(self, _shard: ShardFile, tag: Tag, since: datetime) -> list[Found]:
        listed = self._read("")["batches"]
        return [Found(one["id"], since, certain=True) for one in listed if one["tag"] == str(tag)]

    def status(self, ref: str) -> Status:
        told = self._read(f"/{ref}")
        return Status(self.format.traits.states[told["word"]], told["word"], told["total"], told["done"], 0)

    def raw(self, ref: str) -> Iterator[RawFile]:
        yield RawFile("output", iter([json.dumps(one).encode() + b"\n" for one in self._read(f"/{ref}/results")]))

    def cancel(self, *_: Any) -> None:
        """Everything is quick here."""

    def forget(self, *_: Any) -> None:
        """Nothing is kept here."""

    def _read(self, tail: str) -> Any:
        try:
            return self._ask("GET", tail)
        except OSError as error:
            raise Unavailable(f"The newcomer cannot be read now ({type(error).__name__}).") from None

    def _ask(self, method: str, tail: str, body: bytes | None = None) -> Any:
        url, key = f"{address()}/newcomer/batches{tail}", os.environ["NEWCOMER_KEY"]
        request = Request(url, body, {"key": key}, method=method)
        with urlopen(request, timeout=self.connection.timeout_s) as answer:
            return json.load(answer)


def address() -> str:
    return os.environ.get("NEWCOMER_URL", "https://newcomer.example")


def endpoints() -> tuple[str, ...]:
    return ("only",)


def load_format(endpoint: str | None = None) -> NewcomerFormat:
    return NewcomerFormat()


def connect(endpoint: str | None, connection: Connection) -> Newcomer:
    return Newcomer(connection)
