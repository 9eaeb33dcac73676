"""The house rules that a machine can check: sizes, the one clock, the one broad except, the one edge."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = sorted(path for package in ("batchjobs", "providers", "storage") for path in (ROOT / package).rglob("*.py"))
FUNCTION_LINES_MAX = 60
FILE_LINES_MAX = 450
CLOCKS = {"time.time", "time.monotonic", "time.sleep", "datetime.now", "datetime.utcnow", "date.today"}
CLOCK_HOMES = {"batchjobs/env.py", "providers/emulator/world.py"}
BROAD_HOMES = {"batchjobs/cli.py"}


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef]:
    yield from (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_files_and_functions_stay_small(path: Path):
    text = path.read_text()
    long = [f.name for f in functions(ast.parse(text)) if (f.end_lineno or 0) - f.lineno >= FUNCTION_LINES_MAX]
    assert text.count("\n") <= FILE_LINES_MAX
    assert long == []


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_every_module_says_what_it_is_for(path: Path):
    assert ast.get_docstring(ast.parse(path.read_text()))


@pytest.mark.parametrize("path", [p for p in MODULES if name(p) not in CLOCK_HOMES], ids=name)
def test_nothing_reads_a_clock_but_its_home(path: Path):
    calls = [ast.unparse(node.func) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    assert [call for call in calls if call in CLOCKS] == []


@pytest.mark.parametrize("path", [p for p in MODULES if name(p) not in BROAD_HOMES], ids=name)
def test_only_the_edge_catches_everything(path: Path):
    handlers = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ExceptHandler)]
    broad = [h.lineno for h in handlers if h.type is None or ast.unparse(h.type) == "Exception"]
    assert broad == []
