"""Statuses are asked for by several threads at once: every type they read is worked out before.

Two threads that are the first to use a type, at once, end the process: msgspec 0.22 fills in what it keeps of a type
step by step, where the other thread sees it.
"""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
MODULES = (
    "providers.openai", "providers.openai_batches", "providers.anthropic", "providers.bedrock",
    "providers.bedrock_quotas",
    "providers.emulator.anthropic", "providers.emulator.anthropic_items", "providers.emulator.openai_requests",
)  # fmt: skip
NOT_KNOWN = """
import importlib, inspect, json, sys
import msgspec

def is_known(kind):
    called = []
    sys.setprofile(lambda frame, event, _: called.append(frame.f_code.co_name) if event == "call" else None)
    try:
        msgspec.convert({}, kind)
    except msgspec.ValidationError:
        pass
    finally:
        sys.setprofile(None)
    return "get_class_annotations" not in called  # which is where msgspec begins to work a type out

class Fresh(msgspec.Struct):
    name: str

kinds = {Fresh: "Fresh"}
for name in sys.argv[1:]:
    for _, kind in inspect.getmembers(importlib.import_module(name), inspect.isclass):
        if issubclass(kind, msgspec.Struct) and kind.__module__ == name:
            kinds[kind] = f"{name}.{kind.__name__}"
print(json.dumps([told for kind, told in kinds.items() if not is_known(kind)]))
"""


def test_no_thread_is_the_first_to_read_a_kind_of_answer() -> None:
    ended = subprocess.run([sys.executable, "-c", NOT_KNOWN, *MODULES], cwd=ROOT, capture_output=True, check=True)
    assert json.loads(ended.stdout) == ["Fresh"]
