"""Anthropic's request and result lines (PROVIDERS §2.1, §2.4, §2.7); pure.

A shard's line is one member of the `requests` list of a batch; `create` puts the list together on the wire.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct

from providers import lines
from providers.contract import (
    Carriage,
    Enforcement,
    Limits,
    Outcome,
    PriceSource,
    Prompt,
    Reply,
    RequestTemplate,
    Revision,
    State,
    Trace,
    Traits,
    Undecodable,
    Usage,
)
from providers.structured import ANTHROPIC, OPENAI, claude_enforces, enforceable, in_words, only_told, shortfall

LIMITS = Limits(
    requests=100_000,  # PROVIDERS §2.2, as all of these
    bytes=256_000_000 - 1_024,  # the limit is on the HTTP body, which adds the list around the lines
    line_bytes=lines.LINE_BYTES,
    window_s=86_400,
    retention_s=29 * 86_400,  # from creation
    grace_s=3_600,  # RELIABILITY §4.1: no label comes back, so a longer wait than where one does
)
KEY_VARIABLE, ADDRESS_VARIABLE = "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"
STATES = {"in_progress": State.running, "canceling": State.stopping, "ended": State.ended}
TRAITS = Traits(
    sdk="anthropic",
    extra="anthropic",
    states=STATES,
    traced_by=Trace.circumstances,
    carriage=Carriage.body,
    enforces=Enforcement.strict,
    priced=PriceSource.listed,
    key_variables=(KEY_VARIABLE, "ANTHROPIC_AUTH_TOKEN"),
    address_variable=ADDRESS_VARIABLE,
)
MESSAGE_LENGTH = 500


class _Block(Struct):
    type: str = ""
    text: str | None = None


class _Usage(Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None


class _StopDetails(Struct):
    category: str | None = None
    explanation: str | None = None


class _Message(Struct):
    content: list[_Block] = []
    stop_reason: str | None = None
    stop_details: _StopDetails | None = None
    usage: _Usage | None = None


class _Result(Struct):
    type: str
    message: _Message | None = None
    error: Any = None


class _Line(Struct):
    custom_id: str
    result: _Result


_LINE = msgspec.json.Decoder(_Line)
_NAMED = msgspec.json.Decoder(lines.Named)
_ONCE = (b'"custom_id"', b'"result"', b'"message"', b'"stop_reason"')
_BETWEEN = b',"params":'
_CUT = frozenset({"max_tokens", "model_context_window_exceeded"})


class AnthropicFormat:
    """The lines of the Message Batches API."""

    limits = LIMITS
    traits = TRAITS

    def __init__(self) -> None:
        self._encoder = lines.Encoder(_outline, ("model", "messages", "system", "stream"))
        self._told: tuple[RequestTemplate, str] | None = None

    def encode(self, template: RequestTemplate, prompt: Prompt) -> bytes:
        words = self._words(template)
        if words:
            prompt = Prompt("\n\n".join(part for part in (prompt.system, words) if part), prompt.user)
        return self._encoder(template, prompt)

    def _words(self, template: RequestTemplate) -> str:
        """The schema in words, for a model that is held to none; worked out once for equal templates."""
        if template.schema is None or _enforces(template):
            return ""
        if self._told is None or self._told[0] is not template:
            self._told = template, in_words(template.schema, OPENAI)
        return self._told[1]

    def shortfall(self, template: RequestTemplate) -> str:
        if template.schema is None:
            return ""
        return shortfall(template.schema, ANTHROPIC) if _enforces(template) else only_told(template.model)

    def lines(self, custom_ids: Sequence[str], bodies: Sequence[bytes]) -> bytes:
        return lines.seal(custom_ids, _BETWEEN, bodies)

    def body(self, line: bytes) -> bytes:
        return lines.unseal(line, _BETWEEN)

    def revise(self, body: bytes, revision: Revision) -> bytes:
        larger = {} if revision.max_output_tokens is None else {"max_tokens": revision.max_output_tokens}
        return lines.changed(body, larger, "messages", revision.feedback)

    def whose(self, block: bytes) -> list[str]:
        return [one.custom_id for one in lines.read_lines(_NAMED, block)]

    def decode(self, line: bytes) -> Reply:
        """Four kinds of result (PROVIDERS §2.4); a new kind is nothing we may guess about."""
        told = lines.read(_LINE, line)
        lines.reject_twins(line, _ONCE)
        result = told.result
        if result.type == "succeeded" and result.message is not None:
            return _answered(told.custom_id, result.message)
        if result.type == "errored":
            return _errored(told.custom_id, result.error)
        if result.type == "expired":
            return Reply(
                told.custom_id, Outcome.expired, code="expired", message="Not run within the batch's 24 hours."
            )
        if result.type == "canceled":
            return Reply(told.custom_id, Outcome.cancelled, code="canceled", message="The batch was cancelled first.")
        raise Undecodable(f"A result line of {len(line)} bytes is of no kind that is known.")


def _answered(custom_id: str, message: _Message) -> Reply:
    """A success can still be cut, refused or unfinished: its `stop_reason` tells (PROVIDERS §2.4)."""
    text, usage, reason = _text(message.content), _usage(message.usage), message.stop_reason or ""
    if reason in _CUT:
        return Reply(custom_id, Outcome.truncated, text, reason, "The output limit cut the answer.", usage)
    if reason == "refusal":
        return Reply(custom_id, Outcome.refused, text, *_declined(message.stop_details), usage)
    if reason == "pause_turn":
        return Reply(custom_id, Outcome.errored, text, reason, "The model paused before it was done.", usage)
    if text:
        return Reply(custom_id, Outcome.succeeded, text, usage=usage)
    if reason == "tool_use":
        return Reply(custom_id, Outcome.failed, "", reason, "The model called a tool instead of answering.", usage)
    return Reply(custom_id, Outcome.errored, "", "no_text", "The answer is empty.", usage)


def _declined(details: _StopDetails | None) -> tuple[str, str]:
    details = details or _StopDetails()
    code = f"refusal_{details.category}" if details.category else "refusal"
    return code, (details.explanation or "The model declined.")[:MESSAGE_LENGTH]


def _errored(custom_id: str, error: Any) -> Reply:
    """The error is nested twice. Only an invalid request fails for good, all others may be resent (PROVIDERS §2.5)."""
    inner = error.get("error", error) if isinstance(error, dict) else {}
    inner = inner if isinstance(inner, dict) else {}
    kind, details = str(inner.get("type") or "error"), inner.get("details")
    code = str((details.get("error_code") if isinstance(details, dict) else "") or kind)[:64]
    outcome = Outcome.failed if kind == "invalid_request_error" else Outcome.errored
    return Reply(custom_id, outcome, code=code, message=str(inner.get("message") or "")[:MESSAGE_LENGTH])


def _text(blocks: Sequence[_Block]) -> str:
    return "".join(block.text or "" for block in blocks if block.type == "text")


def _usage(usage: _Usage | None) -> Usage:
    """Anthropic's input_tokens leaves the cached ones out; ours is the total (PROVIDERS §2.4)."""
    usage = usage or _Usage()
    read, written = usage.cache_read_input_tokens or 0, usage.cache_creation_input_tokens or 0
    return Usage((usage.input_tokens or 0) + read + written, usage.output_tokens or 0, read, written)


def _enforces(template: RequestTemplate) -> bool:
    """A model nobody knows by its name is asked strictly."""
    return claude_enforces(template.model) is not False


def _outline(template: RequestTemplate, system: str, user: str) -> dict[str, Any]:
    body: dict[str, Any] = {"model": template.model, "max_tokens": template.max_output_tokens}
    if system:
        body["system"] = system
    body["messages"] = [{"role": "user", "content": user}]
    if template.schema is not None and _enforces(template):
        schema = enforceable(template.schema, ANTHROPIC)
        body["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
    if template.temperature is not None:
        body["temperature"] = float(template.temperature)
    return body
