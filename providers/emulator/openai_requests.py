"""What OpenAI's endpoints accept: the shapes of requests, and the objections to those that do not fit."""

import re
from typing import Annotated, Any, TypeVar, cast

import msgspec
from msgspec import Meta, Raw

from providers.emulator import openai_replies as replies
from providers.emulator.spoken import ABSENT

_MAX_OUTPUT = 128_000
_MAX_EMBEDDED = 8_192  # tokens in one text
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
REASONING = re.compile(r"(ft:)?(o\d|gpt-5)")
_FIXED_TEMPERATURE = re.compile(r"(ft:)?(o\d|gpt-5(-|$))")


def known(model: str) -> bool:
    """Whether the Batch API would take the model."""
    return _BATCHABLE.match(model) is not None


def resolved(model: str) -> str:
    """The snapshot that serves a model name (PROVIDERS §1.3: the batch shows the resolved name)."""
    return _SNAPSHOTS.get(model, model)


class Message(msgspec.Struct):
    """One message of a chat."""

    role: str
    content: Raw = ABSENT


class Chat(msgspec.Struct, forbid_unknown_fields=True):
    """POST /v1/chat/completions."""

    model: str
    messages: Annotated[list[Message], Meta(min_length=1)]
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Meta(ge=1)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    response_format: Raw = ABSENT
    tools: Raw = ABSENT
    stream: bool | None = None
    audio: Raw = ABSENT
    frequency_penalty: Raw = ABSENT
    function_call: Raw = ABSENT
    functions: Raw = ABSENT
    logit_bias: Raw = ABSENT
    logprobs: Raw = ABSENT
    metadata: Raw = ABSENT
    modalities: Raw = ABSENT
    moderation: Raw = ABSENT
    n: Raw = ABSENT
    parallel_tool_calls: Raw = ABSENT
    prediction: Raw = ABSENT
    presence_penalty: Raw = ABSENT
    prompt_cache_key: Raw = ABSENT
    prompt_cache_options: Raw = ABSENT
    prompt_cache_retention: Raw = ABSENT
    reasoning_effort: Raw = ABSENT
    safety_identifier: Raw = ABSENT
    seed: Raw = ABSENT
    service_tier: Raw = ABSENT
    stop: Raw = ABSENT
    store: Raw = ABSENT
    stream_options: Raw = ABSENT
    tool_choice: Raw = ABSENT
    top_logprobs: Raw = ABSENT
    top_p: Raw = ABSENT
    user: Raw = ABSENT
    verbosity: Raw = ABSENT
    web_search_options: Raw = ABSENT


