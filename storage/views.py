"""The views people query: typed answers per task, progress, spend, dead letters; each documented column by column."""

import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

SQL_TYPES = frozenset({"VARCHAR", "BIGINT", "DOUBLE", "BOOLEAN", "DATE", "VARCHAR[]", "FLOAT[]", "JSON"})
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_SCALARS = {"string": "VARCHAR", "integer": "BIGINT", "number": "DOUBLE", "boolean": "BOOLEAN"}
_DEPTH = 16  # references and unions followed before a schema counts as too deep for a type of its own

_ID = "The item's own id, as in the input."
_NOTE = "Where several jobs have one, it is the newest job's. Times are UTC, money is US dollars."
_FIXED = {
    "job_id": "The newest job in which the item has an answer.",
    "model": "The model that answered.",
    "attempt": "Which attempt brought the answer.",
    "cost_usd": "Batch price of the accepted answer; items that share a request share this price.",
    "answered_at": "When the batch that brought the answer ended, UTC.",
    "answered_by": "The job that bought the answer; an earlier one where the answer was reused.",
}

# The newest job is found on narrow rows; documents are read for the one row that is shown.
_TYPED = """
WITH newest AS (
    SELECT items.item_id, arg_max(items.job_id, (jobs.created_at, jobs.job_id)) AS job_id
    FROM items JOIN jobs ON jobs.job_id = items.job_id
    WHERE jobs.task = {task} AND items.request_key IN (
        SELECT request_key FROM results WHERE job_id NOT IN (SELECT job_id FROM jobs WHERE state = 'purged'))
    GROUP BY items.item_id),
answered AS (
    SELECT items.item_id, items.job_id, {summary} AS summary_fields, {answer} AS answer_fields, results.model,
        results.attempt, results.cost_usd, coalesce(shards.ended_at, shards.settled_at) AS answered_at,
        results.job_id AS answered_by
    FROM newest
    JOIN items ON items.item_id = newest.item_id AND items.job_id = newest.job_id
    JOIN results ON results.request_key = items.request_key
    JOIN shards ON shards.job_id = results.job_id AND shards.shard_id = results.shard_id)
SELECT item_id AS {id_column}, job_id, {columns}model, attempt, cost_usd, answered_at, answered_by
FROM answered
"""


@dataclass(frozen=True, slots=True)
class ViewColumn:
    """One typed column, read from the answer's or the content summary's JSON field of the same name."""

    name: str
    sql_type: str
    description: str
    origin: Literal["answer", "summary"]


@dataclass(frozen=True, slots=True)
class ViewSpec:
    """The typed view of one task's answers. `extra` are SELECTs over it: trusted task code, never model output.

    Leading comment lines of an extra SELECT document it: `-- what the view shows`, then `-- column: what it means`.
    """

    name: str
    task: str
    id_column: str
    columns: tuple[ViewColumn, ...]
    extra: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class View:
    """A view and its documentation; a column that `columns` does not name has no comment."""

    name: str
    select: str
    comment: str
    columns: Mapping[str, str]


def columns_of(schema: Mapping[str, Any]) -> tuple[ViewColumn, ...]:
    """The answer's fields as typed columns, from a pydantic JSON schema; what has no simple type stays JSON."""
    definitions = schema.get("$defs", {})
    columns = []
    for name, given in schema.get("properties", {}).items():
        resolved = _resolved(given, definitions)
        description = given.get("description") or resolved.get("description") or given.get("title") or name
        columns.append(ViewColumn(name, _sql_type(resolved, definitions), " ".join(description.split()), "answer"))
    return tuple(columns)


