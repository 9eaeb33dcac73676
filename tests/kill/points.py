"""The points that every scene passes, and how often: recorded, never listed by hand.

python -m tests.kill.points      records anew into points.json; a test fails where that lacks anything
"""

import json
import tempfile
from collections import Counter
from pathlib import Path

from tests.kill.case import recorded, staged
from tests.kill.forkserver import ForkServer
from tests.kill.place import Store
from tests.kill.scenes import SCENES, Scene

FILE = Path(__file__).with_name("points.json")
Points = dict[str, int]  # how often a command passes each point, in order of first passing


def known() -> dict[str, dict[str, Points]]:
    """By scene and provider."""
    points: dict[str, dict[str, Points]] = json.loads(FILE.read_text()) if FILE.exists() else {}
    return points


def record(folder: Path, server: ForkServer, scene: Scene, provider: str) -> Points:
    with staged(folder, server, scene, provider, Store(str(folder / "store"))) as place:
        return dict(Counter(recorded(place, scene)))


def _recorded_apart(server: ForkServer, scene: Scene, provider: str) -> Points:
    with tempfile.TemporaryDirectory() as folder:
        return record(Path(folder), server, scene, provider)


def main() -> None:
    """Record every scene."""
    found: dict[str, dict[str, Points]] = {}
    with tempfile.TemporaryDirectory() as own, ForkServer(Path(own)) as server:
        for scene in SCENES:
            found[scene.name] = {provider: _recorded_apart(server, scene, provider) for provider in scene.providers}
    FILE.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
