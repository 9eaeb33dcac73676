"""The files of results: one for each version, with a part for every benchmark."""

import json
import os
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "docs/benchmarks"


def keep(folder: Path, part: str, document: dict[str, Any]) -> None:
    """Put one benchmark's results into this version's file, in the place of earlier ones of this version."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{version('batchjobs')}.json"
    told = json.loads(path.read_text()) if path.exists() else {}
    told[part] = stamp() | document
    path.write_text(json.dumps(told, indent=1) + "\n")


def stamp() -> dict[str, Any]:
    """When and on what it was measured."""
    return {"at": f"{datetime.now(UTC):%Y-%m-%d}", "cores": os.cpu_count()}


def newest(folder: Path) -> dict[str, Any]:
    """Every part as it was measured last, with the version that it was measured of."""
    found: dict[str, Any] = {}
    for path in sorted(folder.glob("*.*.*.json"), key=_numbers):
        found |= {part: told | {"version": path.stem} for part, told in json.loads(path.read_text()).items()}
    return found


def before(folder: Path, part: str) -> dict[str, Any]:
    """What the version before this one came to; empty where none was measured."""
    older = [
        path for path in folder.glob("*.*.*.json") if _numbers(path) < _numbers(Path(version("batchjobs") + ".json"))
    ]
    if not older:
        return {}
    told: dict[str, Any] = json.loads(max(older, key=_numbers).read_text()).get(part, {})
    return told


def _numbers(path: Path) -> tuple[int, ...]:
    return tuple(int(number) for number in path.stem.split(".") if number.isdigit())
