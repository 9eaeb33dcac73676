"""How models on Bedrock are asked: a body of its own for each family, or Converse's for all (PROVIDERS §3.1, §3.7).

A record does not name its model, so what must be known to change a body later is read off the body itself.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import Raw

from providers.contract import RequestTemplate, Revision
from providers.lines import Outline
from providers.structured import (
    ANTHROPIC,
    OPENAI,
    Node,
    UnsupportedSchema,
    by_tool,
    claude_enforces,
    enforceable,
    in_words,
    only_told,
    shortfall,
)

Fields = dict[str, Raw]

VERSION = "bedrock-2023-05-31"
RESERVED = (
    *("model", "modelId", "anthropic_version", "schemaVersion", "messages", "system", "prompt", "stream"),
    *("tools", "tool_choice", "toolConfig"),
)
_OF_TEXT = r"mistral-7b|mixtral|mistral-small-2402"
_WITH_TOOLS = r"mistral-large-24|pixtral-large-2502"
_MISTRAL_OF_TEXT, _MISTRAL_WITH_TOOLS = re.compile(_OF_TEXT), re.compile(_WITH_TOOLS)
_TOLD = re.compile(rf"amazon\.|meta\.llama|{_OF_TEXT}|{_WITH_TOOLS}")  # held to no schema by the service


@dataclass(frozen=True, slots=True)
class Shape:
    """One kind of body. `revise` changes the fields of a body of this kind."""

    outline: Outline
    revise: Callable[[Fields, Revision], None]
    one_text: bool = False  # the whole conversation is one text, so that prompts stand between other words


def shape_for(model: str, endpoint: str) -> Shape:
    """The kind of body for a model. Raises ValueError where it is not known."""
    name = model.lower()
    if endpoint == "converse":
        return TURNS
    if "anthropic.claude" in name:
        return CLAUDE
    if "amazon.nova" in name:
        return NOVA
    if "meta.llama" in name:
        return LLAMA
    if "mistral." in name:
        return INSTRUCT if _MISTRAL_OF_TEXT.search(name) else CHAT
    raise ValueError(
        f"How model {model[:100]} takes its requests is not known by its name: use the endpoint converse, which is the "
        "same for all models, or the id of the model itself."
    )


def shape_of(fields: Mapping[str, object]) -> Shape:
    """The kind of a body, by its members."""
    for member, shape in _MARKS.items():
        if member in fields:
            return shape
    return CHAT


def lacking(template: RequestTemplate, endpoint: str) -> str:
    """What `Format.shortfall` says. Raises ValueError as `shape_for`."""
    shape = shape_for(template.model, endpoint)
    if template.schema is None:
        return ""
    if shape.one_text or (shape is TURNS and _told(template.model)):
        return only_told(template.model)
    tool = shape is CHAT and _MISTRAL_WITH_TOOLS.search(template.model.lower())
    if shape is NOVA or tool or (shape is CLAUDE and not claude_enforces(template.model)):
        return by_tool(template.model)
    return shortfall(template.schema, ANTHROPIC)


def _told(model: str) -> bool:
    """Whether a schema can only be told under Converse, in words: a tool is refused there (§3.7).

    For a model nobody knows by its name the service is asked to enforce it: a refused record costs nothing.
    """
    name = model.lower()
    if "claude" in name:
        return not claude_enforces(name)
    return _TOLD.search(name) is not None


def _claude(template: RequestTemplate, system: str, user: str) -> dict[str, Any]:
    body: dict[str, Any] = {"anthropic_version": VERSION, "max_tokens": template.max_output_tokens}
    if system:
        body["system"] = system
    body["messages"] = [{"role": "user", "content": user}]
    if template.schema is not None and claude_enforces(template.model):
        schema = enforceable(template.schema, ANTHROPIC)
        body["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
    elif template.schema is not None:
        schema = enforceable(template.schema, OPENAI)
        body["tools"] = [{"name": _name(template), "description": _TOOL, "input_schema": schema}]
        body["tool_choice"] = {"type": "tool", "name": _name(template)}
    return body | _temperature(template)


def _turns(template: RequestTemplate, system: str, user: str) -> dict[str, Any]:
    """Converse."""
    told = _told(template.model)
    body = _conversation(template, system, user, told=told)
    if template.schema is not None and not told:
        schema = msgspec.json.encode(enforceable(template.schema, ANTHROPIC)).decode()
        structure = {"jsonSchema": {"schema": schema, "name": _name(template)}}
        body["outputConfig"] = {"textFormat": {"type": "json_schema", "structure": structure}}
    return body


def _nova(template: RequestTemplate, system: str, user: str) -> dict[str, Any]:
    body = {"schemaVersion": "messages-v1"} | _conversation(template, system, user, told=False)
    if template.schema is not None:
        schema = {"json": _plain(enforceable(template.schema, OPENAI))}
        spec = {"name": _name(template), "description": _TOOL, "inputSchema": schema}
        body["toolConfig"] = {"tools": [{"toolSpec": spec}], "toolChoice": {"tool": {"name": _name(template)}}}
    return body


def _conversation(template: RequestTemplate, system: str, user: str, *, told: bool) -> dict[str, Any]:
    says = [{"text": text} for text in (system, _words(template) if told else "") if text]
    return {
        **({"system": says} if says else {}),
        "messages": [{"role": "user", "content": [{"text": user}]}],
        "inferenceConfig": {"maxTokens": template.max_output_tokens} | _temperature(template),
    }


def _chat(template: RequestTemplate, system: str, user: str) -> dict[str, Any]:
    """Mistral's larger models."""
    says = [{"role": "system", "content": system}] if system else []
    body: dict[str, Any] = {
        "messages": [*says, {"role": "user", "content": user}],
        "max_tokens": template.max_output_tokens,
    }
    if template.schema is not None and _MISTRAL_WITH_TOOLS.search(template.model.lower()):
        function = {
            "name": _name(template),
            "description": _TOOL,
            "parameters": enforceable(template.schema, OPENAI),
        }
        body |= {"tools": [{"type": "function", "function": function}], "tool_choice": "any"}
    elif template.schema is not None:
        asked = {"name": _name(template), "strict": True, "schema": enforceable(template.schema, ANTHROPIC)}
        body["response_format"] = {"type": "json_schema", "json_schema": asked}
    return body | _temperature(template)


