"""What the result models of all tasks share: asked for strictly, accepted when only the spelling is off."""

import re
from functools import cache
from types import NoneType
from typing import Annotated, Any, ClassVar, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, create_model, model_validator


class Answer(BaseModel):
    """Base of result models.

    The schema forbids further fields, as the providers' strict modes want it; an answer that has some anyway is
    accepted without them, because it is paid for and the raw bytes are kept.
    """

    model_config = ConfigDict(
        extra="ignore",
        hide_input_in_errors=True,
        protected_namespaces=(),
        json_schema_extra={"additionalProperties": False},
    )

    @model_validator(mode="before")
    @classmethod
    def _absent_is_null(cls, data: Any) -> Any:
        return {**_nulls(cls), **data} if isinstance(data, dict) else data


@cache
def _nulls(model: type[BaseModel]) -> dict[str, None]:
    """The fields that must be there but may be null: leaving one out can only mean null."""
    fields = model.model_fields.items()
    return {name: None for name, field in fields if field.is_required() and NoneType in get_args(field.annotation)}


def spelled(choices: Any) -> BeforeValidator:
    """Reads "High" or "Single-threaded" as the one choice of the Literal `choices` it can only mean."""
    return spelled_as(get_args(choices))


def spelled_as(choices: tuple[object, ...]) -> BeforeValidator:
    """`spelled` for a tuple of values; spellings that fit two of them are left alone."""
    known: dict[str, object] = {}
    for choice in choices:
        if isinstance(choice, str):
            known[_plain(choice)] = choice if _plain(choice) not in known else None
    known = {plain: choice for plain, choice in known.items() if choice is not None}

    def read(value: object) -> object:
        return known.get(_plain(value), value) if isinstance(value, str) and value not in choices else value

    return BeforeValidator(read)


def _plain(word: str) -> str:
    return re.sub(r"[\s_-]+", "_", word.strip().casefold())


def _whole(value: object) -> object:
    """`72%` is the number 72."""
    return value.strip().removesuffix("%") if isinstance(value, str) else value


def _listed(value: object) -> object:
    """Null is an empty list, a bare text a list of one; blank entries say nothing."""
    if value is None:
        return []
    entries = [value] if isinstance(value, str) else value
    if not isinstance(entries, list):
        return value
    return [entry for entry in entries if not (isinstance(entry, str) and not entry.strip())]


def _once(values: list[str]) -> list[str]:
    """Each entry once, so that counts over lists count items."""
    return list(dict.fromkeys(values))


Listed = BeforeValidator(_listed)
Texts = Annotated[list[str], AfterValidator(_once), Listed]
Once = AfterValidator(_once)
Whole = BeforeValidator(_whole)
Percent = Annotated[int, Field(ge=0, le=100), Whole]

SINGLE_MAX = 3.4028234663852886e38  # what a single-precision number holds
Single = Annotated[
    float,
    Field(strict=True, ge=-SINGLE_MAX, le=SINGLE_MAX, json_schema_extra={"format": "float"}),
]
_VECTOR = "The vector of the item's text."


class Embedding(Answer):
    """The result of a task that asks for the vector of its user prompt, of whatever length its model makes.

    A task with this result, or one that `embedding_of` makes, is sent to the provider's endpoint for embeddings.
    """

    dimensions: ClassVar[int | None] = None  # the length that is asked for

    embedding: list[Single] = Field(min_length=1, description=_VECTOR)


def embedding_of(dimensions: int) -> type[Embedding]:
    """`Embedding` of exactly this length, which the model is asked for: not every model takes that."""
    field = Field(min_length=dimensions, max_length=dimensions, description=_VECTOR)
    made = create_model("Embedding", __base__=Embedding, embedding=(list[Single], field))
    made.dimensions = dimensions
    return made
