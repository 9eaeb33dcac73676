"""Bedrock's request and result lines (PROVIDERS §3.1, §3.2, §3.4, §3.5); pure.

A result line does not name its model, so the kind of answer is read off the answer itself.
"""

import re
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Raw, Struct

from providers import aws, lines
from providers.bedrock_bodies import RESERVED, lacking, shape_for, shape_of
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

ENDPOINTS = ("invoke", "converse")
LIMITS = Limits(
    requests=50_000,  # PROVIDERS §3.2, as all of these: some models take 100,000
    bytes=1_000_000_000,
    line_bytes=lines.LINE_BYTES,
    window_s=86_400,  # `bedrock_timeout_hours` can make it longer
    retention_s=10 * 365 * 86_400,  # the results lie in our own store
    grace_s=3_600,  # how long AWS remembers a token is not documented
    requests_min=100,
)
STATES = {
    "submitted": State.queued,
    "validating": State.queued,
    "scheduled": State.queued,
    "inprogress": State.running,
    "stopping": State.stopping,
    "completed": State.ended,
    "partiallycompleted": State.ended,
    "stopped": State.ended,
    "expired": State.ended,
    "failed": State.rejected,
}
TRAITS = Traits(
    sdk="boto3",
    extra="bedrock",
    states=STATES,
    traced_by=Trace.token,
    carriage=Carriage.bucket,
    enforces=Enforcement.by_model,
    priced=PriceSource.halved,
    key_variables=("AWS_ACCESS_KEY_ID", "AWS_PROFILE"),
    more_variables=("AWS_SECRET_ACCESS_KEY", aws.REGION[0]),
    address_variable=aws.address_variable("bedrock"),
    settings=("store", "bedrock_role_arn"),
    names_model=False,
    at_once=True,
    limits_vary=True,
)
MESSAGE_LENGTH = 500
_BETWEEN = b',"modelInput":'
_ECHO = re.compile(rb'"modelInput"\s*:\s*')
_ONCE = (b'"recordId"', b'"modelOutput"', b'"stop_reason"', b'"stopReason"', b'"choices"')
_TRANSIENT = frozenset({408, 409, 424, 429})
_CUT = frozenset({"max_tokens", "length", "model_length", "model_context_window_exceeded"})
_DECLINED = frozenset({"refusal", "guardrail_intervened", "content_filtered", "content_filter"})
_AGAIN = frozenset({"pause_turn", "malformed_model_output", "malformed_tool_use"})
_TOOL_CALLED = frozenset({"tool_use", "tool_calls"})
_NONE = Raw(b"")


class _Error(Struct):
    errorCode: int | str | None = None  # noqa: N815 -- AWS's names, here and below
    errorMessage: str | None = None  # noqa: N815
    retryable: bool | None = None
    expired: bool | None = None


class _Line(Struct):
    recordId: str  # noqa: N815
    modelOutput: Raw = _NONE  # noqa: N815
    error: Raw = _NONE


class _Named(Struct):
    recordId: str  # noqa: N815


class _ToolUse(Struct):
    input: Raw = _NONE


class _Part(Struct):
    """A part of an answer: Claude's has a type, Nova's and Converse's are told by their members."""

    type: str = ""
    text: str | None = None
    input: Raw = _NONE
    toolUse: _ToolUse | None = None  # noqa: N815


class _Message(Struct):
    content: list[_Part] = []


class _Output(Struct):
    message: _Message


class _Function(Struct):
    arguments: str = ""


class _Call(Struct):
    function: _Function | None = None


class _Said(Struct):
    content: str | None = None
    tool_calls: list[_Call] | None = None


class _Choice(Struct):
    message: _Said | None = None
    stop_reason: str | None = None
    finish_reason: str | None = None


class _Text(Struct):
    text: str = ""
    stop_reason: str | None = None


