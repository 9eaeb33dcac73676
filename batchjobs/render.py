"""Rendering: input lines become keyed requests. Pure, so that it can be done in any process, some lines at a time."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import Any

import msgspec
from pydantic import ValidationError

from batchjobs.tasks import ItemTooLarge, Task
from providers.contract import Format, RequestTemplate
from storage.inputs import Line

ITEM_ID_LENGTH_MAX = 500


@dataclass(slots=True)
class Requests:
    """Some items, rendered and keyed: column by column, as every step that follows takes them in bulk."""

    lines: list[int] = field(default_factory=list)
    item_ids: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    summaries: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.keys)

    @classmethod
    def of(cls, rows: Iterable[tuple[int, str, str, bytes, str]]) -> "Requests":
        """From one tuple for each."""
        return cls(*map(list, zip(*rows, strict=True)))

    def extend(self, others: "Requests") -> None:
        for column, more in zip(self._columns(), others._columns(), strict=True):
            column.extend(more)

    def part(self, start: int, stop: int) -> "Requests":
        return Requests(*(column[start:stop] for column in self._columns()))

    def only(self, wanted: Sequence[bool]) -> "Requests":
        """Those at whose place `wanted` is true."""
        return Requests(*(list(compress(column, wanted)) for column in self._columns()))

    def _columns(self) -> tuple[list[Any], ...]:
        return self.lines, self.item_ids, self.keys, self.bodies, self.summaries


@dataclass(frozen=True, slots=True)
class Reject:
    """One input line that cannot become a request, and why."""

    line: int
    item_id: str | None
    reason: str
    detail: str


@dataclass(slots=True)
class Rendered:
    """What came of some lines; `last` is the number of the last that was not blank."""

    requests: Requests
    rejects: list[Reject]
    last: int


@dataclass(frozen=True, slots=True)
class Renderer:
    """The pure way from a line to a request; everything that can change the answer goes into the key."""

    task: Task
    template: RequestTemplate
    format: Format
    served_by: str
    endpoint: str
    room_bytes: int
    salt: bytes

    def rendered(self, lines: Iterable[Line]) -> Rendered:
        """The requests, and the rejects, of some lines."""
        rows, rejects, last = [], [], 0
        for line in lines:
            made, last = self.render(line), line.number
            if isinstance(made, Reject):
                rejects.append(made)
            else:
                rows.append(made)
        return Rendered(Requests.of(rows), rejects, last)

    def render(self, line: Line) -> tuple[int, str, str, bytes, str] | Reject:
        """One line: its number, item id, request key, body and summary."""
        number, data, problem = line
        if data is None:
            return Reject(number, None, "unreadable", problem)
        try:
            item = self.task.item.model_validate_json(data)
        except ValidationError as error:
            return Reject(number, None, *_explain(error))
        return self._request(number, item)

    def _request(self, number: int, item: object) -> tuple[int, str, str, bytes, str] | Reject:
        item_id: str | None = None
        try:
            item_id = self.task.item_id(item)
            rendered = self.task.render(item, self.room_bytes)
            body = self.format.encode(self.template, rendered.prompt)
            summary = msgspec.json.encode(rendered.summary).decode() if rendered.summary else "{}"
        except ItemTooLarge as error:
            return Reject(number, item_id, "too_large", str(error))
        except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
            return Reject(number, item_id, "not_renderable", f"the task's code raised {type(error).__name__}")
        if not item_id or len(item_id) > ITEM_ID_LENGTH_MAX:
            return Reject(number, None, "bad_id", f"an id must have 1 to {ITEM_ID_LENGTH_MAX} characters")
        if len(body) > self.format.limits.line_bytes:
            return Reject(number, item_id, "too_large", f"{len(body):,} bytes, the provider takes {self._line_bytes}")
        return number, item_id, hashlib.sha256(self.salt + body).hexdigest(), body, summary

    @property
    def _line_bytes(self) -> str:
        return f"{self.format.limits.line_bytes:,} a request"


def key_salt(provider: str, served_by: str, endpoint: str, task: Task, model: str = "") -> bytes:
    """What is not in the body but can change the answer: who answers, and what the task's version means by it.

    `model` is the model where bodies do not name it.
    """
    return "\0".join(("1", provider, served_by, endpoint, task.name, task.version, model)).encode()


def _explain(error: ValidationError) -> tuple[str, str]:
    """Reason and detail of a bad line: field names and what was expected, never the value found."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    if first["type"] == "json_invalid":
        return "not_json", first["msg"]
    where = ".".join(map(str, first["loc"])) or "item"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return "does_not_fit", f"{where}: {first['msg']}{more}"
