"""OpenAI's request and result lines, for chat, responses and embeddings (PROVIDERS §1.1, §1.4, §1.7); pure."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import msgspec
from msgspec import Raw, Struct

from providers import lines
from providers.contract import EMBEDDINGS, Limits, Outcome, Prompt, Reply, RequestTemplate, Revision, Traits, Usage
from providers.profiles import OPENAI, Profile
from providers.structured import OPENAI as DIALECT
from providers.structured import enforceable, in_words, only_told, shortfall

MESSAGE_LENGTH = 500
VECTORS_MAX = 2_000  # in a batch: OpenAI takes 50,000, whose answers come to a gigabyte and more (PROVIDERS §1.2)
_TRANSIENT = frozenset({0, 408, 409, 429})  # and everything that is no 4xx; 0 is seen live (PROVIDERS §1.9)
_NOT_RUN = {
    "batch_expired": Outcome.expired,
    "batch_cancelled": Outcome.cancelled,
    "batch_canceled": Outcome.cancelled,
}
# OpenAI's guide to structured outputs: they began with gpt-4o-2024-08-06 and gpt-4o-mini.
_NOT_HELD = re.compile(r"(?:ft:)?(?:gpt-3\.5-|gpt-4(?:$|[-:])|gpt-4o-2024-05-13|o1-preview|o1-mini)")
_PERMANENT_FAILURES = frozenset({"invalid_prompt", "invalid_image", "invalid_image_url", "context_length_exceeded"})


class _Response(Struct):
    status_code: int | None = None
    body: Raw = Raw(b"null")


class _Line(Struct):
    custom_id: str
    response: _Response | None = None
    error: Any = None


class _Part(Struct):
    type: str = ""
    text: str | None = None
    refusal: str | None = None


class _Details(Struct):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class _ChatUsage(Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _Details | None = None


class _Message(Struct):
    content: str | list[_Part] | None = None
    refusal: str | None = None


class _Choice(Struct):
    message: _Message | None = None
    finish_reason: str | None = None


class _Chat(Struct):
    choices: list[_Choice] = []
    usage: _ChatUsage | None = None
    error: Any = None


class _ResponsesUsage(Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: _Details | None = None


class _Item(Struct):
    type: str = ""
    content: list[_Part] | None = None


class _Incomplete(Struct):
    reason: str | None = None


class _Answer(Struct):
    status: str | None = None
    output: list[_Item] = []
    incomplete_details: _Incomplete | None = None
    usage: _ResponsesUsage | None = None
    error: Any = None


class _Vector(Struct):
    embedding: Raw = Raw(b"null")


class _Vectors(Struct):
    data: list[_Vector] = []
    usage: _ChatUsage | None = None
    error: Any = None


class _Failure(Struct):
    error: Any = None


_LINE = msgspec.json.Decoder(_Line)
_NAMED = msgspec.json.Decoder(lines.Named)
_CHAT = msgspec.json.Decoder(_Chat)
_ANSWER = msgspec.json.Decoder(_Answer)
_VECTORS = msgspec.json.Decoder(_Vectors)
_FAILURE = msgspec.json.Decoder(_Failure)
_ONCE = (b'"custom_id"', b'"response"', b'"status_code"', b'"choices"', b'"data"')


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What differs between the ways of asking."""

    url: str
    outline: lines.Outline
    reserved: tuple[str, ...]
    turns: str
    limit: str
    reply: Callable[[str, Raw], Reply]
    requests_max: int | None = None  # our own bound on a batch


@dataclass(slots=True)
class OpenAIFormat:
    """The lines of one endpoint."""

    endpoint: Endpoint
    profile: Profile = OPENAI
    traits: Traits = field(init=False)
    limits: Limits = field(init=False)
    _encoder: lines.Encoder = field(init=False, repr=False)
    _between: bytes = field(init=False, repr=False)
    _told: tuple[RequestTemplate, str] | None = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        self.traits, limits = self.profile.traits, self.profile.limits
        self.limits = replace(limits, requests=min(limits.requests, self.endpoint.requests_max or limits.requests))
        self._encoder = lines.Encoder(self.endpoint.outline, self.endpoint.reserved)
        self._between = f',"method":"POST","url":"{self.endpoint.url}","body":'.encode()

    def encode(self, template: RequestTemplate, prompt: Prompt) -> bytes:
        words = self._words(template)
        if words:
            prompt = Prompt("\n\n".join(part for part in (prompt.system, words) if part), prompt.user)
        return self._encoder(template, prompt)

    def _words(self, template: RequestTemplate) -> str:
        """The schema in words, where the server does not enforce it; worked out once for equal templates."""
        if self._told is None or self._told[0] is not template:
            held = template.schema is None or structured(self.profile, template.model) == "json_schema"
            self._told = template, "" if held or template.schema is None else in_words(template.schema, DIALECT)
        return self._told[1]

    def shortfall(self, template: RequestTemplate) -> str:
        if template.schema is None:
            return ""
        strict = structured(self.profile, template.model) == "json_schema"
        return shortfall(template.schema, DIALECT) if strict else only_told(template.model)

    def lines(self, custom_ids: Sequence[str], bodies: Sequence[bytes]) -> bytes:
        return lines.seal(custom_ids, self._between, bodies)

    def body(self, line: bytes) -> bytes:
        return lines.unseal(line, self._between)

    def revise(self, body: bytes, revision: Revision) -> bytes:
        if not self.endpoint.turns:
            return body  # nobody reads: the same text may get a sound vector next time
        larger = {} if revision.max_output_tokens is None else {self.endpoint.limit: revision.max_output_tokens}
        return lines.changed(body, larger, self.endpoint.turns, revision.feedback)

    def whose(self, block: bytes) -> list[str]:
        return [one.custom_id for one in lines.read_lines(_NAMED, block)]

    def decode(self, line: bytes) -> Reply:
        """Both files share one shape, and a failed request may have `error: null` (PROVIDERS §1.4)."""
        told = lines.read(_LINE, line)
        lines.reject_twins(line, _ONCE)
        if told.error is not None or told.response is None:
            return _not_run(told)
        status = told.response.status_code or 0
        if not 200 <= status < 300:
            return _refused_by_http(told.custom_id, status, told.response.body)
        return self.endpoint.reply(told.custom_id, told.response.body)


