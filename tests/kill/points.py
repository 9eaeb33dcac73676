"""The points that every scene passes, and how often: recorded, never listed by hand.

python -m tests.kill.points      records anew into points.json; a test fails where that lacks anything
"""

import json
import os
import tempfile
from collections import Counter
from pathlib import Path

from tests.kill.case import recorded, staged
from tests.kill.forkserver import ForkServer
from tests.kill.place import Store, in_bucket
from tests.kill.scenes import ON_S3, SCENES, Scene
from tests.storage.stores import CREDENTIALS, s3_serving

FILE = Path(__file__).with_name("points.json")
Points = dict[str, int]  # how often a command passes each point, in order of first passing


def known() -> dict[str, dict[str, Points]]:
    """By scene and provider."""
    points: dict[str, dict[str, Points]] = json.loads(FILE.read_text()) if FILE.exists() else {}
    return points


def record(folder: Path, server: ForkServer, scene: Scene, provider: str, s3: str) -> Points:
    """`s3` is the address of an S3 server, for the providers that need one."""
    store = in_bucket(s3) if provider in ON_S3 else Store(str(folder / "store"))
    with staged(folder, server, scene, provider, store) as place:
        return dict(Counter(recorded(place, scene)))


def _recorded_apart(server: ForkServer, scene: Scene, provider: str, s3: str) -> Points:
    with tempfile.TemporaryDirectory() as folder:
        return record(Path(folder), server, scene, provider, s3)


def main() -> None:
    """Record every scene."""
    found: dict[str, dict[str, Points]] = {}
    os.environ.update(CREDENTIALS)
    with tempfile.TemporaryDirectory() as own, ForkServer(Path(own)) as server, s3_serving(Path(own)) as s3:
        for scene in SCENES:
            found[scene.name] = {name: _recorded_apart(server, scene, name, s3) for name in scene.providers}
    FILE.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
