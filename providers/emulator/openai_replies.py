"""The documents OpenAI's endpoints answer with."""

import base64
import struct
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from providers.emulator.answers import Draw
from providers.emulator.spoken import Spent, Spoken
from providers.emulator.world import Fate


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an answer comes from: the resolved model, the moment, the prompt's digest, the tool it calls (or "")."""

    model: str
    created: int
    digest: bytes
    tool: str = ""


def error(
    message: str, *, kind: str = "invalid_request_error", param: str | None = None, code: str | None = None
) -> Any:
    """OpenAI's error object (PROVIDERS §1.4)."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def failure(fate: Fate, digest: bytes, model: str) -> tuple[int, Any]:
    """Status and document of a request that fails at execution."""
    if fate is Fate.permanent:
        text = "Invalid prompt: your prompt was flagged as potentially violating our usage policy."
        return 400, error(text, code="invalid_prompt")
    choice = digest[4] % 3
    if choice == 0:
        return 500, error(
            "The server had an error while processing your request. Sorry about that!", kind="server_error"
        )
    if choice == 1:
        text = f"Rate limit reached for {model} on requests per min (RPM). Please try again in 20s."
        return 429, error(text, kind="requests", code="rate_limit_exceeded")
    return 503, error("The server is currently overloaded with other requests. Please try again.", kind="server_error")


def completion(origin: Origin, spoken: Spoken, spent: Spent) -> dict[str, Any]:
    """A chat completion."""
    message: dict[str, Any] = {"role": "assistant", "content": spoken.text, "refusal": None, "annotations": []}
    reason = "length" if spoken.cut else "stop"
    if spoken.refused:
        message.update(content=None, refusal=spoken.text)
    elif origin.tool:
        call = {"id": f"call_{origin.digest.hex()[:24]}", "type": "function"}
        call_function = {"name": origin.tool, "arguments": spoken.text}
        message.update(content=None, tool_calls=[{**call, "function": call_function}])
        reason = "length" if spoken.cut else "tool_calls"
    return {
        "id": f"chatcmpl-{origin.digest.hex()}",
        "object": "chat.completion",
        "created": origin.created,
        "model": origin.model,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": reason}],
        "usage": {
            "prompt_tokens": spent.total,
            "completion_tokens": spoken.tokens,
            "total_tokens": spent.total + spoken.tokens,
            "prompt_tokens_details": {"cached_tokens": spent.cached_tokens, "cache_write_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": 0,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        },
        "service_tier": "default",
        "system_fingerprint": "fp_emulator",
    }


def response(origin: Origin, spoken: Spoken, spent: Spent) -> dict[str, Any]:
    """A response object."""
    mark = origin.digest.hex()
    return {
        "id": f"resp_{mark}",
        "object": "response",
        "created_at": origin.created,
        "status": "incomplete" if spoken.cut else "completed",
        "background": False,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if spoken.cut else None,
        "instructions": None,
        "max_output_tokens": None,
        "model": origin.model,
        "output": [_output(origin.tool, mark, spoken)],
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "service_tier": "default",
        "store": False,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": {
            "input_tokens": spent.total,
            "input_tokens_details": {"cached_tokens": spent.cached_tokens, "cache_write_tokens": 0},
            "output_tokens": spoken.tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": spent.total + spoken.tokens,
        },
        "metadata": {},
    }


def _output(tool: str, mark: str, spoken: Spoken) -> dict[str, Any]:
    status = "incomplete" if spoken.cut else "completed"
    if tool and not spoken.refused:
        call = {"type": "function_call", "id": f"fc_{mark}", "call_id": f"call_{mark[:24]}", "name": tool}
        return {**call, "arguments": spoken.text, "status": status}
    part: dict[str, Any] = {"type": "output_text", "text": spoken.text, "annotations": [], "logprobs": []}
    if spoken.refused:
        part = {"type": "refusal", "refusal": spoken.text}
    return {"type": "message", "id": f"msg_{mark}", "status": status, "role": "assistant", "content": [part]}


def embeddings(model: str, vectors: list[Any], spent: Spent) -> dict[str, Any]:
    """A list of embeddings."""
    data = [{"object": "embedding", "index": index, "embedding": one} for index, one in enumerate(vectors)]
    usage = {"prompt_tokens": spent.total, "total_tokens": spent.total}
    return {"object": "list", "data": data, "model": model, "usage": usage}


def spoilt_vectors(vectors: list[Any], digest: bytes) -> list[Any]:
    """Not what was asked for: none, one for nobody, or each a number short."""
    return ([], [*vectors, vectors[0]], [one[:-1] for one in vectors])[digest[5] % 3]


def vector(text: bytes, dimensions: int, encoding: str) -> Any:
    """A unit vector that depends on the text alone, as floats or as base64 of little-endian singles."""
    draw = Draw(sha256(text).digest())
    raw = [draw.share() - 0.5 for _ in range(dimensions)]
    norm = sum(part * part for part in raw) ** 0.5
    unit = [round(part / norm, 8) for part in raw]
    return base64.b64encode(struct.pack(f"<{dimensions}f", *unit)).decode() if encoding == "base64" else unit
