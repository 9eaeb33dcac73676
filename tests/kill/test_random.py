"""SIGKILL at a few random instants of a run; the campaign takes hundreds."""

import random
import time
from pathlib import Path

import pytest

from tests.kill.case import kill_after, recorded, staged
from tests.kill.forkserver import ForkServer
from tests.kill.place import Store
from tests.kill.scenes import SCENES

RUN = next(scene for scene in SCENES if scene.name == "run")


@pytest.fixture(scope="module")
def length(tmp_path_factory: pytest.TempPathFactory, server: ForkServer) -> float:
    """Seconds that an undisturbed run takes here."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with staged(folder, server, RUN, "openai", Store(str(folder / "store"))) as place:
        began = time.monotonic()
        recorded(place, RUN)
        return time.monotonic() - began


@pytest.mark.parametrize("seed", range(4))
def test_killed_at_an_instant(seed: int, provider: str, length: float, tmp_path: Path, server: ForkServer):
    with staged(tmp_path, server, RUN, provider, Store(str(tmp_path / "store"))) as place:
        kill_after(place, RUN, random.Random(seed).uniform(0, length))