def _llama(template: RequestTemplate, system: str, user: str) -> dict[str, Any]:
    before, after, end = _LLAMA_4 if "llama4" in template.model.lower() else _LLAMA_3
    text = "\n\n".join(part for part in (system, _words(template)) if part)
    said = (("system", text), ("user", user)) if text else (("user", user),)
    turns = "".join(f"{before}{role}{after}\n\n{_harmless(words)}{end}" for role, words in said)
    prompt = f"<|begin_of_text|>{turns}{before}assistant{after}\n\n"
    return {"prompt": prompt, "max_gen_len": template.max_output_tokens} | _temperature(template)


def _instruct(template: RequestTemplate, system: str, user: str) -> dict[str, Any]:
    """Mistral's smaller models, which know no system text."""
    text = "\n\n".join(_harmless(part) for part in (system, _words(template), user) if part)
    return {"prompt": f"<s>[INST] {text}{_INST}", "max_tokens": template.max_output_tokens} | _temperature(template)


def _revise_claude(fields: Fields, revision: Revision) -> None:
    if revision.max_output_tokens is not None:
        fields["max_tokens"] = _raw(revision.max_output_tokens)
    if revision.feedback is not None:
        turns = msgspec.json.decode(fields["messages"], type=list[Raw])
        fields["messages"] = _raw([*turns, {"role": "user", "content": revision.feedback}])


def _revise_turns(fields: Fields, revision: Revision) -> None:
    """Roles must alternate here, so that feedback is one more part of the last message."""
    if revision.max_output_tokens is not None:
        config = msgspec.json.decode(fields["inferenceConfig"], type=Fields)
        fields["inferenceConfig"] = _raw(config | {"maxTokens": _raw(revision.max_output_tokens)})
    if revision.feedback is not None:
        *turns, last = msgspec.json.decode(fields["messages"], type=list[Fields])
        parts = msgspec.json.decode(last["content"], type=list[Raw])
        fields["messages"] = _raw([*turns, last | {"content": _raw([*parts, {"text": revision.feedback}])}])


