"""JSON schemas become models that accept the same answers."""

from typing import Any

import jsonschema
import pytest
from pydantic import ValidationError

from batchjobs.errors import UsageError
from batchjobs.schema_models import model_from_schema

NESTED = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {"grade": {"enum": ["A", "B", None]}},
    "properties": {
        "title": {"type": "string", "minLength": 1, "maxLength": 5, "pattern": "^[a-z]+$", "description": "A word."},
        "score": {"type": ["number", "null"], "exclusiveMinimum": 0, "maximum": 1},
        "grade": {"$ref": "#/$defs/grade"},
        "parts": {
            "type": "array",
            "minItems": 1,
            "items": {"type": "object", "properties": {"n": {"type": "integer", "multipleOf": 2}}, "required": ["n"]},
        },
        "note": {"anyOf": [{"type": "string"}, {"type": "boolean"}]},
    },
    "required": ["title", "score", "grade", "parts"],
}
GOOD: dict[str, Any] = {"title": "abc", "score": 0.5, "grade": "A", "parts": [{"n": 2}], "note": "x"}


def read(schema: dict[str, Any], value: Any) -> dict[str, Any]:
    return model_from_schema(schema, "schema.json", "Answer").model_validate(value).model_dump()


def error_of(properties: dict[str, Any], **more: Any) -> str:
    with pytest.raises(UsageError) as caught:
        model_from_schema({"type": "object", "properties": properties, **more}, "schema.json", "Answer")
    return str(caught.value)


def test_a_good_answer_round_trips_and_fits_both_schemas() -> None:
    model = model_from_schema(NESTED, "schema.json", "Answer")
    answer = model.model_validate(GOOD).model_dump(mode="json")
    assert answer == GOOD
    jsonschema.validate(answer, NESTED)
    jsonschema.validate(answer, model.model_json_schema())


def test_the_models_own_schema_makes_the_same_model() -> None:
    once = model_from_schema(NESTED, "schema.json", "Answer").model_json_schema()
    assert model_from_schema(once, "schema.json", "Answer").model_json_schema() == once


@pytest.mark.parametrize(
    "change",
    [
        {"title": ""},
        {"title": "abcdef"},
        {"title": "ABC"},
        {"title": None},
        {"score": 0},
        {"score": 1.5},
        {"grade": "C"},
        {"parts": []},
        {"parts": [{"n": 3}]},
        {"parts": [{}]},
        {"note": []},
    ],
)
def test_what_the_schema_refuses_the_model_refuses(change: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**GOOD, **change}, NESTED)
    with pytest.raises(ValidationError):
        read(NESTED, {**GOOD, **change})


def test_what_is_not_required_may_be_left_out() -> None:
    assert read(NESTED, {name: value for name, value in GOOD.items() if name != "note"})["note"] is None


def test_a_nullable_field_left_out_is_null() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "nullable": True}}, "required": ["a"]}
    assert read(schema, {}) == {"a": None}


def test_choices_that_differ_in_case_alone_are_taken_literally() -> None:
    schema = {"type": "object", "properties": {"a": {"enum": ["x", "X", "Y z", 1]}}, "required": ["a"]}
    assert [read(schema, {"a": value})["a"] for value in ("x", "X", "y-z", 1)] == ["x", "X", "Y z", 1]


@pytest.mark.parametrize(
    ("properties", "says"),
    [
        ({"a b": {"type": "string"}}, "a b cannot name a column"),
        ({"copy": {"type": "string"}}, "copy cannot name a column"),
        ({"_a": {"type": "string"}}, "_a cannot name a column"),
        (
            {"A": {"type": "string"}, "a": {"type": "string"}},
            "a differs from A in upper and lower case alone: rename one.",
        ),
        ({"a": {"type": "string", "pattern": "(?=x)"}}, "does not make a model"),
        ({"a": {"type": "integer", "minimum": "3"}}, "a/minimum must be a number."),
        ({"a": {"type": "string", "maxLength": 1.5}}, "a/maxLength must be a number."),
        ({"a": {"enum": []}}, "a enum must list"),
        ({"a": {"enum": [{}]}}, "a enum must list"),
        ({"a": {"$ref": "other.json#/a"}}, "a $ref must point into $defs"),
        ({"a": {"type": "string", "not": {}}}, "a cannot promise 'not'"),
        ({"a": {"type": "array", "items": {"type": "array"}}}, "a/items an array needs items"),
        ({"a": "string"}, "a must be a table"),
        ({"a": {}}, "a type must be one of"),
    ],
)
def test_a_schema_that_cannot_be_promised_says_where_and_why(properties: dict[str, Any], says: str) -> None:
    message = error_of(properties)
    assert message.startswith("schema.json: ")
    assert says in message


def test_a_required_field_must_exist() -> None:
    assert "requires 'b', which is not among the properties" in error_of({"a": {"type": "string"}}, required=["b"])


def test_a_schema_that_refers_to_itself_is_refused() -> None:
    loop = {"tree": {"type": "object", "properties": {"branch": {"$ref": "#/$defs/tree"}}}}
    assert "perhaps in a circle" in error_of({"a": {"$ref": "#/$defs/tree"}}, **{"$defs": loop})
