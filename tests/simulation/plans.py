"""Jobs packed once by the real `submit`, to be accepted again and again in fresh stores."""

import json
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from batchjobs import submit as submitting
from batchjobs.desk import open_desk
from batchjobs.env import Env
from batchjobs.plan import Plan
from batchjobs.settings import load_settings
from storage.directory import DirectoryStore
from tests.simulation.weather import START

MEMORY = Path("/dev/shm")
TASK = "tests.small_task:TASK"
SHAPES: dict[str, tuple[int, dict[str, object]]] = {
    "one": (3, {}),
    "two": (4, {"shard_requests": 2}),
    "three": (5, {"shard_requests": 2}),
    "canary": (5, {"shard_requests": 2, "canary": 1}),
    "other": (4, {"shard_requests": 2}),  # as large as "two", of other items
}


@dataclass(frozen=True)
class Packed:
    """A plan that is not accepted yet, and the objects that packing left in the store."""

    plan: Plan
    files: dict[str, Path]
    objects: dict[str, bytes]


@cache
def workplace() -> Path:
    """A folder for this process that its end removes; in memory where the system has such a place."""
    holder = tempfile.TemporaryDirectory(prefix="simulation-", dir=MEMORY if MEMORY.is_dir() else None)
    _KEPT.append(holder)
    return Path(holder.name)


_KEPT: list[tempfile.TemporaryDirectory[str]] = []


@cache
def packed(flavour: str, shape: str) -> Packed:
    """One job of a shape for one provider."""
    count, settings = SHAPES[shape]
    folder = workplace() / f"{flavour}-{shape}"
    folder.mkdir()
    source = folder / "items.jsonl"
    items = [{"doc_id": f"{shape}-{n}", "text": f"This is document {n} of {shape}."} for n in range(count)]
    source.write_text("".join(json.dumps(item) + "\n" for item in items))
    flags = {"store": str(folder / "store"), "task": TASK, "provider": flavour} | settings
    desk = open_desk(Env(lambda: START, _no_sleep, _one_id), load_settings(flags, None, {}))
    order = submitting.resolve(desk.settings, str(source), None, desk)
    with desk.exclusive("packing"):
        plan = submitting.submit(desk, order).plan
    store = DirectoryStore(folder / "store")
    keys = [key for key in store.keys("jobs/") if "/shards/" in key]
    return Packed(plan, {key: folder / "store" / key for key in keys}, {key: store.read(key) for key in keys})


def _no_sleep(_seconds: float) -> None:
    """Packing never waits."""


def _one_id() -> str:
    return "packing"
