"""What the providers' structured outputs accept of JSON schema, checked as strictly as they do."""

from collections.abc import Iterator, Mapping
from typing import Any

# Anthropic: "use an unsupported feature and receive a 400"; its SDK moves these into descriptions before sending.
_NOT_FOR_ANTHROPIC = {
    "integer": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    "string": ("minLength", "maxLength"),
    "array": ("maxItems", "uniqueItems"),
}


def openai_complaint(schema: Mapping[str, Any]) -> str | None:
    """Why OpenAI's strict mode would not take the schema: every object closed, every property required."""
    for context, part in _parts(schema, ()):
        if part.get("type") != "object" and "properties" not in part:
            continue
        if part.get("additionalProperties") is not False:
            return f"In context={context}, 'additionalProperties' is required to be supplied and to be false."
        missing = [name for name in part.get("properties", {}) if name not in part.get("required", ())]
        if missing:
            return (
                f"In context={context}, 'required' is required to be supplied and to be an array including "
                f"every key in properties. Missing '{missing[0]}'."
            )
    return None


def anthropic_complaint(schema: Mapping[str, Any]) -> str | None:
    """Why Anthropic's structured outputs would not take the schema."""
    for _, part in _parts(schema, ()):
        kind = part.get("type")
        if kind == "object" and part.get("additionalProperties") is not False:
            return "For 'object' type, 'additionalProperties' must be explicitly set to false"
        named = [word for word in _NOT_FOR_ANTHROPIC.get(str(kind), ()) if word in part]
        if named:
            return f"For '{kind}' type, properties {', '.join(named)} are not supported"
        if kind == "array" and part.get("minItems", 0) not in {0, 1}:
            return "For 'array' type, 'minItems' values other than 0 or 1 are not supported"
    return None


def _parts(schema: Any, context: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
    """Every schema inside the schema, with the path to it."""
    if not isinstance(schema, Mapping):
        return
    yield context, schema
    for word in ("properties", "$defs", "definitions"):
        for name, part in schema.get(word, {}).items():
            yield from _parts(part, (*context, word, name))
    for word in ("anyOf", "allOf", "oneOf", "prefixItems"):
        for index, part in enumerate(schema.get(word, ())):
            yield from _parts(part, (*context, word, str(index)))
    yield from _parts(schema.get("items"), (*context, "items"))
