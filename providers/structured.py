"""A pydantic model's JSON schema, rewritten into the part of JSON Schema that a provider enforces.

Every answer the rewritten schema allows is one the original allows too, except for the constraints that had to move
into a description: those are the validator's to check afterwards. So a field with a default becomes required, not
nullable: a null would not fit the model it came from.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

Node = dict[str, Any]


class UnsupportedSchema(ValueError):
    """No provider could enforce this part of the result schema; the message names the place."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """What a provider enforces: constraint keywords, string formats, and whether a type may contain itself."""

    keeps: frozenset[str]
    formats: frozenset[str]
    recursive: bool
    min_items_max: int | None = None  # the largest minItems it takes


_FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"})

# OpenAI's guide to structured outputs, "supported schemas"; all properties must be required there.
OPENAI = Dialect(
    keeps=frozenset(
        {"pattern", "multipleOf", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minItems", "maxItems"}
    ),
    formats=_FORMATS,
    recursive=True,
)
# Anthropic's guide to structured outputs, "JSON Schema limitations", and what its SDK's own transform moves away.
ANTHROPIC = Dialect(keeps=frozenset({"minItems"}), formats=_FORMATS | {"uri"}, recursive=False, min_items_max=1)

# Constraints; any of them that a provider does not enforce is told to the model in the description.
_CONSTRAINTS = (
    "format",
    "pattern",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minItems",
    "maxItems",
    "uniqueItems",
)
PLACES_TOLD_MAX = 5
_CLAUDE = re.compile(r"claude-[a-z]+-(\d+)(?:-(\d{1,2})(?!\d))?")
_CLAUDE_ENFORCES = (4, 5)  # the first version that is held to a schema by itself
_NO_PROVIDER_HAS = ("not", "if", "patternProperties", "dependentRequired", "dependentSchemas", "prefixItems")
_JSON_TYPES: dict[type, str] = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}


def enforceable(schema: Mapping[str, Any], dialect: Dialect) -> Node:
    """`schema` in the provider's dialect. Raises UnsupportedSchema. The argument is not changed."""
    return _rewritten(schema, dialect).result


def _rewritten(schema: Mapping[str, Any], dialect: Dialect) -> "_Rewriter":
    definitions = {**schema.get("definitions", {}), **schema.get("$defs", {})}
    rewriter = _Rewriter(dialect, definitions)
    body = rewriter.node({k: v for k, v in schema.items() if k not in ("$defs", "definitions")}, "the result", ())
    if "$ref" in body:
        body = rewriter.node(definitions[_name(body["$ref"])], "the result", (_name(body["$ref"]),))
    if body.get("type") != "object":
        raise UnsupportedSchema("The result schema must be an object with named fields.")
    used = rewriter.used(body)
    if not dialect.recursive:
        _reject_recursion(used)
    rewriter.result.update({**body, "$defs": used} if used else body)
    return rewriter


def shortfall(schema: Mapping[str, Any], dialect: Dialect) -> str:
    """What of `schema` this provider does not enforce, place by place, for people; "" where it enforces all of it."""
    moved = _rewritten(schema, dialect).moved
    places = [f"{place.removeprefix('the result.')}: {', '.join(keywords)}" for place, keywords in moved.items()]
    more = f" and {len(places) - PLACES_TOLD_MAX} more places" if len(places) > PLACES_TOLD_MAX else ""
    told = "; ".join(places[:PLACES_TOLD_MAX])
    return f"Not enforced here, told in descriptions and checked in every answer: {told}{more}." if told else ""


def only_told(model: str) -> str:
    """What `in_words` means, for people."""
    return (
        f"Model {model} is held to no schema: it is told the schema in words, and every answer is checked against it."
    )


def by_tool(model: str) -> str:
    """What a schema given as a tool's input means, for people."""
    return f"Model {model} is asked to fit a tool's schema, not made to: every answer is checked against it."


def claude_enforces(model: str) -> bool | None:
    """Whether this Claude is held to a schema by itself; None where the name does not say which it is."""
    if re.search(r"claude-(?:instant|v?[123]\b)", model.lower()):
        return False
    match = _CLAUDE.search(model.lower())
    return None if match is None else (int(match[1]), int(match[2] or 0)) >= _CLAUDE_ENFORCES


def in_words(schema: Mapping[str, Any], dialect: Dialect) -> str:
    """The schema for a model that nobody holds to it. Raises UnsupportedSchema as `enforceable`."""
    text = msgspec.json.encode(enforceable(schema, dialect)).decode()
    return f"Answer with one JSON object that fits this JSON schema, and with nothing else:\n{text}"


