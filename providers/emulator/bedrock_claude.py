"""Claude's own request body on Bedrock: the Messages API's without `model`, with `anthropic_version`."""

from typing import Any

import msgspec
from msgspec import Raw

from providers.emulator.anthropic_items import Models
from providers.emulator.bedrock_words import Answer, Objection, Target
from providers.emulator.world import Fate

VERSION = "bedrock-2023-05-31"
_MESSAGES_VERSION = "2023-06-01"
_FORBIDDEN = ("model", "modelId", "stream", "service_tier", "metadata", "inference_geo")
_members = msgspec.json.Decoder(dict[str, Raw]).decode


def serve(models: Models, target: Target, body: bytes, forced: Fate | None) -> Answer:
    """Answer one body."""
    members = _read(body)
    model = target.base.removeprefix("anthropic.")
    members["model"] = Raw(msgspec.json.encode(model))
    served = models.serve(msgspec.json.encode(members), _MESSAGES_VERSION, "batch", forced)
    if served.status != 200:
        message = served.document["error"]["message"]
        status = 503 if served.status == 529 else served.status
        return Answer(status, message, digest=served.digest, struck=served.struck)
    spent = served.spent.total
    return Answer(200, "", _message(served.document, model, spent), served.digest, spent, served.output_tokens)


def _read(body: bytes) -> dict[str, Raw]:
    try:
        members = _members(body)
    except msgspec.DecodeError:
        raise Objection("Malformed input request, please reformat your input and try again.") from None
    for name in _FORBIDDEN:
        if name in members:
            raise Objection(f"{name}: Extra inputs are not permitted")
    version = bytes(members.pop("anthropic_version", Raw(b"")))
    if not version:
        raise Objection("anthropic_version: Field required")
    if version != f'"{VERSION}"'.encode():
        raise Objection(f"anthropic_version: expected '{VERSION}'")
    members.pop("anthropic_beta", None)
    return members


def _message(document: dict[str, Any], model: str, spent: int) -> dict[str, Any]:
    """Nothing is cached (PROVIDERS §3.6), and there is no service tier."""
    usage = {
        "input_tokens": spent,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": document["usage"]["output_tokens"],
    }
    name = f"msg_bdrk_{document['id'].removeprefix('msg_')}"
    known = {key: document[key] for key in ("type", "role", "content", "stop_reason", "stop_sequence")}
    return {"id": name, "model": model.partition("-v")[0], **known, "usage": usage}
