"""Finds a task: built in, an object in a module, or a task.toml."""

import hashlib
import json
from pathlib import Path

from batchjobs import deal_intelligence
from batchjobs.errors import UsageError
from batchjobs.importing import OBJECT, imported
from batchjobs.tasks import Task

BUILT_IN = {task.name: task for task in (deal_intelligence.TASK,)}


def load_task(spec: str, base: Path) -> Task:
    """The task that `spec` names; files and modules are looked for in `base`.

    A module is imported with `base` at the end of sys.path, where it stays, and where it can shadow nothing installed.
    Raises UsageError: what is wrong, where, and what to do.
    """
    if spec in BUILT_IN:
        return BUILT_IN[spec]
    path = base / spec
    if path.suffix == ".toml" or path.is_dir():
        from batchjobs.toml_tasks import read_task  # the only user of jinja2, which other tasks need not wait for

        return read_task(path / "task.toml" if path.is_dir() else path)
    if OBJECT.fullmatch(spec):
        return _imported_task(spec, base)
    names = ", ".join(BUILT_IN)
    raise UsageError(
        f"Task {spec!r} is neither built in ({names}), nor module:object, nor a task.toml: check the spelling."
    )


def fingerprint(task: Task) -> str:
    """SHA-256 in hex over everything that changes what the task means, whatever the items and the model."""
    meaning = [
        task.name,
        task.version,
        task.prompt_text,
        task.result.model_json_schema(),
        task.max_output_tokens,
        task.temperature,
    ]
    return hashlib.sha256(json.dumps(meaning).encode()).hexdigest()


def _imported_task(spec: str, base: Path) -> Task:
    task = imported(spec, base, f"Task {spec}")
    if not isinstance(task, Task):
        raise UsageError(f"Task {spec}: the object is a {type(task).__name__}: make it a batchjobs.tasks.Task.")
    return task