def _not_run(told: _Line) -> Reply:
    code, message = _words(told.error)
    return Reply(told.custom_id, _NOT_RUN.get(code, Outcome.errored), code=code or "no_response", message=message)


def _refused_by_http(custom_id: str, status: int, body: Raw) -> Reply:
    permanent = 400 <= status < 500 and status not in _TRANSIENT
    try:
        code, message = _words(_FAILURE.decode(body).error)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        code, message = "", ""  # a gateway's page instead of the API's words; the status says enough
    outcome = Outcome.failed if permanent else Outcome.errored
    if permanent and code == "content_filter":  # Azure's filter stopped the prompt (PROVIDERS §6)
        outcome = Outcome.refused
    return Reply(custom_id, outcome, code=code or f"http_{status}", message=message)


def _words(error: Any) -> tuple[str, str]:
    """Code and message of an error object, whatever its shape."""
    if not isinstance(error, dict):
        return "", str(error or "")[:MESSAGE_LENGTH]
    code = error.get("code") or error.get("type") or ""
    return str(code)[:64], str(error.get("message") or "")[:MESSAGE_LENGTH]


def _chat_reply(custom_id: str, body: Raw) -> Reply:
    chat = lines.read(_CHAT, body)
    usage = _chat_usage(chat.usage)
    if chat.error is not None or not chat.choices:
        return _broken(custom_id, chat.error, usage)
    choice = chat.choices[0]
    message = choice.message or _Message()
    if message.refusal:
        return Reply(custom_id, Outcome.refused, message.refusal, "refusal", "The model declined.", usage)
    return _ended(custom_id, choice.finish_reason or "", _content(message.content), usage)


def _ended(custom_id: str, reason: str, text: str, usage: Usage) -> Reply:
    """By chat's `finish_reason`. An unknown one is no reason to drop an answer: whether it fits is checked later."""
    if reason == "length":
        return Reply(custom_id, Outcome.truncated, text, reason, "The output limit cut the answer.", usage)
    if reason == "content_filter":
        return Reply(custom_id, Outcome.refused, text, reason, "A content filter stopped the answer.", usage)
    if text:
        return Reply(custom_id, Outcome.succeeded, text, usage=usage)
    if reason in ("tool_calls", "function_call"):
        return Reply(custom_id, Outcome.failed, "", reason, "The model called a tool instead of answering.", usage)
    return Reply(custom_id, Outcome.errored, "", "no_text", "The answer is empty.", usage)


def _broken(custom_id: str, error: Any, usage: Usage) -> Reply:
    """A 200 without an answer."""
    code, message = _words(error)
    outcome = Outcome.failed if code in _PERMANENT_FAILURES else Outcome.errored
    return Reply(custom_id, outcome, code=code or "no_answer", message=message, usage=usage)


def _answer_reply(custom_id: str, body: Raw) -> Reply:
    """A Responses body: its status can say truncated, filtered or failed inside a 200 (PROVIDERS §1.4)."""
    answer = lines.read(_ANSWER, body)
    usage = _answer_usage(answer.usage)
    parts = [part for item in answer.output if item.type == "message" for part in item.content or ()]
    refusal = "".join(part.refusal or "" for part in parts if part.type == "refusal")
    if refusal:
        return Reply(custom_id, Outcome.refused, refusal, "refusal", "The model declined.", usage)
    text = "".join(part.text or "" for part in parts if part.type == "output_text")
    if answer.error is not None or answer.status == "failed":
        return _broken(custom_id, answer.error, usage)
    if answer.status in ("completed", "incomplete", None):
        reason = (answer.incomplete_details or _Incomplete()).reason or ""
        return _completed(custom_id, answer.status, reason, text, usage)
    outcome = Outcome.cancelled if answer.status == "cancelled" else Outcome.errored
    return Reply(custom_id, outcome, text, answer.status or "", "The response is not complete.", usage)