class Response(msgspec.Struct, forbid_unknown_fields=True):
    """POST /v1/responses."""

    model: str
    input: Raw
    instructions: str | None = None
    text: Raw = ABSENT
    tools: Raw = ABSENT
    max_output_tokens: Annotated[int, Meta(ge=1)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    stream: bool | None = None
    background: Raw = ABSENT
    context_management: Raw = ABSENT
    conversation: Raw = ABSENT
    include: Raw = ABSENT
    max_tool_calls: Raw = ABSENT
    metadata: Raw = ABSENT
    moderation: Raw = ABSENT
    parallel_tool_calls: Raw = ABSENT
    previous_response_id: Raw = ABSENT
    prompt: Raw = ABSENT
    prompt_cache_key: Raw = ABSENT
    prompt_cache_options: Raw = ABSENT
    prompt_cache_retention: Raw = ABSENT
    reasoning: Raw = ABSENT
    safety_identifier: Raw = ABSENT
    service_tier: Raw = ABSENT
    store: Raw = ABSENT
    stream_options: Raw = ABSENT
    tool_choice: Raw = ABSENT
    top_logprobs: Raw = ABSENT
    top_p: Raw = ABSENT
    truncation: Raw = ABSENT
    user: Raw = ABSENT


class Embedding(msgspec.Struct, forbid_unknown_fields=True):
    """POST /v1/embeddings."""

    model: str
    input: str | list[str]
    dimensions: Annotated[int, Meta(ge=1)] | None = None
    encoding_format: str = "float"
    user: Raw = ABSENT


class Objection(Exception):
    """The request is wrong: an error with OpenAI's four members."""

    def __init__(self, message: str, param: str | None = None, code: str | None = None, status: int = 400) -> None:
        super().__init__(message)
        self.status = status
        self.document = replies.error(message, param=param, code=code)


def missing(param: str) -> Objection:
    """A required parameter was not given."""
    return Objection(f"Missing required parameter: '{param}'.", param, "missing_required_parameter")


_Shape = TypeVar("_Shape", bound=msgspec.Struct)
# Made here: two threads that are the first to use a type end the process.
_DECODERS: "dict[type[msgspec.Struct], msgspec.json.Decoder[Any]]" = {
    shape: msgspec.json.Decoder(shape) for shape in (Chat, Response, Embedding)
}


def read(body: bytes, shape: type[_Shape]) -> _Shape:
    """The request, or an Objection."""
    try:
        return cast(_Shape, _DECODERS[shape].decode(body))
    except msgspec.ValidationError as wrong:
        message = str(wrong)
        absent = re.search(r"missing required field `(\w+)`", message)
        if absent:
            raise missing(absent[1]) from None
        unknown = re.search(r"unknown field `(\w+)`", message)
        if unknown:
            raise _unknown(unknown[1], shape) from None
        place = re.search(r"at `\$\.([^`]+)`", message)
        param = place[1] if place else None
        raise Objection(f"Invalid value for '{param}': {message.split(' - at ')[0]}.", param, "invalid_value") from None
    except msgspec.DecodeError:
        raise Objection("We could not parse the JSON body of your request.") from None


def _unknown(name: str, shape: type[msgspec.Struct]) -> Objection:
    """Chat completions and the newer endpoints word it differently."""
    if shape is Chat:
        return Objection(f"Unrecognized request argument supplied: {name}")
    if name == "response_format":
        text = f"Unsupported parameter: '{name}'. In the Responses API, this parameter has moved to 'text.format'."
        return Objection(text, name, "unsupported_parameter")
    return Objection(f"Unknown parameter: '{name}'.", name, "unknown_parameter")


def check_model(name: str, model: str | None, temperature: float | None = None, stream: bool | None = None) -> None:
    """Object to models, temperatures and streams that are not to be had; `model` is what the name stands for."""
    if model is None:
        text = f"The model `{name}` does not exist or you do not have access to it."
        raise Objection(text, None, "model_not_found", 404)
    if temperature not in {None, 1.0} and _FIXED_TEMPERATURE.match(model):
        text = (
            f"Unsupported value: 'temperature' does not support {temperature} with this model. "
            "Only the default (1) value is supported."
        )
        raise Objection(text, "temperature", "unsupported_value")
    if stream:
        raise Objection("Streaming is not available here.", "stream", "unsupported_value")


def length_of(request: Embedding, model: str) -> int:
    """How long the vectors are; objects to texts that cannot be embedded, and to lengths the model does not make."""
    texts = [request.input] if isinstance(request.input, str) else request.input
    if not all(texts):
        raise Objection("'$.input' is invalid: there is nothing in it.")
    longest = max(map(len, texts), default=0) // 4
    if longest > _MAX_EMBEDDED:
        text = f"This model's maximum context length is {_MAX_EMBEDDED} tokens, however you requested {longest} tokens."
        raise Objection(text)
    whole = 3_072 if "3-large" in model else 1_536
    if request.dimensions is not None and "ada" in model:
        raise Objection("This model does not support specifying dimensions.")
    if request.dimensions is not None and request.dimensions > whole:
        raise Objection(f"Invalid value for 'dimensions': expected at most {whole}.", "dimensions", "invalid_value")
    return request.dimensions or whole


def limit_of(asked: int | None, param: str) -> int:
    """The output limit in tokens; 0 when none was asked for."""
    if asked is not None and asked > _MAX_OUTPUT:
        text = f"max_tokens is too large: {asked}. This model supports at most {_MAX_OUTPUT} completion tokens."
        raise Objection(text, param, "context_length_exceeded")
    return asked or 0
