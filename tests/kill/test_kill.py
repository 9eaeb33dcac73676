"""SIGKILL at every fault point of every command: the same command again ends the night as if nothing had happened.

Here every effect of every command kills once, on one of its two sides; sides, providers and the first or last passing
take turns. The campaign (`python -m tests.kill.campaign`) kills at all points, with every provider, on every store.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from batchjobs.cli import cli
from batchjobs.shards import _EVENTS
from tests.kill.case import kill_at, staged
from tests.kill.forkserver import ForkServer
from tests.kill.place import Store
from tests.kill.points import known, record
from tests.kill.scenes import ELSEWHERE, ON_S3, READ_ONLY, SCENES, Scene

JOB_EVENTS = {"cancelled", "carried", "purged", "purging"}
EFFECTS = {
    "accepted", "cancel", "carried", "create", "delete", "forget", "merge", "outcomes", "plan", "publish", "raw",
    "rejects", "shards", "stage",
}  # fmt: skip
BY_NAME = {scene.name: scene for scene in SCENES}
Death = tuple[str, str, str, int]


def deaths() -> Iterator[Death]:
    """Every point of every command once, in the first scene that passes it."""
    seen: set[tuple[str, str]] = set()
    for scene in SCENES:
        for turn, point in enumerate(sorted({p for points in known()[scene.name].values() for p in points})):
            providers = [p for p in scene.providers if p not in ON_S3 and point in known()[scene.name][p]]
            if providers and (scene.verb, point) not in seen:
                seen.add((scene.verb, point))
                provider = providers[turn % len(providers)]
                yield scene.name, provider, point, known()[scene.name][provider][point] if turn // 2 % 2 else 1


def on_s3() -> Iterator[Death]:
    """A part of the points: the campaign takes them all."""
    yield from (("run", "openai", point, 1) for point in sorted(known()["run"]["openai"])[::4])
    for name in ("run", "run of too few for a batch"):
        yield from ((name, "bedrock", point, 1) for point in sorted(known()[name]["bedrock"])[::8])


def one_side() -> Iterator[Death]:
    """Of every effect the point before it or the point after it: they follow each other in the order of their names."""
    yield from (death for place, death in enumerate(deaths()) if place % 4 in (0, 3))


@pytest.mark.parametrize(("name", "provider", "point", "nth"), [*one_side()])
def test_killed_at(name: str, provider: str, point: str, nth: int, tmp_path: Path, server: ForkServer):
    with staged(tmp_path, server, BY_NAME[name], provider, Store(str(tmp_path / "store"))) as place:
        kill_at(place, BY_NAME[name], point, nth)


@pytest.mark.parametrize(("name", "provider", "point", "nth"), [*on_s3()])
def test_killed_at_on_s3(
    name: str, provider: str, point: str, nth: int, tmp_path: Path, server: ForkServer, s3_server: str, s3_url: str
):
    with staged(tmp_path, server, BY_NAME[name], provider, Store(s3_url, s3_server)) as place:
        kill_at(place, BY_NAME[name], point, nth)


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
def test_the_points_are_those_that_are_passed(scene: Scene, tmp_path: Path, server: ForkServer, s3_server: str):
    for provider in scene.providers:
        folder = tmp_path / provider
        folder.mkdir()
        assert record(folder, server, scene, provider, s3_server) == known()[scene.name][provider]


def test_every_effect_has_a_point_on_both_sides():
    for scene, by_provider in known().items():
        for points in by_provider.values():
            for point in points:
                effect, _, _ = point.rpartition(".")
                before, after = points.get(f"{effect}.before", 0), points.get(f"{effect}.after", 0)
                assert before >= after > 0, f"{scene}: {effect}"  # one that is refused has no other side


def test_every_kind_of_ledger_record_is_written_in_a_scene():
    points = {point for by_provider in known().values() for passed in by_provider.values() for point in passed}
    assert {f"ledger-{event}.before" for event in _EVENTS.keys() | JOB_EVENTS} <= points
    assert {f"{effect}.before" for effect in EFFECTS} <= points


def test_every_command_that_writes_is_killed_in_a_scene():
    assert {scene.verb for scene in SCENES} == cli.commands.keys() - READ_ONLY - ELSEWHERE