def _revise_chat(fields: Fields, revision: Revision) -> None:
    if revision.max_output_tokens is not None:
        fields["max_tokens"] = _raw(revision.max_output_tokens)
    if revision.feedback is not None:
        *turns, last = msgspec.json.decode(fields["messages"], type=list[Fields])
        said = msgspec.json.decode(last["content"], type=str)
        fields["messages"] = _raw([*turns, last | {"content": _raw(f"{said}\n\n{revision.feedback}")}])


def _revise_llama(fields: Fields, revision: Revision) -> None:
    """The feedback becomes a turn between the last one and the opening of the answer."""
    if revision.max_output_tokens is not None:
        fields["max_gen_len"] = _raw(revision.max_output_tokens)
    if revision.feedback is not None:
        prompt = msgspec.json.decode(fields["prompt"], type=str)
        before, after, end = _LLAMA_4 if prompt.startswith(f"<|begin_of_text|>{_LLAMA_4[0]}") else _LLAMA_3
        opening = f"{before}assistant{after}\n\n"
        turn = f"{before}user{after}\n\n{_harmless(revision.feedback)}{end}"
        fields["prompt"] = _raw(f"{prompt.removesuffix(opening)}{turn}{opening}")


def _revise_instruct(fields: Fields, revision: Revision) -> None:
    if revision.max_output_tokens is not None:
        fields["max_tokens"] = _raw(revision.max_output_tokens)
    if revision.feedback is not None:
        prompt = msgspec.json.decode(fields["prompt"], type=str)
        fields["prompt"] = _raw(f"{prompt.removesuffix(_INST)}\n\n{_harmless(revision.feedback)}{_INST}")


_TOOL = "Gives the answer."
_INST = " [/INST]"
_LLAMA_3 = ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
_LLAMA_4 = ("<|header_start|>", "<|header_end|>", "<|eot|>")
_MARK = re.compile(r"<\||<(?=/?s>)|\[(?=/?INST\])")


def _harmless(text: str) -> str:
    """A text without the marks by which such a model tells who speaks: an item must not pose as the task."""
    return _MARK.sub(lambda match: f"{match[0][0]} {match[0][1:]}", text)


def _words(template: RequestTemplate) -> str:
    """The schema, told to a model that nobody holds to it."""
    if template.schema is None:
        return ""
    return in_words(template.schema, OPENAI)


def _plain(schema: Node) -> Node:
    """A schema without references, and without what Nova does not know beside type, properties and required."""
    definitions = schema.get("$defs", {})

    def plain(node: Node, within: tuple[str, ...]) -> Node:
        if "$ref" in node:
            name = node["$ref"].removeprefix("#/$defs/")
            if name in within:
                raise UnsupportedSchema(f"{name} contains itself, which this provider does not allow in a result.")
            return plain(definitions[name], (*within, name))
        kept = {k: v for k, v in node.items() if k not in ("$defs", "additionalProperties")}
        if "properties" in kept:
            kept["properties"] = {k: plain(v, within) for k, v in kept["properties"].items()}
        if "anyOf" in kept:
            kept["anyOf"] = [plain(one, within) for one in kept["anyOf"]]
        if "items" in kept:
            kept["items"] = plain(kept["items"], within)
        return kept

    return plain(schema, ())


def _name(template: RequestTemplate) -> str:
    return re.sub(r"[^a-zA-Z0-9_-]", "_", template.schema_name or "result")[:64]


def _temperature(template: RequestTemplate) -> dict[str, Any]:
    return {} if template.temperature is None else {"temperature": float(template.temperature)}


def _raw(value: Any) -> Raw:
    return Raw(msgspec.json.encode(value))


CLAUDE = Shape(_claude, _revise_claude)
TURNS = Shape(_turns, _revise_turns)
NOVA = Shape(_nova, _revise_turns)
CHAT = Shape(_chat, _revise_chat)
LLAMA = Shape(_llama, _revise_llama, one_text=True)
INSTRUCT = Shape(_instruct, _revise_instruct, one_text=True)
_MARKS = {"anthropic_version": CLAUDE, "inferenceConfig": TURNS, "max_gen_len": LLAMA, "prompt": INSTRUCT}
