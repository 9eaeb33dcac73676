"""How a task is found by its name, in a module, or in a task.toml; and its fingerprint."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from batchjobs.deal_intelligence import TASK
from batchjobs.errors import UsageError
from batchjobs.task_files import fingerprint, load_task

MODULE = """
from batchjobs.deal_intelligence import TASK
from dataclasses import replace
MINE = replace(TASK, name="mine")
NOT_A_TASK = 7
"""


@pytest.fixture(autouse=True)
def import_path() -> Iterator[None]:
    """Loading a module's task leaves its directory on sys.path; other tests do not want it."""
    before = list(sys.path)
    yield
    sys.path[:] = before


def error_of(spec: str, base: Path) -> str:
    with pytest.raises(UsageError) as caught:
        load_task(spec, base)
    return str(caught.value)


def test_the_built_in_task_is_found_by_name(tmp_path: Path) -> None:
    assert load_task("deal-intelligence", tmp_path) is TASK


def test_a_task_is_found_in_a_module_of_the_base_directory(tmp_path: Path) -> None:
    (tmp_path / "mine_found.py").write_text(MODULE)
    assert load_task("mine_found:MINE", tmp_path).name == "mine"


def test_a_directory_stands_for_its_task_toml(tmp_path: Path) -> None:
    assert (
        error_of(".", tmp_path) == f"{tmp_path}/task.toml: cannot be read (No such file or directory): check the path."
    )


def test_an_unknown_name_is_answered_with_the_choices(tmp_path: Path) -> None:
    assert error_of("deals", tmp_path) == (
        "Task 'deals' is neither built in (deal-intelligence), nor module:object, nor a task.toml: check the spelling."
    )


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("mine_wrong:NOTHING", "mine_wrong has no NOTHING"),
        ("mine_wrong:NOT_A_TASK", "the object is a int: make it a batchjobs.tasks.Task."),
        ("mine_absent:MINE", "mine_absent cannot be imported (No module named 'mine_absent'): run from the directory"),
        ("mine_broken:MINE", "mine_broken has a syntax error in line 2: correct it."),
    ],
)
def test_a_module_without_the_task_says_what_is_wrong(tmp_path: Path, spec: str, says: str) -> None:
    (tmp_path / "mine_wrong.py").write_text(MODULE)
    (tmp_path / "mine_broken.py").write_text("x = 1\ny = = 2\n")
    message = error_of(spec, tmp_path)
    assert message.startswith(f"Task {spec}: ")
    assert says in message


def test_a_module_in_the_base_directory_shadows_nothing_installed(tmp_path: Path) -> None:
    (tmp_path / "jsonschema.py").write_text("MINE = 7")
    assert "jsonschema has no MINE" in error_of("jsonschema:MINE", tmp_path)


def test_the_fingerprint_is_the_same_in_another_process() -> None:
    code = "from batchjobs.task_files import *; print(fingerprint(BUILT_IN['deal-intelligence']))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == fingerprint(TASK)


@pytest.mark.parametrize(
    "change",
    [
        {"name": "other"},
        {"version": "2"},
        {"prompt_text": "Be kind."},
        {"result": TASK.item},
        {"max_output_tokens": 17},
        {"temperature": 0.0},
    ],
)
def test_the_fingerprint_changes_with_the_meaning(change: dict[str, Any]) -> None:
    assert fingerprint(replace(TASK, **change)) != fingerprint(TASK)


def test_the_fingerprint_ignores_what_does_not_change_the_answer() -> None:
    assert fingerprint(replace(TASK, views={}, models={"openai": "another"})) == fingerprint(TASK)


def test_jinja2_is_loaded_for_toml_tasks_alone() -> None:
    code = "import sys, batchjobs.task_files; print('jinja2' in sys.modules)"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "False"