class _Usage(Struct):
    """Every family's names for the same few figures."""

    input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    output_tokens: int | None = None
    inputTokens: int | None = None  # noqa: N815
    cacheReadInputTokens: int | None = None  # noqa: N815
    cacheWriteInputTokens: int | None = None  # noqa: N815
    cacheReadInputTokenCount: int | None = None  # noqa: N815
    cacheWriteInputTokenCount: int | None = None  # noqa: N815
    outputTokens: int | None = None  # noqa: N815
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Answer(Struct):
    """The answer of any family; which members are there tells which."""

    content: list[_Part] | None = None  # Claude
    stop_reason: str | None = None  # Claude, Llama
    usage: _Usage | None = None
    output: _Output | None = None  # Nova, Converse
    stopReason: str | None = None  # noqa: N815
    generation: str | None = None  # Llama
    prompt_token_count: int | None = None
    generation_token_count: int | None = None
    outputs: list[_Text] | None = None  # Mistral, of text
    choices: list[_Choice] | None = None  # Mistral, of messages
    guardrail: str = msgspec.field(default="", name="amazon-bedrock-guardrailAction")


_LINE = msgspec.json.Decoder(_Line)
_NAMED = msgspec.json.Decoder(_Named)
_ERROR = msgspec.json.Decoder(_Error)
_ANSWER = msgspec.json.Decoder(_Answer)
_FIELDS = msgspec.json.Decoder(dict[str, Raw])


class BedrockFormat:
    """The lines of one endpoint: "invoke", each family's own bodies, or "converse"."""

    limits = LIMITS
    traits = TRAITS

    def __init__(self, endpoint: str = ENDPOINTS[0]) -> None:
        self.endpoint = endpoint
        self._encoder = lines.Encoder(self._outline, RESERVED)

    def encode(self, template: RequestTemplate, prompt: Prompt) -> bytes:
        shape = shape_for(template.model, self.endpoint)
        if shape.one_text:
            return lines.whole(shape.outline, RESERVED, template, prompt)
        return self._encoder(template, prompt)

    def shortfall(self, template: RequestTemplate) -> str:
        return lacking(template, self.endpoint)

    def lines(self, custom_ids: Sequence[str], bodies: Sequence[bytes]) -> bytes:
        return lines.seal(custom_ids, _BETWEEN, bodies, b"recordId")

    def body(self, line: bytes) -> bytes:
        return lines.unseal(line, _BETWEEN)

    def revise(self, body: bytes, revision: Revision) -> bytes:
        fields = _FIELDS.decode(body)
        shape_of(fields).revise(fields, revision)
        return msgspec.json.encode(fields)

    def whose(self, block: bytes) -> list[str]:
        return [one.recordId for one in lines.read_lines(_NAMED, block)]

    def decode(self, line: bytes) -> Reply:
        """An answer or an error, with or without the echo of the request (PROVIDERS §3.4)."""
        told = lines.read(_LINE, line)
        lines.reject_twins(line, _ONCE)
        if _there(told.error):
            return _failed(told.recordId, told.error)
        if not _there(told.modelOutput):
            return Reply(told.recordId, Outcome.errored, code="no_response", message="Neither answer nor error.")
        return _answered(told.recordId, lines.read(_ANSWER, told.modelOutput), len(line))

    def _outline(self, template: RequestTemplate, system: str, user: str) -> dict[str, Any]:
        return shape_for(template.model, self.endpoint).outline(template, system, user)


def without_echo(line: bytes) -> bytes:
    """A result line without its `modelInput`, all other bytes as they were; any other line as it is.

    Our shard holds the request already, and the echo doubles what is kept (PROVIDERS §3.4).
    """
    try:
        rest = _FIELDS.decode(line)
        echo = bytes(rest.pop("modelInput"))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError):
        return line
    for match in _ECHO.finditer(line):
        if line.startswith(echo, match.end()):
            shorter = _cut_out(line, match.start(), match.end() + len(echo))
            if _same(shorter, rest):
                return shorter
    return line


def _cut_out(line: bytes, start: int, end: int) -> bytes:
    """The line without one member and one of the commas beside it."""
    before, after = line[:start].rstrip(), line[end:].lstrip()
    if after.startswith(b","):
        return line[:start] + after[1:].lstrip()
    return before.removesuffix(b",") + line[end:]


def _same(line: bytes, fields: dict[str, Raw]) -> bool:
    try:
        return _FIELDS.decode(line) == fields
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


