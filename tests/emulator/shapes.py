"""Whether a reply fits botocore's own description of it: members, types, enums, patterns, bounds."""

import json
import re
from collections.abc import Iterator
from datetime import datetime
from functools import cache
from http.client import HTTPConnection
from typing import Any

import botocore.session

from providers.emulator import Emulator

SIGNED = {"authorization": "AWS4-HMAC-SHA256 Credential=test/20261120/us-east-1/bedrock/aws4_request, Signature=0"}
_TYPES: dict[str, Any] = {
    "string": str,
    "integer": int,
    "long": int,
    "double": (int, float),
    "boolean": bool,
    "list": list,
    "structure": dict,
    "map": dict,
    "timestamp": str,
}


@cache
def model(service: str) -> Any:
    return botocore.session.get_session().get_service_model(service)


def reply_shape(service: str, operation: str) -> Any:
    return model(service).operation_model(operation).output_shape


def raw(emulator: Emulator, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any, Any]:
    """Status, headers and document of a call without an SDK, which would check it first."""
    connection = HTTPConnection(emulator.url.removeprefix("http://"), timeout=10)
    try:
        connection.request(method, path, body if body is None else json.dumps(body), {**SIGNED, **headers})
        answer = connection.getresponse()
        return answer.status, answer.headers, json.loads(answer.read())
    finally:
        connection.close()


def misfits(shape: Any, value: Any, place: str = "") -> list[str]:
    """Where a document differs from its shape."""
    return list(_misfits(shape, value, place))


def _misfits(shape: Any, value: Any, place: str) -> Iterator[str]:
    if getattr(shape, "is_document_type", False):
        return
    if not isinstance(value, _TYPES[shape.type_name]):
        yield f"{place}: {value!r} is no {shape.type_name}"
    elif shape.type_name == "structure":
        yield from _members(shape, value, place)
    elif shape.type_name == "list":
        for index, one in enumerate(value):
            yield from _misfits(shape.member, one, f"{place}.{index}")
    elif shape.type_name == "timestamp":
        datetime.fromisoformat(value)
    else:
        yield from _scalar(shape, value, place)


def _members(shape: Any, value: Any, place: str) -> Iterator[str]:
    yield from (f"{place}.{name} is missing" for name in shape.required_members if name not in value)
    if shape.metadata.get("union") and len(value) != 1:
        yield f"{place} has {len(value)} members"
    for name, inner in value.items():
        if name in shape.members:
            yield from _misfits(shape.members[name], inner, f"{place}.{name}")
        else:
            yield f"{place}.{name} is unknown"


def _scalar(shape: Any, value: Any, place: str) -> Iterator[str]:
    rules, size = shape.metadata, len(value) if isinstance(value, str) else value
    if "enum" in rules and value not in rules["enum"]:
        yield f"{place}: {value!r} is not of the enum"
    if "pattern" in rules and not re.fullmatch(rules["pattern"], value):
        yield f"{place}: {value!r} does not match"
    if not rules.get("min", size) <= size <= rules.get("max", size):
        yield f"{place}: {value!r} is out of bounds"
