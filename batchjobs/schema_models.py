"""Turns a JSON schema into a pydantic model, for the part of JSON schema that providers' strict modes can promise."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import reduce
from operator import or_
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, create_model
from pydantic_core import SchemaError

from batchjobs.answers import Answer, spelled_as
from batchjobs.errors import UsageError

_PLAIN_TYPES: dict[str, Any] = {"string": str, "integer": int, "number": float, "boolean": bool, "null": None}
_NUMBER_BOUNDS = {
    "minimum": "ge",
    "maximum": "le",
    "exclusiveMinimum": "gt",
    "exclusiveMaximum": "lt",
    "multipleOf": "multiple_of",
}
_LENGTHS = {"minLength": "min_length", "maxLength": "max_length", "minItems": "min_length", "maxItems": "max_length"}
_BOUNDS_OF = {
    "string": {"minLength", "maxLength", "pattern"},
    "integer": set(_NUMBER_BOUNDS),
    "number": set(_NUMBER_BOUNDS),
    "array": {"minItems", "maxItems"},
}
_SHAPE = {
    "type",
    "enum",
    "const",
    "items",
    "properties",
    "required",
    "additionalProperties",
    "nullable",
    "anyOf",
    "oneOf",
}
_PROSE = {
    "title",
    "description",
    "examples",
    "default",
    "format",
    "$schema",
    "$id",
    "$comment",
    "$ref",
    "$defs",
    "definitions",
}
_KNOWN = _SHAPE | _PROSE | _LENGTHS.keys() | _NUMBER_BOUNDS.keys() | {"pattern"}
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}")
_DEPTH_MAX = 10


def model_from_schema(schema: Mapping[str, Any], where: str, name: str) -> type[Answer]:
    """A model whose answers fit `schema`, and whose own JSON schema says the same.

    `where` names the file and field in errors. Raises UsageError, with the place in the schema and what to change.
    """
    reader = _Reader(where, {**schema.get("definitions", {}), **schema.get("$defs", {})})
    if schema.get("type", "object") != "object" or not schema.get("properties"):
        raise UsageError(f'{where}: the result must be an object: give it type = "object" and properties.')
    return reader.model(name, schema, "")


def type_from_schema(schema: Mapping[str, Any], where: str) -> Any:
    """The type of one input field; nested objects are taken as they come."""
    return _Reader(where, {}, nested=False).type_of(schema, "")


class _Reader:
    """Walks one schema; `at` is the way from its root, for errors."""

    def __init__(self, where: str, definitions: Mapping[str, Any], *, nested: bool = True) -> None:
        self._where = where
        self._definitions = definitions
        self._nested = nested

    def model(self, name: str, schema: Mapping[str, Any], at: str) -> type[Answer]:
        self._check_keywords(schema, at)
        properties, required = schema["properties"], schema.get("required", [])
        self._check_names(properties, required, at)
        fields: dict[str, Any] = {}
        for key, inner in properties.items():
            kind = self.type_of(inner, f"{at}/{key}")
            described = {"description": inner["description"]} if "description" in inner else {}
            fields[key] = (kind, Field(**described)) if key in required else (kind | None, Field(None, **described))
        with self._explained(at):
            return create_model(name, __base__=Answer, **fields)

    def type_of(self, schema: Any, at: str) -> Any:
        self._check_keywords(schema, at)
        if "$ref" in schema:
            return self._referred(schema["$ref"], at)
        kind = self._without_null(schema, at)
        return kind | None if schema.get("nullable") is True else kind

    def _without_null(self, schema: Mapping[str, Any], at: str) -> Any:
        if "enum" in schema or "const" in schema:
            return self._choice(schema.get("enum", [schema.get("const")]), at)
        if branches := schema.get("anyOf") or schema.get("oneOf"):
            return _union([self.type_of(branch, at) for branch in branches])
        kinds = schema.get("type")
        if isinstance(kinds, list) and kinds:
            return _union([self._of_kind(kind, schema, at) for kind in kinds])
        return self._of_kind(kinds, schema, at)

    def _of_kind(self, kind: Any, schema: Mapping[str, Any], at: str) -> Any:
        if kind == "object":
            return self._object(schema, at)
        if kind == "array":
            return Annotated[list[self._items(schema, at)], self._bounds(kind, schema, at)]  # type: ignore[misc]
        if not isinstance(kind, str) or kind not in _PLAIN_TYPES:
            raise self._error(at, f"type must be one of {', '.join([*_PLAIN_TYPES, 'array', 'object'])}")
        plain = _PLAIN_TYPES[kind]
        return plain if plain is None else Annotated[plain, self._bounds(kind, schema, at)]

    def _object(self, schema: Mapping[str, Any], at: str) -> Any:
        if not self._nested:
            if schema.get("properties"):
                raise self._error(at, "an input object is taken as it comes: leave out its properties")
            return dict[str, Any]
        if not schema.get("properties"):
            raise self._error(at, "an object needs properties: strict modes cannot promise an open one")
        name = "".join(part.capitalize() for part in re.split(r"\W+", at))
        return self.model(str(schema.get("title", name)), schema, at)

    def _items(self, schema: Mapping[str, Any], at: str) -> Any:
        if "items" not in schema:
            if self._nested:
                raise self._error(at, 'an array needs items, such as { type = "string" }')
            return Any
        return self.type_of(schema["items"], f"{at}/items")

    def _choice(self, choices: Any, at: str) -> Any:
        values = tuple(choices) if isinstance(choices, list) else ()
        if not values or not all(isinstance(value, str | int | bool | None) for value in values):
            raise self._error(at, "enum must list texts, whole numbers, true, false or null")
        return Annotated[Literal[values], spelled_as(values)]

    def _bounds(self, kind: str, schema: Mapping[str, Any], at: str) -> Any:
        rules: dict[str, Any] = {}
        for keyword in sorted(_BOUNDS_OF.get(kind, set()) & schema.keys()):
            value = schema[keyword]
            wanted: Any = str if keyword == "pattern" else int if keyword in _LENGTHS else int | float
            if isinstance(value, bool) or not isinstance(value, wanted):
                raise self._error(f"{at}/{keyword}", f"must be a {'text' if wanted is str else 'number'}")
            rules[(_NUMBER_BOUNDS | _LENGTHS).get(keyword, keyword)] = value
        extra = {"format": schema["format"]} if "format" in schema else None
        return Field(json_schema_extra=extra, **rules)

    def _referred(self, reference: Any, at: str) -> Any:
        name = str(reference).rpartition("/")[2]
        if str(reference) not in (f"#/$defs/{name}", f"#/definitions/{name}") or name not in self._definitions:
            raise self._error(at, "$ref must point into $defs of the same schema")
        return self.type_of(self._definitions[name], f"{at}/{name}")

    def _check_keywords(self, schema: Any, at: str) -> None:
        if not isinstance(schema, Mapping):
            raise self._error(at, 'must be a table such as { type = "string" }')
        if at.count("/") > _DEPTH_MAX:
            raise self._error(at, f"is nested more than {_DEPTH_MAX} deep, perhaps in a circle: flatten it")
        if unknown := sorted(schema.keys() - _KNOWN):
            raise self._error(at, f"cannot promise {unknown[0]!r}: remove it, or use a pydantic model (module:Model)")

    def _check_names(self, properties: Any, required: Any, at: str) -> None:
        if not isinstance(properties, Mapping) or not isinstance(required, list):
            raise self._error(at, "properties must be a table and required a list")
        seen: dict[str, str] = {}
        for name in properties:
            if not _NAME.fullmatch(name) or hasattr(BaseModel, name):
                raise self._error(
                    f"{at}/{name}", "cannot name a column: use another word of letters, digits and underscores"
                )
            if twin := seen.setdefault(name.lower(), name) != name and seen[name.lower()]:
                raise self._error(f"{at}/{name}", f"differs from {twin} in upper and lower case alone: rename one")
        if strangers := [name for name in required if name not in properties]:
            raise self._error(at, f"requires {strangers[0]!r}, which is not among the properties")

    @contextmanager
    def _explained(self, at: str) -> Iterator[None]:
        try:
            yield
        except (SchemaError, TypeError) as error:
            reason = str(error).splitlines()[0]
            raise self._error(at, f"does not make a model ({reason})") from None

    def _error(self, at: str, problem: str) -> UsageError:
        return UsageError(f"{self._where}: {at.strip('/') or 'the schema'} {problem}.")


def _union(kinds: list[Any]) -> Any:
    return reduce(or_, kinds)
