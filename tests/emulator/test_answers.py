"""Made-up answers fit the schemas they are asked to fit."""

import json
from hashlib import sha256
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.emulator.answers import Draw, compiled, plain

TREE = {
    "type": "object",
    "required": ["name", "children"],
    "properties": {"name": {"type": "string"}, "children": {"type": "array", "items": {"$ref": "#"}}},
}
CHAIN = {
    "$ref": "#/$defs/Node",
    "$defs": {
        "Node": {
            "type": "object",
            "required": ["next"],
            "properties": {"next": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]}},
        }
    },
}


def digest(number: int) -> bytes:
    return sha256(number.to_bytes(8, "big")).digest()


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "integer", "minimum": 3, "maximum": 5},
        {"type": "integer", "exclusiveMinimum": 3, "exclusiveMaximum": 5},
        {"type": "number", "minimum": 0.2, "maximum": 0.3},
        {"type": "number", "multipleOf": 5, "minimum": 5, "maximum": 50},
        {"type": "integer", "maximum": -10},
        {"type": "string", "minLength": 200},
        {"type": "string", "maxLength": 3},
        {"type": "string", "format": "date"},
        {"type": "string", "format": "date-time"},
        {"type": "string", "format": "email"},
        {"type": "string", "format": "uuid"},
        {"type": ["string", "null"]},
        {"enum": ["a", 1, None]},
        {"const": {"fixed": True}},
        {"type": "array", "items": {"type": "boolean"}, "minItems": 3},
        {"type": "array", "items": {"type": "string"}, "maxItems": 1},
        {"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}]},
        {"type": "array"},
        {"type": "object"},
        {"type": "null"},
        {"oneOf": [{"type": "integer"}, {"type": "boolean"}]},
        {"anyOf": [{"type": "object", "properties": {"a": {"const": 1}}, "required": ["a"]}, {"type": "null"}]},
        {"allOf": [{"properties": {"a": {"type": "string"}}, "required": ["a"]}, {"type": "object"}]},
        TREE,
        CHAIN,
    ],
)
def test_answers_fit_their_schema(schema: dict[str, Any]) -> None:
    make = compiled(schema)
    for number in range(60):
        jsonschema.validate(make(Draw(digest(number))), schema, format_checker=jsonschema.FormatChecker())


scalars = st.one_of(
    st.builds(
        lambda low, size: {"type": "integer", "minimum": low, "maximum": low + size},
        st.integers(-99, 99),
        st.integers(0, 99),
    ),
    st.builds(lambda values: {"enum": values}, st.lists(st.text(max_size=9), min_size=1, unique=True)),
    st.sampled_from([{"type": "string"}, {"type": "boolean"}, {"type": "number"}, {"type": ["integer", "null"]}]),
)


def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    fields = st.dictionaries(st.text(max_size=9), inner, max_size=4)
    objects = fields.map(lambda found: {"type": "object", "properties": found, "required": list(found)[:2]})
    lists = st.builds(lambda item, low: {"type": "array", "items": item, "minItems": low}, inner, st.integers(0, 3))
    return st.one_of(objects, lists, inner.map(lambda one: {"anyOf": [one, {"type": "null"}]}))


@given(st.recursive(scalars, nested, max_leaves=8), st.integers(0, 2**63))
def test_answers_fit_any_schema(schema: dict[str, Any], number: int) -> None:
    jsonschema.validate(compiled(schema)(Draw(digest(number))), schema)


def test_equal_digests_make_equal_answers() -> None:
    make = compiled(TREE)
    assert make(Draw(digest(5))) == make(Draw(digest(5)))
    assert plain(Draw(digest(5))) == plain(Draw(digest(5)))


@pytest.mark.parametrize("text", ["0-100", "from 0 to 100", "0–100, higher is worse", "{minimum: 0, maximum: 100}"])
def test_a_range_is_read_from_the_description(text: str) -> None:
    make = compiled({"type": "integer", "description": text})
    values = {make(Draw(digest(number))) for number in range(300)}
    assert min(values) >= 0
    assert max(values) <= 100
    assert len(values) > 50


def test_lists_of_a_deal_are_filled_by_the_name_of_the_field() -> None:
    fields = ("risk_signals", "pain_points", "competitors", "objections", "next_steps")
    lists = {name: {"type": "array", "items": {"type": "string"}, "minItems": 1} for name in fields}
    answer = compiled({"type": "object", "properties": lists, "required": list(fields)})(Draw(digest(1)))
    assert all(len(answer[name]) == len(set(answer[name])) >= 1 for name in fields)
    assert len({answer[name][0] for name in fields}) == len(fields)


def test_the_fields_of_one_answer_agree() -> None:
    schema = {
        "type": "object",
        "required": ["risk_score", "deal_health", "sentiment"],
        "properties": {
            "risk_score": {"type": "integer", "minimum": 0, "maximum": 100},
            "deal_health": {"enum": ["low", "medium", "high"]},
            "sentiment": {"enum": ["positive", "neutral", "negative"]},
        },
    }
    make = compiled(schema)
    answers = [make(Draw(digest(number))) for number in range(400)]
    risky = [one for one in answers if one["risk_score"] > 80]
    assert not any(one["sentiment"] == "positive" or one["deal_health"] == "high" for one in risky)


def test_an_answer_is_plain_json() -> None:
    assert json.loads(json.dumps(compiled(TREE)(Draw(digest(3)))))
