"""The emulated OpenAI models: chat completions, responses and embeddings, one request at a time."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple, TypeVar

import msgspec
from msgspec import Meta, Raw

from providers.emulator import openai_replies as replies
from providers.emulator.answers import Make, compiled
from providers.emulator.schemas import openai_complaint
from providers.emulator.spoken import ABSENT, Spoken, digest_of, given, speak, tokens_of
from providers.emulator.world import Fate, World

_MAX_OUTPUT = 128_000
_SNAPSHOTS = {
    "gpt-4o": "gpt-4o-2024-08-06",
    "gpt-4o-mini": "gpt-4o-mini-2024-07-18",
    "gpt-4.1": "gpt-4.1-2025-04-14",
    "gpt-4.1-mini": "gpt-4.1-mini-2025-04-14",
    "gpt-4.1-nano": "gpt-4.1-nano-2025-04-14",
    "gpt-5": "gpt-5-2025-08-07",
    "gpt-5-mini": "gpt-5-mini-2025-08-07",
    "gpt-5-nano": "gpt-5-nano-2025-08-07",
    "o3": "o3-2025-04-16",
    "o4-mini": "o4-mini-2025-04-16",
}
_BATCHABLE = re.compile(
    r"(ft:)?(gpt-|o\d|chatgpt-|text-embedding-|omni-moderation)(?!.*(realtime|audio|transcribe|tts))"
)
_REASONING = re.compile(r"(ft:)?(o\d|gpt-5)")
_FIXED_TEMPERATURE = re.compile(r"(ft:)?(o\d|gpt-5(-|$))")
_ERRORS = frozenset({Fate.permanent, Fate.transient})


def known(model: str) -> bool:
    """Whether the Batch API would take the model."""
    return _BATCHABLE.match(model) is not None


def resolved(model: str) -> str:
    """The snapshot that serves a model name (PROVIDERS §1.3: the batch shows the resolved name)."""
    return _SNAPSHOTS.get(model, model)


class Served(NamedTuple):
    """One request as its endpoint answered it. Only a 200 is billed; `struck` marks a transient error."""

    status: int
    document: Any
    digest: bytes = b""
    input_tokens: int = 0
    output_tokens: int = 0
    struck: bool = False


class _Message(msgspec.Struct):
    role: str
    content: Raw = ABSENT


class _Chat(msgspec.Struct):
    model: str
    messages: Annotated[list[_Message], Meta(min_length=1)]
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Meta(ge=1)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    response_format: Raw = ABSENT
    tools: Raw = ABSENT
    stream: bool | None = None


class _Response(msgspec.Struct):
    model: str
    input: Raw
    instructions: str | None = None
    text: Raw = ABSENT
    tools: Raw = ABSENT
    max_output_tokens: Annotated[int, Meta(ge=1)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    stream: bool | None = None


class _Embedding(msgspec.Struct):
    model: str
    input: str | list[str]
    dimensions: Annotated[int, Meta(ge=1, le=3072)] = 1536
    encoding_format: str = "float"


class Objection(Exception):
    """The request is wrong: an error with OpenAI's four members."""

    def __init__(self, message: str, param: str | None = None, code: str | None = None, status: int = 400) -> None:
        super().__init__(message)
        self.status = status
        self.document = replies.error(message, param=param, code=code)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What shape the answer must have: a schema, a tool's arguments, or (neither) prose."""

    make: Make | None = None
    tool: str = ""


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request that was found valid, and how to write down what the model says to it."""

    model: str
    parts: list[bytes]
    limit: int
    make: Make | None
    render: Callable[[bytes, Spoken, int], Any]  # digest, words, input tokens


class Models:
    """Answers requests of the three endpoints; every answer is a function of the prompt and the world's dice."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._shapes: dict[tuple[str, bytes, bytes], _Wanted | Objection] = {}
        self._readers: Mapping[str, Callable[[bytes], _Asked]] = {
            "/v1/chat/completions": self._chat,
            "/v1/responses": self._response,
            "/v1/embeddings": self._embedding,
        }

    @property
    def endpoints(self) -> list[str]:
        return list(self._readers)

    def serve(self, endpoint: str, body: bytes, forced: Fate | None = None) -> Served:
        """Answer one request body; `forced` overrules the dice."""
        try:
            asked = self._readers[endpoint](body)
        except Objection as wrong:
            return Served(wrong.status, wrong.document)
        digest = digest_of(asked.parts)
        fate = self._world.dice.fate(digest, asked.limit) if forced is None else forced
        if fate in _ERRORS:
            status, document = replies.failure(fate, digest, asked.model)
            return Served(status, document, digest, struck=fate is Fate.transient)
        spoken = speak(asked.make, digest, fate, asked.limit)
        spent = tokens_of(asked.parts)
        produced = 0 if endpoint == "/v1/embeddings" else spoken.tokens
        return Served(200, asked.render(digest, spoken, spent), digest, spent, produced)

    def _chat(self, body: bytes) -> _Asked:
        request = _read(body, _Chat)
        _check_model(request.model, request.temperature, request.stream)
        if request.max_tokens is not None and _REASONING.match(request.model):
            raise Objection(
                "Unsupported parameter: 'max_tokens' is not supported with this model. "
                "Use 'max_completion_tokens' instead.",
                "max_tokens",
                "unsupported_parameter",
            )
        limit = _limit(request.max_completion_tokens or request.max_tokens, "max_tokens")
        wanted = self._wanted("response_format", request.response_format, request.tools)
        parts = [part for one in request.messages for part in (one.role.encode(), given(one.content))]
        model, created = resolved(request.model), int(self._world.clock.now())

        def render(digest: bytes, spoken: Spoken, spent: int) -> Any:
            return replies.completion(replies.Origin(model, created, digest, wanted.tool), spoken, spent)

        return _Asked(request.model, parts, limit, wanted.make, render)

    def _response(self, body: bytes) -> _Asked:
        request = _read(body, _Response)
        _check_model(request.model, request.temperature, request.stream)
        limit = _limit(request.max_output_tokens, "max_output_tokens")
        wanted = self._wanted("text.format", request.text, request.tools)
        instructions = request.instructions or ""
        model, created = resolved(request.model), int(self._world.clock.now())

        def render(digest: bytes, spoken: Spoken, spent: int) -> Any:
            document = replies.response(replies.Origin(model, created, digest, wanted.tool), spoken, spent)
            asked = {"instructions": request.instructions, "max_output_tokens": request.max_output_tokens}
            return {**document, **asked}

        return _Asked(request.model, [instructions.encode(), bytes(request.input)], limit, wanted.make, render)

    def _embedding(self, body: bytes) -> _Asked:
        request = _read(body, _Embedding)
        _check_model(request.model, None, None)
        texts = [request.input] if isinstance(request.input, str) else request.input
        parts = [text.encode() for text in texts]

        def render(_digest: bytes, _spoken: Spoken, spent: int) -> Any:
            vectors = [replies.vector(part, request.dimensions, request.encoding_format) for part in parts]
            return replies.embeddings(request.model, vectors, spent)

        return _Asked(request.model, parts, 0, None, render)

    def _wanted(self, param: str, shape: Raw, tools: Raw) -> _Wanted:
        """What the answer must look like; worked out once for equal requests."""
        key = (param, given(shape), given(tools))
        found = self._shapes.get(key)
        if found is None:
            found = self._shapes[key] = _worked_out(*key)
        if isinstance(found, Objection):
            raise found
        return found


