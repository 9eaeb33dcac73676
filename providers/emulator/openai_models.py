"""The emulated OpenAI models: chat completions, responses and embeddings, one request at a time."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import Raw

from providers.emulator import openai_replies as replies
from providers.emulator import openai_requests as asks
from providers.emulator.answers import Make, compiled
from providers.emulator.openai_dialects import OPENAI, Dialect
from providers.emulator.schemas import openai_complaint
from providers.emulator.spoken import Served, Spent, Spoken, digest_of, given, speak, tokens_of
from providers.emulator.world import Fate, World, read_json

_TAILS = ("/chat/completions", "/responses", "/embeddings")
_ERRORS = frozenset({Fate.permanent, Fate.transient})


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What shape the answer must have: a schema, a tool's arguments, or (neither) prose."""

    make: Make | None = None
    tool: str = ""
    loose: bool = False  # no schema holds it


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request that was found valid, and how to write down what the model says to it."""

    model: str
    parts: list[bytes]
    limit: int
    make: Make | None
    render: Callable[[bytes, Spoken, Spent], Any]  # of the prompt's digest, the words, the input


class Models:
    """Answers requests of the three endpoints; every answer is a function of the prompt and the world's dice."""

    def __init__(self, world: World, dialect: Dialect = OPENAI) -> None:
        self._world = world
        self._dialect = dialect
        self._shapes: dict[tuple[str, bytes, bytes], _Wanted | asks.Objection] = {}
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
            asked = self._readers.get(endpoint, _nowhere)(body)
        except asks.Objection as wrong:
            return Served(wrong.status, wrong.document)
        digest = digest_of(asked.parts)
        fate = self._world.dice.fate(digest, asked.limit) if forced is None else forced
        if fate in _ERRORS:
            status, document = replies.failure(fate, digest, asked.model)
            return Served(status, document, digest, struck=fate is Fate.transient)
        spoken = speak(asked.make, digest, fate, asked.limit, self._world.said(asked.parts))
        spent = _spent(asked, digest)
        produced = 0 if endpoint == "/v1/embeddings" else spoken.tokens
        return Served(200, asked.render(digest, spoken, spent), digest, spent, produced)

    def _chat(self, body: bytes) -> _Asked:
        request = asks.read(body, asks.Chat)
        model = self._model(request.model, request.temperature, request.stream)
        if request.max_tokens is not None and asks.REASONING.match(model):
            raise asks.Objection(
                "Unsupported parameter: 'max_tokens' is not supported with this model. "
                "Use 'max_completion_tokens' instead.",
                "max_tokens",
                "unsupported_parameter",
            )
        limit = asks.limit_of(request.max_completion_tokens or request.max_tokens, "max_tokens")
        wanted = self._wanted("response_format", request.response_format, request.tools)
        parts = [part for one in request.messages for part in (one.role.encode(), given(one.content))]
        if wanted.loose:
            wanted = self._told(parts[1]) or wanted
        created = int(self._world.clock.now())

        def render(digest: bytes, spoken: Spoken, spent: Spent) -> Any:
            return replies.completion(replies.Origin(model, created, digest, wanted.tool), spoken, spent)

        return _Asked(request.model, parts, limit, wanted.make, render)

    def _response(self, body: bytes) -> _Asked:
        request = asks.read(body, asks.Response)
        model = self._model(request.model, request.temperature, request.stream)
        limit = asks.limit_of(request.max_output_tokens, "max_output_tokens")
        wanted = self._wanted("text.format", request.text, request.tools)
        instructions = request.instructions or ""
        created = int(self._world.clock.now())

        def render(digest: bytes, spoken: Spoken, spent: Spent) -> Any:
            document = replies.response(replies.Origin(model, created, digest, wanted.tool), spoken, spent)
            asked = {"instructions": request.instructions, "max_output_tokens": request.max_output_tokens}
            return {**document, **asked}

        return _Asked(request.model, [instructions.encode(), bytes(request.input)], limit, wanted.make, render)

    def _embedding(self, body: bytes) -> _Asked:
        request = asks.read(body, asks.Embedding)
        length = asks.length_of(request, self._model(request.model))
        texts = [request.input] if isinstance(request.input, str) else request.input
        parts = [text.encode() for text in texts]

        def render(digest: bytes, spoken: Spoken, spent: Spent) -> Any:
            vectors = [replies.vector(part, length, request.encoding_format) for part in parts]
            if spoken.wrong:
                vectors = replies.spoilt_vectors(vectors, digest)
            return replies.embeddings(request.model, vectors, spent)

        return _Asked(request.model, parts, 0, None, render)

    def _model(self, name: str, temperature: float | None = None, stream: bool | None = None) -> str:
        """The model that a name stands for; objects to one that is not to be had, or not so."""
        model = self._dialect.model(name, self._world.settings)
        asks.check_model(name, model, temperature, stream)
        return model or name

    def _told(self, content: bytes) -> _Wanted | None:
        """A schema told in words in the first message: a good model keeps to it unasked."""
        if b"properties" not in content:
            return None
        key = ("told", content, b"")
        if key not in self._shapes:
            self._shapes[key] = _read_from(content)
        found = self._shapes[key]
        return found if isinstance(found, _Wanted) and found.make else None

    def _wanted(self, param: str, shape: Raw, tools: Raw) -> _Wanted:
        """What the answer must look like; worked out once for equal requests."""
        key = (param, given(shape), given(tools))
        found = self._shapes.get(key)
        if found is None:
            found = self._shapes[key] = _worked_out(*key)
        if isinstance(found, asks.Objection):
            raise found
        return found


