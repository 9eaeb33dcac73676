"""What the typed view of a task looks like, from its result schema and its content summary."""

from typing import Any

import msgspec

from batchjobs.tasks import Task
from storage.views import ViewColumn, ViewSpec, columns_of

_SQL_TYPES = {"text": "VARCHAR", "integer": "BIGINT", "number": "DOUBLE", "boolean": "BOOLEAN", "date": "DATE"}


def view_of(task: Task) -> dict[str, Any]:
    """The view as plain JSON, for the plan."""
    summary = tuple(
        ViewColumn(name, _SQL_TYPES[field.type], field.description, "summary")
        for name, field in task.summary_fields.items()
    )
    taken = set(task.summary_fields)
    answer = tuple(column for column in columns_of(task.result.model_json_schema()) if column.name not in taken)
    name = task.name.replace("-", "_")
    view: dict[str, Any] = msgspec.to_builtins(
        ViewSpec(name, task.name, task.id_column, summary + answer, dict(task.views))
    )
    return view


def load_view(view: dict[str, Any]) -> ViewSpec:
    """The view as the plan kept it."""
    return msgspec.convert(view, ViewSpec)
