"""Result schemas in each provider's dialect (PROVIDERS §1.7, §2.7)."""

from typing import Annotated, Any, Literal

import jsonschema
import pytest
from pydantic import BaseModel, Field

from batchjobs.deal_intelligence import TASK
from providers.structured import ANTHROPIC, OPENAI, Dialect, UnsupportedSchema, enforceable
from tests.providers.kit import Verdict

pytestmark = pytest.mark.contract("structured output asked for")

each_dialect = pytest.mark.parametrize("dialect", [OPENAI, ANTHROPIC], ids=["openai", "anthropic"])


class Person(BaseModel):
    """Somebody."""

    name: str


class Team(BaseModel):
    lead: Person = Field(description="Who decides.")
    members: list[Person]
    rival: Person | None = None


class Tree(BaseModel):
    label: str
    children: list["Tree"] = Field(default_factory=list, description="What hangs below.")


class Cat(BaseModel):
    kind: Literal["cat"]
    purrs: bool


class Dog(BaseModel):
    kind: Literal["dog"]
    barks: bool


class Home(BaseModel):
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]


def objects_in(node: Any) -> list[dict[str, Any]]:
    """Every object schema inside a schema."""
    if isinstance(node, list):
        return [found for value in node for found in objects_in(value)]
    if not isinstance(node, dict):
        return []
    inside = [found for value in node.values() for found in objects_in(value)]
    return inside + ([node] if node.get("type") == "object" else [])


def converted(model: type[BaseModel], dialect: Dialect) -> dict[str, Any]:
    return enforceable(model.model_json_schema(), dialect)


@each_dialect
@pytest.mark.parametrize("model", [Verdict, Team, Home, TASK.result])
def test_every_object_is_closed_and_requires_all_its_fields(model: type[BaseModel], dialect: Dialect) -> None:
    found = objects_in(converted(model, dialect))
    assert found
    assert all(one["additionalProperties"] is False for one in found)
    assert all(one["required"] == list(one["properties"]) for one in found)


@each_dialect
@pytest.mark.parametrize("model", [Verdict, Team, Home, TASK.result])
def test_no_keyword_outside_the_dialect_is_left(model: type[BaseModel], dialect: Dialect) -> None:
    text = str(converted(model, dialect))
    unknown = {"'default'", "'title'", "'minLength'", "'discriminator'", "'oneOf'", "'const'", "'allOf'"}
    numeric = set() if dialect is OPENAI else {"'minimum'", "'maximum'", "'maxItems'"}
    assert not [word for word in unknown | numeric if word in text]


@each_dialect
def test_the_rewritten_schema_is_itself_a_valid_schema(dialect: Dialect) -> None:
    jsonschema.Draft202012Validator.check_schema(converted(TASK.result, dialect))


def test_openai_keeps_numeric_bounds_and_tells_of_lengths() -> None:
    fields = converted(Verdict, OPENAI)["properties"]
    assert fields["score"] == {"type": "integer", "minimum": 0, "maximum": 10, "description": "From 0 to 10."}
    assert fields["hint"]["anyOf"][0] == {"type": "string", "description": "(minLength: 2)"}


def test_anthropic_is_told_of_bounds_in_the_description() -> None:
    fields = converted(Verdict, ANTHROPIC)["properties"]
    assert fields["score"] == {"type": "integer", "description": "From 0 to 10. (minimum: 0, maximum: 10)"}
    assert fields["reasons"]["description"] == "(maxItems: 3)"


def test_anthropic_takes_a_least_number_of_items_up_to_one() -> None:
    class Lists(BaseModel):
        some: list[str] = Field(min_length=1)
        many: list[str] = Field(min_length=2)

    fields = converted(Lists, ANTHROPIC)["properties"]
    assert fields["some"]["minItems"] == 1
    assert fields["many"]["description"] == "(minItems: 2)"


def test_a_field_with_a_default_is_required_and_not_null() -> None:
    class Named(BaseModel):
        name: str = "nobody"

    assert converted(Named, OPENAI)["properties"]["name"] == {"type": "string"}


@each_dialect
def test_a_reference_with_a_description_is_unfolded(dialect: Dialect) -> None:
    schema = converted(Team, dialect)
    assert schema["properties"]["lead"]["description"] == "Who decides."
    assert schema["properties"]["lead"]["properties"]["name"] == {"type": "string"}
    assert schema["properties"]["members"]["items"] == {"$ref": "#/$defs/Person"}
    assert schema["$defs"]["Person"]["description"] == "Somebody."


def test_definitions_nobody_refers_to_are_left_out() -> None:
    class Only(BaseModel):
        lead: Person = Field(description="Who decides.")

    assert "$defs" not in converted(Only, OPENAI)


@each_dialect
def test_a_discriminated_union_becomes_any_of(dialect: Dialect) -> None:
    pet = converted(Home, dialect)["properties"]["pet"]
    assert pet["anyOf"] == [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}]


def test_a_type_may_contain_itself_at_openai_alone() -> None:
    schema = converted(Tree, OPENAI)
    assert schema["properties"]["children"]["items"] == {"$ref": "#/$defs/Tree"}
    with pytest.raises(UnsupportedSchema, match="Tree contains itself"):
        converted(Tree, ANTHROPIC)


def test_a_pattern_with_lookaround_is_told_instead() -> None:
    """OpenAI answers one, such as older pydantic wrote for Decimal, with errors (openai-python#2718)."""
    schema = {"type": "object", "properties": {"x": {"type": "string", "pattern": "^(?!0)[0-9]+$"}}}
    assert enforceable(schema, OPENAI)["properties"]["x"] == {
        "type": "string",
        "description": "(pattern: ^(?!0)[0-9]+$)",
    }


def test_a_plain_pattern_is_kept_by_openai_and_told_to_anthropic() -> None:
    schema = {"type": "object", "properties": {"x": {"type": "string", "pattern": "^[0-9]+$"}}}
    assert enforceable(schema, OPENAI)["properties"]["x"]["pattern"] == "^[0-9]+$"
    assert "pattern" not in enforceable(schema, ANTHROPIC)["properties"]["x"]


@pytest.mark.parametrize("annotation", [dict[str, int], Any, list[Any], tuple[int, str]], ids=str)
def test_what_no_provider_enforces_is_refused_by_name(annotation: Any) -> None:
    model = type("Loose", (BaseModel,), {"__annotations__": {"field": annotation}})
    with pytest.raises(UnsupportedSchema, match=r"the result\.field"):
        converted(model, OPENAI)


@each_dialect
def test_a_result_must_be_an_object(dialect: Dialect) -> None:
    with pytest.raises(UnsupportedSchema, match="must be an object"):
        enforceable({"type": "array", "items": {"type": "string"}}, dialect)


def test_a_list_of_types_becomes_any_of() -> None:
    schema = {"type": "object", "properties": {"x": {"type": ["string", "null"], "maxLength": 3}}}
    assert enforceable(schema, OPENAI)["properties"]["x"]["anyOf"][1]["type"] == "null"


def test_the_argument_is_not_changed() -> None:
    schema = Team.model_json_schema()
    enforceable(schema, OPENAI)
    assert schema == Team.model_json_schema()


@each_dialect
def test_an_answer_the_rewritten_schema_allows_fits_the_model(dialect: Dialect) -> None:
    answer = {"mood": "good", "score": 3, "reasons": [], "hint": None}
    jsonschema.validate(answer, converted(Verdict, dialect))
    assert Verdict.model_validate(answer).score == 3
