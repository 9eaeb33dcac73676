"""Converse: one body for every family (PROVIDERS §3.1, §3.4)."""

from typing import Any

from providers.emulator.answers import Make, compiled
from providers.emulator.bedrock_words import (
    Ask,
    Objection,
    Prompt,
    Target,
    closed,
    decoded,
    encoded,
    first,
    limit_of,
    part,
    texts,
)
from providers.emulator.schemas import anthropic_complaint
from providers.emulator.spoken import Spoken
from providers.emulator.world import read_json

_KNOWN = frozenset(
    {
        "additionalModelRequestFields",
        "additionalModelResponseFieldPaths",
        "guardrailConfig",
        "inferenceConfig",
        "messages",
        "outputConfig",
        "performanceConfig",
        "promptVariables",
        "requestMetadata",
        "serviceTier",
        "system",
        "toolConfig",
    }
)
_INFERENCE = frozenset({"maxTokens", "temperature", "topP", "stopSequences"})


def read(ask: Ask, _target: Target, *, structured: bool) -> Prompt:
    """A Converse body; `structured`: whether the model can be held to a schema."""
    closed(ask, _KNOWN)
    config = part(ask, "inferenceConfig")
    closed(config, _INFERENCE, "inferenceConfig.")
    parts = conversation(ask)
    make = _shape(ask, structured=structured)
    tool, arguments = tool_of(ask)

    def render(digest: bytes, spoken: Spoken, spent: int) -> Any:
        content, reason = said(digest, tool, spoken)
        return {
            "output": {"message": {"role": "assistant", "content": content}},
            "stopReason": reason,
            "usage": {"inputTokens": spent, "outputTokens": spoken.tokens, "totalTokens": spent + spoken.tokens},
            "metrics": {"latencyMs": 200 + spoken.tokens},
        }

    return Prompt(parts, limit_of(config, "maxTokens"), make or arguments, render)


def conversation(ask: Ask) -> list[bytes]:
    """The system prompt and the messages, which Nova's own body shares."""
    system = [encoded(one) for one in texts(ask, "system", required=False)]
    messages = texts(ask, "messages")
    for index, message in enumerate(messages):
        if message.get("role") not in {"user", "assistant"}:
            raise Objection(f"messages.{index}.role: expected user or assistant")
        texts(message, "content")
    return [*system, *(part for one in messages for part in (one["role"].encode(), encoded(one["content"])))]


def tool_of(ask: Ask) -> tuple[str, Make | None]:
    """The name of the first tool offered, and what makes its arguments."""
    spec = part(first(part(ask, "toolConfig"), "tools"), "toolSpec")
    schema = part(part(spec, "inputSchema"), "json")
    return (spec.get("name", "tool"), compiled({**schema, "type": "object"})) if spec else ("", None)


def said(digest: bytes, tool: str, spoken: Spoken) -> tuple[list[dict[str, Any]], str]:
    """Content blocks and stop reason."""
    if spoken.refused:
        return [{"text": spoken.text}], "content_filtered"
    if spoken.cut:
        return [{"text": spoken.text}], "max_tokens"
    if tool and (value := decoded(spoken.text)) is not None:
        return [{"toolUse": {"toolUseId": f"tooluse_{digest.hex()[:22]}", "name": tool, "input": value}}], "tool_use"
    return [{"text": spoken.text}], "end_turn"


def _shape(ask: Ask, *, structured: bool) -> Make | None:
    shape = part(part(ask, "outputConfig"), "textFormat")
    if not shape:
        return None
    if not structured:
        raise Objection("This model doesn't support the outputConfig.textFormat field.")
    if shape.get("type") != "json_schema":
        raise Objection("outputConfig.textFormat.type: expected json_schema")
    text = part(part(shape, "structure"), "jsonSchema").get("schema")
    schema = read_json(text.encode()) if isinstance(text, str) else None
    if not isinstance(schema, dict):
        raise Objection("outputConfig.textFormat.structure.jsonSchema.schema: expected a JSON schema as a string")
    complaint = anthropic_complaint(schema)
    if complaint:
        raise Objection(f"outputConfig.textFormat.structure.jsonSchema.schema: {complaint}")
    return compiled(schema)
