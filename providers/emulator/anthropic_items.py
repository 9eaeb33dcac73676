"""The emulated Claude: one Messages request at a time, and the lines of a batch's results."""

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from providers.emulator.answers import Make, compiled
from providers.emulator.schemas import anthropic_complaint
from providers.emulator.spoken import ABSENT, Served, Spent, Spoken, digest_of, given, speak, tokens_of
from providers.emulator.work import Done
from providers.emulator.world import Fate, World

_SNAPSHOTS = {
    "claude-haiku-4-5": "claude-haiku-4-5-20251001",
    "claude-sonnet-4-5": "claude-sonnet-4-5-20250929",
    "claude-opus-4-5": "claude-opus-4-5-20251101",
}
MODELS = ("claude-haiku-4-5", "claude-sonnet-4-6", "claude-opus-4-6", "claude-sonnet-5", "claude-opus-5")
NEW_VERSION = "2026-10-21"  # removes the sampling parameters (PROVIDERS §2.1)
TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


class _Message(msgspec.Struct):
    role: Literal["user", "assistant", "system"]
    content: Raw


class _Params(msgspec.Struct, forbid_unknown_fields=True):
    model: str
    max_tokens: Annotated[int, Meta(ge=1)]
    messages: Annotated[list[_Message], Meta(min_length=1)]
    system: Raw = ABSENT
    temperature: Annotated[float, Meta(ge=0, le=1)] | UnsetType = UNSET
    top_p: float | UnsetType = UNSET
    top_k: int | UnsetType = UNSET
    output_config: Raw = ABSENT
    tools: Raw = ABSENT
    stream: bool | UnsetType = UNSET
    speed: Raw = ABSENT
    cache_control: Raw = ABSENT
    container: Raw = ABSENT
    context_management: Raw = ABSENT
    diagnostics: Raw = ABSENT
    inference_geo: Raw = ABSENT
    mcp_servers: Raw = ABSENT
    metadata: Raw = ABSENT
    output_format: Raw = ABSENT
    service_tier: Raw = ABSENT
    stop_sequences: Raw = ABSENT
    thinking: Raw = ABSENT
    tool_choice: Raw = ABSENT


_PARAMS = msgspec.json.Decoder(_Params)  # made here: two threads that are the first to use a type end the process


class Item(msgspec.Struct):
    """One entry of a create."""

    custom_id: str
    params: Raw


class _Wanted(NamedTuple):
    make: Make | None = None
    tool: str = ""


class Objection(Exception):
    """The request is wrong."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


def error(status: int, message: str, request_id: str, *, kind: str = "", code: str = "") -> dict[str, Any]:
    """Anthropic's error object (PROVIDERS §2.5)."""
    what: dict[str, Any] = {"type": kind or TYPES.get(status, "api_error"), "message": message}
    if code:
        what["details"] = {"error_code": code}
    return {"type": "error", "error": what, "request_id": request_id}


class Models:
    """Answers Messages requests; every answer is a function of the prompt and the world's dice."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._shapes: dict[tuple[bytes, bytes], _Wanted | str] = {}

    def serve(self, params: bytes, version: str, tier: str, forced: Fate | None = None) -> Served:
        """Answer one request under an `anthropic-version`; `forced` overrules the dice."""
        try:
            asked = _read(params)
            _check(asked, version, tier)
            wanted = self._wanted(asked.output_config, asked.tools)
        except Objection as wrong:
            return Served(wrong.status, error(wrong.status, str(wrong), _request_id(digest_of([params]))))
        system = given(asked.system)
        parts = [system, *(part for one in asked.messages for part in (one.role.encode(), bytes(one.content)))]
        digest = digest_of(parts)
        spent = _spent(parts, digest)
        fate = self._world.dice.fate(digest, asked.max_tokens) if forced is None else forced
        if fate in {Fate.permanent, Fate.transient}:
            status, text = _failure(fate, digest)
            return Served(status, error(status, text, _request_id(digest)), digest, struck=fate is Fate.transient)
        spoken = speak(wanted.make, digest, fate, asked.max_tokens, self._world.said(parts))
        document = _message(_SNAPSHOTS.get(asked.model, asked.model), digest, wanted.tool, spoken, spent, tier)
        return Served(200, document, digest, spent, spoken.tokens)

    def _wanted(self, config: Raw, tools: Raw) -> _Wanted:
        """What the answer must look like; worked out once for equal requests."""
        key = (given(config), given(tools))
        found = self._shapes.get(key)
        if found is None:
            found = self._shapes[key] = _worked_out(*key)
        if isinstance(found, str):
            raise Objection(found)
        return found


def _read(params: bytes) -> _Params:
    try:
        return _PARAMS.decode(params)
    except msgspec.ValidationError as wrong:
        message = str(wrong)
        missing = re.search(r"missing required field `(\w+)`", message)
        if missing:
            raise Objection(f"{missing[1]}: Field required") from None
        unknown = re.search(r"unknown field `(\w+)`", message)
        if unknown:
            raise Objection(f"{unknown[1]}: Extra inputs are not permitted") from None
        place = re.search(r"at `\$\.?([^`]*)`", message)
        raise Objection(f"{place[1] if place else 'params'}: {message.split(' - at ')[0]}") from None
    except msgspec.DecodeError:
        raise Objection("The request body is not valid JSON.") from None


def _check(asked: _Params, version: str, tier: str) -> None:
    if not asked.model.startswith("claude-"):
        raise Objection(f"model: {asked.model}", 404)
    if asked.stream is True:
        raise Objection("stream: streaming is not available here")
    if tier == "batch" and given(asked.speed):
        raise Objection("speed: not supported in a message batch")
    if version >= NEW_VERSION:
        for name in ("temperature", "top_p", "top_k"):
            if getattr(asked, name) is not UNSET:
                raise Objection(f"{name}: Extra inputs are not permitted")


def _worked_out(config: bytes, tools: bytes) -> _Wanted | str:
    shape = (msgspec.json.decode(config) if config else {}).get("format")
    if isinstance(shape, dict) and shape.get("type") == "json_schema":
        schema = shape.get("schema")
        if not isinstance(schema, dict):
            return "output_config.format.schema: Field required"
        complaint = anthropic_complaint(schema)
        return f"output_config.format.schema: {complaint}" if complaint else _Wanted(compiled(schema))
    offered = msgspec.json.decode(tools) if tools else None
    if offered:
        return _Wanted(
            compiled({**offered[0].get("input_schema", {}), "type": "object"}), offered[0].get("name", "tool")
        )
    return _Wanted()


def count_tokens(asked: Mapping[str, Any]) -> int:
    """The input tokens of a request's system prompt and messages."""
    parts = [msgspec.json.encode(part) for part in (asked.get("system", ""), asked["messages"])]
    return tokens_of(parts)


