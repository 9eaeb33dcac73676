"""The request bodies of Nova, Llama and Mistral under InvokeModel, and their answers, each family in its own words."""

import re
from typing import Any

from providers.emulator.answers import Make, compiled
from providers.emulator.bedrock_converse import conversation, said, tool_of
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
from providers.emulator.spoken import Spoken

_NOVA = frozenset({"schemaVersion", "messages", "system", "inferenceConfig", "toolConfig"})
_NOVA_INFERENCE = frozenset(
    {"maxTokens", "max_new_tokens", "temperature", "topP", "top_p", "topK", "top_k", "stopSequences"}
)
_LLAMA = frozenset({"prompt", "max_gen_len", "temperature", "top_p", "images"})
_LLAMA_LIMIT = 512  # where nothing else is said
_MISTRAL_TEXT = frozenset({"prompt", "max_tokens", "stop", "temperature", "top_p", "top_k"})
_MISTRAL_CHAT = frozenset({"messages", "tools", "tool_choice", "max_tokens", "stop", "temperature", "top_p"})
_OLD_MISTRAL = re.compile(r"mistral\.(mistral-7b|mixtral|mistral-large-2402|mistral-large-2407|mistral-small-2402)")


def nova(ask: Ask, _target: Target) -> Prompt:
    """Amazon Nova: Converse's messages, its own names for the usage."""
    closed(ask, _NOVA)
    config = part(ask, "inferenceConfig")
    closed(config, _NOVA_INFERENCE, "inferenceConfig.")
    tool, make = tool_of(ask)

    def render(digest: bytes, spoken: Spoken, spent: int) -> Any:
        content, reason = said(digest, tool, spoken)
        return {
            "output": {"message": {"content": content, "role": "assistant"}},
            "stopReason": reason,
            "usage": {
                "inputTokens": spent,
                "outputTokens": spoken.tokens,
                "totalTokens": spent + spoken.tokens,
                "cacheReadInputTokenCount": 0,
                "cacheWriteInputTokenCount": 0,
            },
        }

    return Prompt(conversation(ask), limit_of(config, "maxTokens", "max_new_tokens"), make, render)


def llama(ask: Ask, _target: Target) -> Prompt:
    """Meta Llama: a prompt and a generation."""
    closed(ask, _LLAMA)

    def render(_digest: bytes, spoken: Spoken, spent: int) -> Any:
        return {
            "generation": spoken.text,
            "prompt_token_count": spent,
            "generation_token_count": spoken.tokens,
            "stop_reason": "length" if spoken.cut else "stop",
        }

    return Prompt([_prompt(ask)], limit_of(ask, "max_gen_len") or _LLAMA_LIMIT, None, render)


def mistral(ask: Ask, target: Target) -> Prompt:
    """Mistral: a prompt and outputs, or messages and choices."""
    if "prompt" in ask:
        closed(ask, _MISTRAL_TEXT)
        return Prompt([_prompt(ask)], limit_of(ask, "max_tokens"), None, _outputs)
    closed(ask, _MISTRAL_CHAT | {"response_format"})
    parts = [part for one in texts(ask, "messages") for part in (encoded(one.get("role")), encoded(one.get("content")))]
    tool, arguments = _function(ask)

    def render(digest: bytes, spoken: Spoken, spent: int) -> Any:
        return _choices(target, digest, tool, spoken, spent)

    return Prompt(parts, limit_of(ask, "max_tokens"), _format(ask) or arguments, render)


def _prompt(ask: Ask) -> bytes:
    prompt = ask.get("prompt")
    if not isinstance(prompt, str) or not prompt:
        raise Objection("prompt: expected a text")
    return prompt.encode()


def _outputs(_digest: bytes, spoken: Spoken, _spent: int) -> Any:
    """This form tells no usage."""
    return {"outputs": [{"text": spoken.text, "stop_reason": "length" if spoken.cut else "stop"}]}


def _choices(target: Target, digest: bytes, tool: str, spoken: Spoken, spent: int) -> dict[str, Any]:
    """Old models say `stop_reason` and no usage; newer ones answer as Mistral's own API does."""
    message: dict[str, Any] = {"role": "assistant", "content": spoken.text}
    reason = "length" if spoken.cut else "stop"
    if tool and not spoken.cut and not spoken.refused and decoded(spoken.text) is not None:
        call = {"id": digest.hex()[:9], "function": {"name": tool, "arguments": spoken.text}}
        message, reason = {"role": "assistant", "content": "", "tool_calls": [call]}, "tool_calls"
    if _OLD_MISTRAL.match(target.base):
        return {"choices": [{"index": 0, "message": message, "stop_reason": reason}]}
    return {
        "id": digest.hex(),
        "object": "chat.completion",
        "model": target.base.removeprefix("mistral."),
        "choices": [{"index": 0, "message": message, "finish_reason": reason}],
        "usage": {
            "prompt_tokens": spent,
            "completion_tokens": spoken.tokens,
            "total_tokens": spent + spoken.tokens,
        },
    }


def _format(ask: Ask) -> Make | None:
    shape = part(ask, "response_format")
    if shape.get("type") != "json_schema":
        return None
    schema = part(part(shape, "json_schema"), "schema")
    if not schema:
        raise Objection("response_format.json_schema.schema: expected a JSON schema")
    return compiled(schema)


def _function(ask: Ask) -> tuple[str, Make | None]:
    function = part(first(ask, "tools"), "function")
    parameters = part(function, "parameters")
    return (function.get("name", "tool"), compiled({**parameters, "type": "object"})) if function else ("", None)
