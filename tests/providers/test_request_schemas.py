"""Every body we write fits the provider's request schema: the published one where it lies, else a small one of ours."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from batchjobs.deal_intelligence import TASK
from providers.contract import Revision
from tests.providers.kit import each_format, format_of, prompt, template

pytestmark = pytest.mark.contract("structured output asked for")

PARTS = {"type": "array", "items": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}}

SPECS = Path(__file__).parents[3] / "shared" / "specs"
PUBLISHED = {
    "chat": ("openai-openapi.json", "CreateChatCompletionRequest"),
    "responses": ("openai-openapi.json", "CreateResponse"),
    "messages": ("anthropic-openapi-2026-01-messages.json", "CreateMessageParams"),
}
TURNS = {
    "type": "array",
    "minItems": 1,
    "items": {
        "type": "object",
        "properties": {"role": {"enum": ["system", "user"]}, "content": {"type": "string"}},
        "required": ["role", "content"],
        "additionalProperties": False,
    },
}
LIMIT = {"type": "integer", "minimum": 1}
NAMED = {
    "name": {"type": "string", "pattern": "^[a-zA-Z0-9_-]{1,64}$"},
    "strict": {"const": True},
    "schema": {"type": "object", "required": ["type", "properties", "required", "additionalProperties"]},
}


def closed(required: list[str], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


OURS = {
    "chat": closed(
        ["model", "messages", "max_completion_tokens"],
        model={"type": "string"},
        messages=TURNS,
        max_completion_tokens=LIMIT,
        temperature={"type": "number"},
        response_format=closed(
            ["type", "json_schema"], type={"const": "json_schema"}, json_schema=closed(list(NAMED), **NAMED)
        ),
    ),
    "responses": closed(
        ["model", "input", "max_output_tokens"],
        model={"type": "string"},
        instructions={"type": "string"},
        input=TURNS,
        max_output_tokens=LIMIT,
        temperature={"type": "number"},
        text=closed(["format"], format=closed(["type", *NAMED], type={"const": "json_schema"}, **NAMED)),
    ),
    "messages": closed(
        ["model", "messages", "max_tokens"],
        model={"type": "string"},
        system={"type": "string"},
        messages=TURNS,
        max_tokens=LIMIT,
        temperature={"type": "number", "maximum": 1},
        output_config=closed(
            ["format"],
            format=closed(["type", "schema"], type={"const": "json_schema"}, schema=NAMED["schema"]),
        ),
    ),
}
OURS["invoke"] = closed(
    ["anthropic_version", "messages", "max_tokens"],
    **{name: OURS["messages"]["properties"][name] for name in ("system", "messages", "max_tokens", "output_config")},
    anthropic_version={"const": "bedrock-2023-05-31"},
    temperature={"type": "number", "maximum": 1},
)
STRUCTURE = closed(["jsonSchema"], jsonSchema=closed(["schema"], schema={"type": "string"}, name=NAMED["name"]))
OURS["converse"] = closed(
    ["messages", "inferenceConfig"],
    system=PARTS,
    messages={
        "type": "array",
        "minItems": 1,
        "items": closed(["role", "content"], role={"enum": ["user", "assistant"]}, content=PARTS),
    },
    inferenceConfig=closed(["maxTokens"], maxTokens=LIMIT, temperature={"type": "number", "maximum": 1}),
    outputConfig=closed(
        ["textFormat"],
        textFormat=closed(["type", "structure"], type={"const": "json_schema"}, structure=STRUCTURE),
    ),
)


@cache
def published(endpoint: str) -> jsonschema.Draft202012Validator | None:
    name, schema = PUBLISHED.get(endpoint, ("none is published", ""))
    if not (SPECS / name).exists():
        return None
    spec = json.loads((SPECS / name).read_bytes())
    whole = {"$ref": f"#/components/schemas/{schema}", "components": spec["components"]}
    return jsonschema.Draft202012Validator(whole)


def check(endpoint: str, body: bytes) -> None:
    told = json.loads(body)
    jsonschema.validate(told, OURS[endpoint])
    validator = published(endpoint)
    if validator is not None:
        told.pop("output_config", None)  # Anthropic's published schema (2026-01) is older than that member
        validator.validate(told)


@each_format
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"temperature": 0.3},
        {"schema": None, "schema_name": None},
        {"schema": TASK.result.model_json_schema(), "schema_name": "DealAssessment"},
    ],
    ids=["plain", "temperature", "free text", "deals"],
)
def test_a_body_fits_the_request_schema(case: tuple[str, str], changes: dict[str, Any]) -> None:
    shared = format_of(case)
    body = shared.encode(template(case, **changes), prompt())
    check(case[1], body)
    check(case[1], shared.revise(body, Revision(max_output_tokens=4_000, feedback="Too short.")))


@each_format
def test_a_body_without_a_system_text_fits_too(case: tuple[str, str]) -> None:
    check(case[1], format_of(case).encode(template(case), prompt(system="")))


@each_format
def test_the_schemas_would_notice_a_wrong_body(case: tuple[str, str]) -> None:
    body = json.loads(format_of(case).encode(template(case), prompt()))
    turns = "input" if case[1] == "responses" else "messages"
    with pytest.raises(jsonschema.ValidationError):
        check(case[1], json.dumps(body | {turns: [{"role": 5}]}).encode())