def _spent(parts: list[bytes], digest: bytes) -> Spent:
    """The input tokens; a system prompt marked for caching is mostly read, else written (PROVIDERS §2.6)."""
    total = tokens_of(parts)
    if b'"cache_control"' not in parts[0]:
        return Spent(total)
    shared = tokens_of(parts[:1])
    return Spent(total, cached_tokens=shared) if digest[7] < 200 else Spent(total, written_tokens=shared)


def _request_id(digest: bytes) -> str:
    return f"req_{digest.hex()[:24]}"


def _failure(fate: Fate, digest: bytes) -> tuple[int, str]:
    if fate is Fate.permanent:
        return 400, "messages: the input was rejected"
    return (500, "Internal server error") if digest[4] % 2 else (529, "Overloaded")


def _message(model: str, digest: bytes, tool: str, spoken: Spoken, spent: Spent, tier: str) -> dict[str, Any]:
    """A Message (PROVIDERS §2.4)."""
    content, reason = _content(digest, tool, spoken)
    refusal = {"type": "refusal", "category": None, "explanation": None}
    return {
        "id": f"msg_{digest.hex()[:24]}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": reason,
        "stop_sequence": None,
        "stop_details": refusal if reason == "refusal" else None,
        "usage": {
            "input_tokens": spent.total - spent.cached_tokens - spent.written_tokens,
            "cache_creation_input_tokens": spent.written_tokens,
            "cache_read_input_tokens": spent.cached_tokens,
            "cache_creation": {"ephemeral_5m_input_tokens": spent.written_tokens, "ephemeral_1h_input_tokens": 0},
            "output_tokens": spoken.tokens,
            "server_tool_use": None,
            "service_tier": tier,
        },
    }


def _content(digest: bytes, tool: str, spoken: Spoken) -> tuple[list[dict[str, Any]], str]:
    if spoken.refused:
        return [], "refusal"
    reason = "max_tokens" if spoken.cut else "end_turn"
    if tool and not spoken.cut:
        try:
            value = msgspec.json.decode(spoken.text)
        except msgspec.DecodeError:
            return [{"type": "text", "text": spoken.text, "citations": None}], reason
        return [{"type": "tool_use", "id": f"toolu_{digest.hex()[:24]}", "name": tool, "input": value}], "tool_use"
    return [{"type": "text", "text": spoken.text, "citations": None}], reason


_item = msgspec.json.Decoder(Item).decode


def executor(models: Models, version: str, forced: Fate | None) -> Callable[[bytes], Done]:
    """Executes the stored lines of a batch created under this `anthropic-version`."""
    return partial(_executed, models, version, forced)


def _executed(models: Models, version: str, forced: Fate | None, line: bytes) -> Done:
    item = _item(line)
    answer = models.serve(bytes(item.params), version, "batch", forced)
    good = answer.status == 200
    result = (
        {"type": "succeeded", "message": answer.document} if good else {"type": "errored", "error": answer.document}
    )
    return Done(
        line=result_line(item.custom_id, result),
        failed=not good,
        custom_id=item.custom_id,
        prompt_hash=answer.digest.hex(),
        input_tokens=answer.spent.total,
        cached_tokens=answer.spent.cached_tokens,
        output_tokens=answer.output_tokens,
        struck=answer.digest if answer.struck else b"",
    )


def unexecuted(kind: str, line: bytes) -> bytes:
    """The result line of an item that is `canceled` or `expired`."""
    return result_line(_item(line).custom_id, {"type": kind})


def result_line(custom_id: str, result: Any) -> bytes:
    """One line of a batch's results (PROVIDERS §2.4)."""
    return msgspec.json.encode({"custom_id": custom_id, "result": result}) + b"\n"