@dataclass(frozen=True, slots=True)
class _Rewriter:
    dialect: Dialect
    definitions: Mapping[str, Any]
    result: Node = field(default_factory=dict)
    moved: dict[str, list[str]] = field(default_factory=dict)  # into descriptions, by place

    def node(self, node: Mapping[str, Any], place: str, within: tuple[str, ...]) -> Node:
        """One schema, rewritten; `within` names the definitions being unfolded around it."""
        if len(node.get("allOf", ())) == 1:
            node = {**node["allOf"][0], **{k: v for k, v in node.items() if k != "allOf"}}
        if "allOf" in node or any(word in node for word in _NO_PROVIDER_HAS):
            raise UnsupportedSchema(f"{place} uses a JSON Schema keyword that no provider enforces: simplify its type.")
        if "$ref" in node:
            return self._reference(node, place, within)
        return self._described(node, self._shape(node, place, within), place)

    def used(self, body: Node) -> dict[str, Node]:
        """The definitions that `body` needs, rewritten."""
        found: dict[str, Node] = {}
        waiting = sorted(_references(body))
        while waiting:
            name = waiting.pop(0)
            if name not in found:
                found[name] = self.node(self.definitions[name], name, (name,))
                waiting += sorted(_references(found[name]))
        return found

    def _reference(self, node: Mapping[str, Any], place: str, within: tuple[str, ...]) -> Node:
        """A bare reference stays; one with words of its own is unfolded, as a $ref may have no siblings."""
        name = _name(node["$ref"])
        if name not in self.definitions:
            raise UnsupportedSchema(f"{place} refers to something outside the schema.")
        siblings = {k: v for k, v in node.items() if k in ("description", *_CONSTRAINTS)}
        if not siblings or name in within:
            return {"$ref": f"#/$defs/{name}"}
        return self.node({**self.definitions[name], **siblings}, place, (*within, name))

    def _shape(self, node: Mapping[str, Any], place: str, within: tuple[str, ...]) -> Node:
        variants = node.get("anyOf") or node.get("oneOf")
        if variants:
            return {"anyOf": [self.node(variant, f"{place} | {i}", within) for i, variant in enumerate(variants)]}
        if "const" in node or "enum" in node:
            return _choice(node, place)
        if "type" not in node:
            raise UnsupportedSchema(f"{place} has no type: say what it may be.")
        if isinstance(node["type"], list):
            one_each = [{**node, "type": kind, "description": ""} for kind in node["type"]]
            return self._shape({"anyOf": one_each}, place, within)
        if node["type"] == "object":
            return self._object(node, place, within)
        if node["type"] == "array":
            if not node.get("items"):
                raise UnsupportedSchema(f"{place} is a list of anything: say of what.")
            return {"type": "array", "items": self.node(node["items"], f"{place}[]", within)}
        return {"type": node["type"]}

    def _object(self, node: Mapping[str, Any], place: str, within: tuple[str, ...]) -> Node:
        fields = node.get("properties")
        if not fields:
            raise UnsupportedSchema(f"{place} is an object without named fields: name them.")
        properties = {name: self.node(field, f"{place}.{name}", within) for name, field in fields.items()}
        return {
            "type": "object",
            "properties": properties,
            "required": list(properties),
            "additionalProperties": False,
        }

    def _described(self, node: Mapping[str, Any], shape: Node, place: str) -> Node:
        constraints = {k: node[k] for k in _CONSTRAINTS if k in node}
        kept = {k: v for k, v in constraints.items() if self._enforced(k, v)}
        lost = {k: v for k, v in constraints.items() if k not in kept}
        told = ", ".join(f"{k}: {v}" for k, v in lost.items())
        if lost:
            self.moved[place] = list(lost)
        description = " ".join(part for part in (node.get("description"), told and f"({told})") if part)
        return {**shape, **kept, **({"description": description} if description else {})}

    def _enforced(self, keyword: str, value: Any) -> bool:
        if keyword == "format":
            return value in self.dialect.formats
        if keyword == "pattern" and "(?" in value:
            return False  # OpenAI answers a pattern with lookaround, such as pydantic's for Decimal, with errors
        if keyword == "minItems" and self.dialect.min_items_max is not None:
            return bool(value <= self.dialect.min_items_max)
        return keyword in self.dialect.keeps


def _choice(node: Mapping[str, Any], place: str) -> Node:
    values = [node["const"]] if "const" in node else list(node["enum"])
    if not values or any(type(value) not in _JSON_TYPES for value in values):
        raise UnsupportedSchema(f"{place} is a choice between values that are not plain.")
    by_type: dict[str, list[Any]] = {}
    for value in values:
        by_type.setdefault(_JSON_TYPES[type(value)], []).append(value)
    choices = [{"type": kind, "enum": of_kind} for kind, of_kind in by_type.items()]
    return choices[0] if len(choices) == 1 else {"anyOf": choices}


def _name(reference: str) -> str:
    return reference.removeprefix("#/$defs/").removeprefix("#/definitions/")


def _references(node: Any) -> Iterable[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield _name(node["$ref"])
        for value in node.values():
            yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)


def _reject_recursion(definitions: Mapping[str, Node]) -> None:
    edges = {name: set(_references(node)) for name, node in definitions.items()}
    for start in edges:
        reached, waiting = set(), set(edges[start])
        while waiting:
            reached |= waiting
            waiting = set().union(*(edges[name] for name in waiting)) - reached
        if start in reached:
            raise UnsupportedSchema(f"{start} contains itself, which this provider does not allow in a result.")