_Shape = TypeVar("_Shape", bound=msgspec.Struct)


def _read(body: bytes, shape: type[_Shape]) -> _Shape:
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.ValidationError as wrong:
        message = str(wrong)
        missing = re.search(r"missing required field `(\w+)`", message)
        if missing:
            text = f"Missing required parameter: '{missing[1]}'."
            raise Objection(text, missing[1], "missing_required_parameter") from None
        place = re.search(r"at `\$\.([^`]+)`", message)
        param = place[1] if place else None
        raise Objection(f"Invalid value for '{param}': {message.split(' - at ')[0]}.", param, "invalid_value") from None
    except msgspec.DecodeError:
        raise Objection("We could not parse the JSON body of your request.") from None


def _check_model(model: str, temperature: float | None, stream: bool | None) -> None:
    if not known(model):
        text = f"The model `{model}` does not exist or you do not have access to it."
        raise Objection(text, None, "model_not_found", 404)
    if temperature not in {None, 1.0} and _FIXED_TEMPERATURE.match(model):
        text = (
            f"Unsupported value: 'temperature' does not support {temperature} with this model. "
            "Only the default (1) value is supported."
        )
        raise Objection(text, "temperature", "unsupported_value")
    if stream:
        raise Objection("Streaming is not available here.", "stream", "unsupported_value")


def _limit(asked: int | None, param: str) -> int:
    if asked is not None and asked > _MAX_OUTPUT:
        text = f"max_tokens is too large: {asked}. This model supports at most {_MAX_OUTPUT} completion tokens."
        raise Objection(text, param, "context_length_exceeded")
    return asked or 0


def _worked_out(param: str, shape: bytes, tools: bytes) -> _Wanted | Objection:
    asked = msgspec.json.decode(shape) if shape else None
    if param == "text.format" and isinstance(asked, dict):
        asked = asked.get("format")
    if isinstance(asked, dict) and asked.get("type") == "json_object":
        return _Wanted(
            compiled({"type": "object", "properties": {"summary": {"type": "string"}}, "required": ["summary"]})
        )
    if isinstance(asked, dict) and asked.get("type") == "json_schema":
        return _structured(param, asked.get("json_schema", {}) if param == "response_format" else asked)
    offered = msgspec.json.decode(tools) if tools else None
    if offered:
        tool = offered[0].get("function", offered[0])
        return _Wanted(compiled(tool.get("parameters", {"type": "object"})), tool.get("name", "tool"))
    return _Wanted()


def _structured(param: str, named: Any) -> _Wanted | Objection:
    where = f"{param}.json_schema" if param == "response_format" else param
    if not named.get("name"):
        return Objection(f"Missing required parameter: '{where}.name'.", f"{where}.name", "missing_required_parameter")
    schema = named.get("schema")
    if not isinstance(schema, dict):
        return Objection(
            f"Missing required parameter: '{where}.schema'.", f"{where}.schema", "missing_required_parameter"
        )
    complaint = openai_complaint(schema) if named.get("strict") else None
    if complaint:
        return Objection(f"Invalid schema for response_format '{named['name']}': {complaint}", param)
    return _Wanted(compiled(schema))
