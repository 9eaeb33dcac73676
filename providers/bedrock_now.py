"""One request answered at once by Bedrock's runtime, for what is too little for a job (PROVIDERS §3.2).

The answer is a line like those of a job's output file, so that it is kept, decoded and settled like one. Nothing here
knows a token: a call whose answer is lost may have been paid, and is never repeated blindly.
"""

from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec import Raw, Struct

from providers import aws
from providers.bedrock_format import ENDPOINTS, BedrockFormat
from providers.contract import Connection
from providers.failures import buying


class _Record(Struct):
    recordId: str  # noqa: N815 -- AWS's names
    modelInput: Raw  # noqa: N815


_RECORD = msgspec.json.Decoder(_Record)


def connect(made_for: BedrockFormat, connection: Connection) -> "BedrockNow":
    """The runtime, for the account that the environment names. Raises Unavailable without one."""
    return BedrockNow(made_for.endpoint, aws.client("bedrock-runtime", connection.timeout_s))


@dataclass(frozen=True, slots=True)
class BedrockNow:
    """Answers single lines of a shard, at the full price."""

    endpoint: str
    client: Any = field(repr=False)

    def close(self) -> None:
        self.client.close()

    def answer(self, line: bytes, model: str) -> bytes:
        """The result line of one request line, newline included, with exactly one attempt on the wire.

        Raises Refused, also for a request that the model cannot take (nothing is billed), or OutcomeUnknown.
        """
        record = _RECORD.decode(line)
        with buying(f"Request {record.recordId}"):
            answer = self._ask(record.modelInput, model)
            whole = {"recordId": record.recordId, "modelOutput": answer}
            return msgspec.json.encode(whole) + b"\n"

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