def _resolved(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema behind references, single-member unions and `| None`."""
    for _ in range(_DEPTH):
        choices = [choice for key in ("anyOf", "oneOf", "allOf") for choice in schema.get(key, ())]
        choices = [choice for choice in choices if choice.get("type") != "null"]
        if "$ref" in schema:
            schema = definitions.get(schema["$ref"].rpartition("/")[2], {})
        elif len(choices) == 1:
            schema = choices[0]
        else:
            break
    return schema


def _sql_type(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    kind = _kind(schema)
    if kind == "string" and schema.get("format") == "date":
        return "DATE"
    if kind == "array":
        members = _resolved(schema.get("items", {}), definitions)
        if _kind(members) == "number" and members.get("format") == "float":
            return "FLOAT[]"
        return "VARCHAR[]" if _kind(members) == "string" else "JSON"
    return _SCALARS.get(kind, "JSON")


def _kind(schema: Mapping[str, Any]) -> str:
    """The JSON type of the schema's values; "" where there are several."""
    given = schema.get("type", [])
    kinds = {given} if isinstance(given, str) else set(given)
    if not kinds and ("enum" in schema or "const" in schema):
        values = schema.get("enum", [schema.get("const")])
        kinds = {"string" if isinstance(value, str) else "other" for value in values if value is not None}
    kinds -= {"null"}
    return kinds.pop() if len(kinds) == 1 else ""


def task_views(spec: ViewSpec) -> tuple[View, ...]:
    """The typed view of a task, then the views over it. Raises ValueError for names that cannot be told apart."""
    typed = _typed_view(spec)
    return (typed, *(_extra_view(typed, name, select) for name, select in spec.extra.items()))


def _typed_view(spec: ViewSpec) -> View:
    names = _column_names(spec)
    summary = [column for column in spec.columns if column.origin == "summary"]
    answer = [column for column in spec.columns if column.origin == "answer"]
    typed = [f"{column.origin}_fields.{quoted(column.name)} AS {quoted(names[column])}" for column in summary + answer]
    select = _TYPED.format(
        task=literal(spec.task),
        id_column=quoted(spec.id_column),
        columns="".join(f"{column}, " for column in typed),
        summary=_transformed("items.summary", summary),
        answer=_transformed("results.answer", answer),
    )
    comments = {names[column]: column.description for column in summary + answer}
    return View(
        spec.name,
        select,
        f"One row per item of {spec.task} that has an answer. {_NOTE}",
        comments | _FIXED | {spec.id_column: _ID},
    )


def _column_names(spec: ViewSpec) -> Mapping[ViewColumn, str]:
    """What the view calls each column: its own name, with the origin in front where that name is taken."""
    taken = {name.lower() for name in (*_FIXED, spec.id_column)}
    names: dict[ViewColumn, str] = {}
    for column in sorted(spec.columns, key=lambda column: column.origin):
        name = column.name if column.name.lower() not in taken else f"{column.origin}_{column.name}"
        if name.lower() in taken:
            raise ValueError(f"view {spec.name} has two columns named {name}")
        taken.add(name.lower())
        names[column] = name
    return names


def _transformed(document: str, columns: Sequence[ViewColumn]) -> str:
    """The JSON document as one typed struct, parsed once; a value that does not fit its type is NULL."""
    if not columns:
        return "NULL"
    for column in columns:
        if column.sql_type not in SQL_TYPES:
            raise ValueError(f"column {column.name} cannot have the type {column.sql_type!r}")
    if len({column.name.lower() for column in columns}) < len(columns):
        raise ValueError(f"two columns are told apart by nothing but case: {[column.name for column in columns]}")
    structure = json.dumps({column.name: column.sql_type for column in columns})
    return f"json_transform({document}, {literal(structure)})"


def _extra_view(typed: View, name: str, select: str) -> View:
    """A view over the typed one; a column that says nothing of itself keeps what the typed view says of it."""
    lines = select.strip().splitlines()
    notes = [line.strip().removeprefix("--").strip() for line in itertools.takewhile(_is_note, lines)]
    comment, *rest = notes or [f"A view over {typed.name}."]
    described = {column.strip(): text.strip() for column, _, text in (line.partition(":") for line in rest)}
    return View(name, select.strip().rstrip(";"), comment, {**typed.columns, **described})


def _is_note(line: str) -> bool:
    return line.strip().startswith("--")


def quoted(name: str) -> str:
    """The name as an SQL identifier. Raises ValueError for anything but letters, digits and underscores."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} cannot name a view or a column: use letters, digits and underscores")
    return f'"{name}"'


def literal(text: str) -> str:
    """The text as an SQL string."""
    return "'" + text.replace("'", "''").replace("\x00", "") + "'"


def create_statement(view: View) -> str:
    """The statement that defines the view, or defines it anew."""
    return f"CREATE OR REPLACE VIEW {quoted(view.name)} AS {view.select}"


def comment_statements(view: View, columns: Sequence[str]) -> Iterator[str]:
    """The statements that document the view and its columns, which only the database can name for certain."""
    yield f"COMMENT ON VIEW {quoted(view.name)} IS {literal(view.comment)}"
    for column in columns:
        comment = view.columns.get(column, f"Computed by {view.name}.")
        yield f"COMMENT ON COLUMN {quoted(view.name)}.{quoted(column)} IS {literal(comment)}"