def _completed(custom_id: str, status: str | None, reason: str, text: str, usage: Usage) -> Reply:
    if status != "incomplete":
        return _ended(custom_id, "stop", text, usage)
    if reason in ("max_output_tokens", "content_filter"):
        return _ended(custom_id, "length" if reason == "max_output_tokens" else reason, text, usage)
    return Reply(custom_id, Outcome.errored, text, reason or "incomplete", "The response is not complete.", usage)


def _vector_reply(custom_id: str, body: Raw) -> Reply:
    """The vector, as the one field of an object; anything but one vector is passed on to be found wrong."""
    told = lines.read(_VECTORS, body)
    usage = _chat_usage(told.usage)
    if told.error is not None:
        return _broken(custom_id, told.error, usage)
    vectors = [bytes(one.embedding) for one in told.data]
    answer = vectors[0] if len(vectors) == 1 else b"[" + b",".join(vectors) + b"]"
    return Reply(custom_id, Outcome.succeeded, f'{{"embedding":{answer.decode()}}}', usage=usage)


def _content(content: str | list[_Part] | None) -> str:
    if isinstance(content, list):
        return "".join(part.text or "" for part in content)
    return content or ""


def _chat_usage(usage: _ChatUsage | None) -> Usage:
    if usage is None:
        return Usage()
    return _usage(usage.prompt_tokens, usage.completion_tokens, usage.prompt_tokens_details)


def _answer_usage(usage: _ResponsesUsage | None) -> Usage:
    if usage is None:
        return Usage()
    return _usage(usage.input_tokens, usage.output_tokens, usage.input_tokens_details)


def _usage(read: int | None, written: int | None, details: _Details | None) -> Usage:
    details = details or _Details()
    return Usage(read or 0, written or 0, details.cached_tokens or 0, details.cache_write_tokens or 0)


def _chat_outline(profile: Profile, template: RequestTemplate, system: str, user: str) -> dict[str, Any]:
    says = [{"role": "system", "content": system}] if system else []
    body = {
        "model": template.model,
        "messages": [*says, {"role": "user", "content": user}],
        profile.output_limit: template.max_output_tokens,
    }
    shape = _shape(profile, template)
    if shape:
        if "schema" in shape:
            shape = {"type": shape.pop("type"), "json_schema": shape}
        body["response_format"] = shape
    return body | _temperature(template)


def _responses_outline(profile: Profile, template: RequestTemplate, system: str, user: str) -> dict[str, Any]:
    body: dict[str, Any] = {"model": template.model}
    if system:
        body["instructions"] = system
    body |= {"input": [{"role": "user", "content": user}], "max_output_tokens": template.max_output_tokens}
    shape = _shape(profile, template)
    if shape:
        body["text"] = {"format": shape}
    return body | _temperature(template)


def _embedding_outline(template: RequestTemplate, system: str, user: str) -> dict[str, Any]:
    if system:
        raise ValueError("An embedding has no system prompt: put all of its text into the user prompt.")
    return {"model": template.model, "input": user}


def structured(profile: Profile, model: str) -> str:
    """How a model is held to a schema: as its server does it, but for OpenAI's own models from before that existed."""
    return "none" if profile is OPENAI and _NOT_HELD.match(model.lower()) else profile.structured


def _shape(profile: Profile, template: RequestTemplate) -> dict[str, Any]:
    """What holds the answer to its schema, as Responses has it; empty where nothing does."""
    how = structured(profile, template.model)
    if template.schema is None or how == "none":
        return {}
    if how == "json_object":
        return {"type": "json_object"}
    name = re.sub(r"[^a-zA-Z0-9_-]", "_", template.schema_name or "result")[:64]
    return {"type": "json_schema", "name": name, "strict": True, "schema": enforceable(template.schema, DIALECT)}


def _temperature(template: RequestTemplate) -> dict[str, Any]:
    return {} if template.temperature is None else {"temperature": float(template.temperature)}


def served(profile: Profile) -> dict[str, str]:
    """The server's ways of asking, each with its path."""
    paths = {"chat": profile.chat_path, "responses": profile.responses_path, EMBEDDINGS: profile.embeddings_path}
    return {name: path for name, path in paths.items() if path}


def endpoint_of(profile: Profile, name: str) -> Endpoint:
    """One of the server's ways of asking. Raises ValueError for one it does not have."""
    paths = served(profile)
    if name not in paths:
        raise ValueError(f"{profile.title} has no endpoint {name!r}: choose {' or '.join(paths)}.")
    if name == "chat":
        outline, limit = partial(_chat_outline, profile), profile.output_limit
        return Endpoint(paths[name], outline, ("model", "messages", "stream"), "messages", limit, _chat_reply)
    if name == EMBEDDINGS:
        reserved = ("model", "input", "encoding_format", "stream")
        return Endpoint(paths[name], _embedding_outline, reserved, "", "", _vector_reply, VECTORS_MAX)
    outline = partial(_responses_outline, profile)
    reserved = ("model", "input", "instructions", "stream")
    return Endpoint(paths[name], outline, reserved, "input", "max_output_tokens", _answer_reply)