def _there(value: Raw) -> bool:
    return bytes(value) not in (b"", b"null")


def _failed(record: str, told: Raw) -> Reply:
    """A record's own error. What did not run in time, or may be tried again, says so or is told by its code (§3.5)."""
    error = _read_error(told)
    code, message = str(error.errorCode or ""), (error.errorMessage or "")[:MESSAGE_LENGTH]
    status = int(code) if code.isdecimal() and len(code) == 3 else 0
    if error.expired or "expired" in code.lower():
        return Reply(record, Outcome.expired, code="expired", message=message)
    permanent = 400 <= status < 500 and status not in _TRANSIENT
    if error.retryable is not None:
        permanent = not error.retryable
    outcome = Outcome.failed if permanent else Outcome.errored
    return Reply(record, outcome, code=f"http_{status}" if status else code[:64] or "error", message=message)


def _read_error(told: Raw) -> _Error:
    """An error of another shape still counts as one."""
    try:
        return _ERROR.decode(told)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _Error()


def _answered(record: str, answer: _Answer, size: int) -> Reply:
    usage = _usage(answer)
    if answer.guardrail == "INTERVENED":
        return Reply(record, Outcome.refused, code="guardrail_intervened", message="A guardrail stopped.", usage=usage)
    if answer.content is not None:
        return _ended(record, answer.stop_reason or "", _from_parts(answer.content), usage)
    if answer.output is not None:
        return _ended(record, answer.stopReason or "", _from_parts(answer.output.message.content), usage)
    if answer.generation is not None:
        return _ended(record, answer.stop_reason or "", answer.generation, usage)
    if answer.outputs:
        return _ended(record, answer.outputs[0].stop_reason or "", answer.outputs[0].text, usage)
    if answer.choices:
        choice = answer.choices[0]
        reason = choice.finish_reason or choice.stop_reason or ""
        return _ended(record, reason, _from_message(choice.message or _Said()), usage)
    raise Undecodable(f"A result line of {size} bytes holds an answer of no kind that is known.")


def _ended(record: str, reason: str, text: str, usage: Usage) -> Reply:
    """By the stop reason. An unknown one is no reason to drop an answer: whether it fits is checked later."""
    if reason in _CUT:
        return Reply(record, Outcome.truncated, text, reason, "The output limit cut the answer.", usage)
    if reason in _DECLINED:
        return Reply(record, Outcome.refused, text, reason, "The model or a filter declined.", usage)
    if reason in _AGAIN:
        return Reply(record, Outcome.errored, text, reason, "The model stopped before it was done.", usage)
    if text:
        return Reply(record, Outcome.succeeded, text, usage=usage)
    if reason in _TOOL_CALLED:
        return Reply(record, Outcome.failed, "", reason, "The model called a tool instead of answering.", usage)
    return Reply(record, Outcome.errored, "", "no_text", "The answer is empty.", usage)


def _from_parts(parts: Sequence[_Part]) -> str:
    """The arguments of the tool that stands for the answer, else the text."""
    for part in parts:
        given = part.toolUse.input if part.toolUse is not None else part.input
        if _there(given):
            return bytes(given).decode()
    return "".join(part.text or "" for part in parts if part.type in ("text", ""))


def _from_message(message: _Said) -> str:
    for call in message.tool_calls or ():
        if call.function is not None and call.function.arguments:
            return call.function.arguments
    return message.content or ""


def _usage(answer: _Answer) -> Usage:
    """Claude's, Nova's and Converse's input leaves the cached tokens out; ours is the total.

    Mistral's older models tell no usage: their requests count as nothing (PROVIDERS §3.4 has no figure per record).
    """
    told = answer.usage or _Usage()
    read = told.cache_read_input_tokens or told.cacheReadInputTokens or told.cacheReadInputTokenCount or 0
    written = told.cache_creation_input_tokens or told.cacheWriteInputTokens or told.cacheWriteInputTokenCount or 0
    fresh = told.input_tokens or told.inputTokens or told.prompt_tokens or answer.prompt_token_count or 0
    spoken = told.output_tokens or told.outputTokens or told.completion_tokens or answer.generation_token_count or 0
    return Usage(fresh + read + written, spoken, read, written)