def canonical(endpoint: str) -> str:
    """OpenAI's own path for an endpoint, whatever another server lets it begin with."""
    return next((f"/v1{tail}" for tail in _TAILS if endpoint.endswith(tail)), endpoint)


def _nowhere(_body: bytes) -> _Asked:
    raise asks.Objection("This endpoint is not emulated.", status=404)


def _spent(asked: _Asked, digest: bytes) -> Spent:
    """The input tokens; a long beginning that others share is mostly cached, by GPT-5 only (PROVIDERS §1.6)."""
    shared = tokens_of(asked.parts[:2]) // 128 * 128
    cached = len(asked.parts) > 2 and shared >= 1_024 and digest[7] < 200 and "gpt-5" in asked.model
    return Spent(tokens_of(asked.parts), cached_tokens=shared if cached else 0)


def _worked_out(param: str, shape: bytes, tools: bytes) -> _Wanted | asks.Objection:
    asked = msgspec.json.decode(shape) if shape else None
    if param == "text.format" and isinstance(asked, dict):
        asked = asked.get("format")
    if isinstance(asked, dict) and asked.get("type") == "json_object":
        whatever = {"type": "object", "properties": {"summary": {"type": "string"}}, "required": ["summary"]}
        return _Wanted(compiled(whatever), loose=True)
    if isinstance(asked, dict) and asked.get("type") == "json_schema":
        return _structured(param, asked.get("json_schema", {}) if param == "response_format" else asked)
    offered = msgspec.json.decode(tools) if tools else None
    if offered:
        tool = offered[0].get("function", offered[0])
        return _Wanted(compiled({**tool.get("parameters", {}), "type": "object"}), tool.get("name", "tool"))
    return _Wanted(loose=True)


def _read_from(content: bytes) -> _Wanted:
    text = msgspec.json.decode(content) if content else None
    for line in text.split("\n") if isinstance(text, str) else ():
        schema = read_json(line.encode()) if line.startswith("{") else None
        if isinstance(schema, dict) and "properties" in schema:
            return _Wanted(compiled(schema))
    return _Wanted()


def _structured(param: str, named: Any) -> _Wanted | asks.Objection:
    where = f"{param}.json_schema" if param == "response_format" else param
    if not named.get("name"):
        return asks.missing(f"{where}.name")
    schema = named.get("schema")
    if not isinstance(schema, dict):
        return asks.missing(f"{where}.schema")
    complaint = openai_complaint(schema) if named.get("strict") else None
    if complaint:
        return asks.Objection(f"Invalid schema for response_format '{named['name']}': {complaint}", param)
    return _Wanted(compiled(schema))
