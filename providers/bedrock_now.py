"""Requests that are too few for a job, each answered at once by Bedrock's runtime at the full price (PROVIDERS §3.2).

The answer is kept in our store where AWS would have put it, as a line like those of a job's output file: it is there
before anybody says that it was bought, and is found there when that was never said. A call whose answer is lost may
have been paid, and nobody else keeps it: the runtime knows neither tokens nor lists.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

import msgspec
from msgspec import Raw, Struct

from providers import aws
from providers.bedrock_format import ENDPOINTS
from providers.contract import Found, Objects, RawFile, ShardFile, State, Status, Tag, Unavailable
from providers.failures import buying

MARK = "at-once:"  # begins the ids of what was answered here, which are no AWS ids
ANSWERED = Status(State.ended, "answered", total=1, done=1, failed=0)  # an id is only ever told of an answer kept
CHUNK_BYTES = 1_048_576


class _Record(Struct):
    recordId: str  # noqa: N815 -- AWS's names
    modelInput: Raw  # noqa: N815


_RECORD = msgspec.json.Decoder(_Record)


@dataclass
class BedrockNow:
    """The purchases of single requests. Its client is made when the first is."""

    endpoint: str
    timeout_s: float
    objects: Objects | None = field(repr=False)

    @cached_property
    def client(self) -> Any:
        """Raises Unavailable without an account, or where only the control plane is somewhere of its own."""
        own, runtime = "AWS_ENDPOINT_URL_BEDROCK", "AWS_ENDPOINT_URL_BEDROCK_RUNTIME"
        if os.environ.get(own) and not os.environ.get(runtime):
            text = f"{own} is set and {runtime} is not: requests could be answered, and paid, somewhere else; set both."
            raise Unavailable(text, kind="blocked")
        return aws.client("bedrock-runtime", self.timeout_s)

    def close(self) -> None:
        if "client" in self.__dict__:
            self.client.close()

    def require(self, shard: ShardFile) -> None:
        """Raises Unavailable for what would keep a purchase from being made, before any is."""
        self._place(shard, 1)
        _ = self.client

    def buy(self, shard: ShardFile, tag: Tag) -> str:
        """The id of the answer, kept. Exactly one attempt on the wire, or none where it is kept already.

        Raises Refused, also for a request that the model cannot take (nothing is billed), OutcomeUnknown, or the
        store's own errors: then the answer is lost and may have been paid.
        """
        objects, key = self._place(shard, tag.send)
        if key not in objects.keys(key):
            objects.create(key, self.answer(shard.path.read_bytes(), shard.model))
        return MARK + key

    def find(self, shard: ShardFile, tag: Tag, since: datetime) -> list[Found]:
        """An answer that was kept and not told."""
        objects, key = self._place(shard, tag.send)
        return [Found(MARK + key, since, certain=True)] if key in objects.keys(key) else []

    def raw(self, ref: str) -> Iterator[RawFile]:
        if self.objects is None:
            raise Unavailable("There is no store to read answers from.", kind="blocked")
        yield RawFile("output", chunks(self.objects, ref.removeprefix(MARK)))

    def answer(self, line: bytes, model: str) -> bytes:
        """The result line of one request line, newline included, with exactly one attempt on the wire.

        Raises Refused or OutcomeUnknown.
        """
        record = _RECORD.decode(line)
        with buying(f"Request {record.recordId}"):
            whole = {"recordId": record.recordId, "modelOutput": self._ask(record.modelInput, model)}
            return msgspec.json.encode(whole) + b"\n"

    def _place(self, shard: ShardFile, send: int) -> tuple[Objects, str]:
        if self.objects is None or not shard.output_url.startswith(f"{self.objects.url}/"):
            raise Unavailable(f"Answers belong to {shard.output_url}, which is in no store of ours.", kind="blocked")
        return self.objects, f"{shard.output_url.removeprefix(f'{self.objects.url}/')}at-once-{send}.jsonl.out"

    def _ask(self, body: Raw, model: str) -> Raw:
        if self.endpoint == ENDPOINTS[0]:
            answer = self.client.invoke_model(
                modelId=model, body=bytes(body), contentType="application/json", accept="application/json"
            )
            return Raw(msgspec.json.encode(msgspec.json.decode(answer["body"].read(), type=dict[str, Raw])))
        answer = dict(self.client.converse(modelId=model, **msgspec.json.decode(body)))
        answer.pop("ResponseMetadata", None)
        if "output" not in answer:  # a gateway's page is no answer, and may hide one
            raise ValueError("an answer without output")
        return Raw(msgspec.json.encode(answer))


def chunks(objects: Objects, key: str) -> Iterator[bytes]:
    """An object's bytes, in pieces of a bounded size."""
    with objects.local(key) as path, path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
