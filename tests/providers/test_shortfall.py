"""What a provider or model cannot enforce is told, and asked for in words without anybody having to say so."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel, Field

import providers
from batchjobs.submit import resolve, submit
from providers.contract import RequestTemplate
from providers.structured import PLACES_TOLD_MAX
from tests.providers.kit import prompt
from tests.world import World, documents


class Bounded(BaseModel):
    score: int = Field(ge=0, le=100)
    name: str = Field(max_length=9)


class Plain(BaseModel):
    name: str


def lacking(name: str, model: str, result: type[BaseModel] = Bounded, **choice: Any) -> str:
    template = RequestTemplate(model, 50, "result", result.model_json_schema())
    return providers.load_format(name, **choice).shortfall(template)


@pytest.mark.parametrize(
    ("name", "model", "places"),
    [
        ("openai", "gpt-4.1-mini", "name: maxLength."),
        ("azure", "gpt-4-of-ours", "name: maxLength."),
        ("anthropic", "claude-haiku-4-5", "score: minimum, maximum; name: maxLength."),
        ("bedrock", "anthropic.claude-sonnet-4-5-20250929-v1:0", "score: minimum, maximum; name: maxLength."),
    ],
)
def test_what_moved_into_descriptions_is_told_by_its_place(name: str, model: str, places: str) -> None:
    told = lacking(name, model)
    assert told.startswith("Not enforced here")
    assert told.endswith(places)


@pytest.mark.parametrize(
    ("name", "model"),
    [("openai", "gpt-4.1-mini"), ("anthropic", "claude-haiku-4-5"), ("bedrock", "mistral.mistral-large-3-675b")],
)
def test_nothing_is_told_where_all_is_enforced(name: str, model: str) -> None:
    assert lacking(name, model, Plain) == ""
    assert providers.load_format(name).shortfall(RequestTemplate(model, 50)) == ""


NOT_HELD = [
    ("openai", "gpt-3.5-turbo"),
    ("openai", "gpt-4-turbo-2024-04-09"),
    ("openai", "gpt-4"),
    ("openai", "ft:gpt-3.5-turbo-0125:acme::x"),
    ("openai", "gpt-4o-2024-05-13"),
    ("anthropic", "claude-3-5-haiku-20241022"),
    ("anthropic", "claude-sonnet-4-20250514"),
    ("bedrock", "meta.llama3-3-70b-instruct-v1:0"),
]


@pytest.mark.parametrize(("name", "model"), NOT_HELD)
def test_a_model_that_is_held_to_no_schema_is_asked_in_words(name: str, model: str) -> None:
    template = RequestTemplate(model, 50, "result", Plain.model_json_schema())
    body = json.loads(providers.load_format(name).encode(template, prompt()))
    assert not {"response_format", "output_config"} & body.keys()
    assert "JSON schema" in json.dumps(body)
    assert f"Model {model} is held to no schema" in lacking(name, model, Plain)


@pytest.mark.parametrize("model", ["gpt-4.1", "gpt-4o", "gpt-4o-mini", "o1-2024-12-17", "ft:gpt-4.1-mini:acme::x"])
def test_later_models_of_openai_are_held_to_a_schema(model: str) -> None:
    assert lacking("openai", model, Plain) == ""


@pytest.mark.parametrize("model", ["amazon.nova-lite-v1:0", "anthropic.claude-3-haiku-20240307-v1:0"])
def test_a_model_that_gets_a_tool_is_said_to(model: str) -> None:
    assert "tool's schema" in lacking("bedrock", model, Plain)


def test_a_server_without_strict_schemas_is_said_to_have_none() -> None:
    assert "held to no schema" in lacking("compatible", "m", Plain, switches={"structured": "none"})


def test_of_many_places_some_are_named() -> None:
    many = {f"f{n}": {"type": "string", "maxLength": 3} for n in range(PLACES_TOLD_MAX + 2)}
    template = RequestTemplate("gpt-4.1", 50, "result", {"type": "object", "properties": many})
    assert providers.load_format("openai").shortfall(template).endswith("f4: maxLength and 2 more places.")


@pytest.mark.parametrize("dry_run", [True, False])
def test_submit_says_it(make_world: Callable[..., World], dry_run: bool) -> None:
    world, said = make_world("anthropic"), list[str]()
    desk = world.desk()
    desk.say = said.append
    with desk.exclusive("test"):
        submit(desk, resolve(desk.settings, str(world.write(documents(2))), None, desk), dry_run)
    assert said[0].endswith("checked in every answer: score: minimum, maximum.")
