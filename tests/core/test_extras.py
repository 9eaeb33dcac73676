"""The SDKs are optional: what needs none runs without, and what needs one says which before anything is written."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.world import World, documents

BLOCKED = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {modules}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
sys.argv = ["batchjobs", *{arguments}]
from batchjobs.cli import main
main()
"""
SDKS = ("openai", "anthropic", "boto3", "botocore")
HEAVY = {*SDKS, "duckdb", "pyarrow", "pydantic", "rich", "msgspec", "batchjobs.errors", "providers", "storage"}


def without(modules: tuple[str, ...], *arguments: str) -> tuple[int, str]:
    """Exit code and words of a command on a machine that lacks these modules."""
    code = BLOCKED.format(modules=set(modules), arguments=arguments)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def loaded_by(*arguments: str) -> set[str]:
    """The modules that a command imports."""
    code = f"import sys; sys.argv = ['batchjobs', *{arguments}]\nimport atexit\n"
    code += "atexit.register(lambda: print(*sys.modules, file=sys.stderr))\nfrom batchjobs.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


def test_help_loads_nothing_heavy():
    loaded = loaded_by("--help")
    assert "click" in loaded
    assert not loaded & HEAVY


def test_looking_loads_no_sdk_and_no_table(tmp_path: Path):
    loaded = loaded_by("status", "--store", str(tmp_path))
    assert "batchjobs.looks" in loaded
    assert not loaded & {*SDKS, "duckdb", "pyarrow", "numpy", "batchjobs.pack", "batchjobs.settle"}


def test_help_takes_no_time():
    """Of the processor, whatever else it has to do."""
    used = []
    for _ in range(3):
        before = os.times()
        subprocess.run([sys.executable, "-m", "batchjobs", "--help"], capture_output=True, check=True)
        after = os.times()
        used.append(after.children_user + after.children_system - before.children_user - before.children_system)
    assert min(used) < 0.15


@pytest.mark.parametrize("command", ["status", "verify", "rebuild"])
def test_a_directory_is_read_without_any_sdk(make_world: Callable[..., World], command: str):
    world = make_world("openai")
    world.run(world.write(documents(2)))
    results = ("--results", str(world.folder / "results.duckdb"))
    code, words = without(SDKS, command, "--store", world.store, *results)
    assert code == 0, words


@pytest.mark.parametrize(
    ("provider", "modules", "extra"),
    [("openai", ("openai",), "openai"), ("anthropic", ("anthropic",), "anthropic"), ("groq", ("openai",), "openai")],
)
def test_a_missing_sdk_is_told_before_anything_is_written(tmp_path: Path, provider: str, modules, extra: str):
    store, source = tmp_path / "store", tmp_path / "items.jsonl"
    source.write_text('{"doc_id": "a", "text": "b"}\n')
    choice = ("--task", "tests.small_task:TASK", "--provider", provider, "--model", "m", "--no-price")
    code, words = without(modules, "submit", str(source), "--store", str(store), *choice)
    assert (code, f"pip install 'batchjobs[{extra}]'" in words) == (2, True), words
    assert not (store / "jobs").exists()
    assert not (store / "accepted").exists()


def test_a_store_on_s3_without_boto3_is_told(tmp_path: Path):
    code, words = without(("boto3", "botocore"), "status", "--store", "s3://bucket/x")
    assert (code, "pip install 'batchjobs[s3]'" in words) == (2, True), words


def test_an_input_on_s3_without_boto3_is_told(tmp_path: Path):
    choice = ("--task", "tests.small_task:TASK", "--provider", "openai", "--no-price")
    code, words = without(("boto3",), "submit", "s3://bucket/a.jsonl", "--store", str(tmp_path), *choice, "--dry-run")
    assert (code, "pip install 'batchjobs[s3]'" in words) == (2, True), words
