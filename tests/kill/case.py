"""One death: set the stage, kill the command, repeat it, bring the jobs to their end, and ask every oracle."""

import json
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from batchjobs.plan import ShardPlan
from batchjobs.purge import texts_left
from providers.emulator import Emulator
from tests.kill.forkserver import ForkServer
from tests.kill.place import DOCUMENTED, Place, Store
from tests.kill.scenes import Scene, Words

STOPPED = 4
CONSENT = "--rebuy-unknown"


@contextmanager
def staged(folder: Path, server: ForkServer, scene: Scene, provider: str, store: Store) -> Iterator[Place]:
    """The place of a scene, as it is before the command that is to be killed."""
    emulator = Emulator(
        seed=3,
        speed=1.0,
        batch_seconds=scene.batch_seconds,
        rates=scene.rates_of(provider),
        faults=scene.faults(provider),
        s3_endpoint=store.endpoint or None,
    )
    with emulator:
        place = Place(folder, emulator, provider, store, server, scene.settings)
        scene.before(place)
        yield place


def recorded(place: Place, scene: Scene) -> list[str]:
    """The points that the scene's command passes when nobody kills it, in order."""
    path = place.folder / "points"
    done = place.command(*scene.words(place), BATCHJOBS_RECORD_POINTS=str(path))
    assert done.code in DOCUMENTED, done
    return path.read_text().split() if path.exists() else []


def kill_at(place: Place, scene: Scene, point: str, nth: int) -> None:
    """Die at the nth passing of a point."""
    words = scene.words(place)
    place.killed_at(point, nth, *words)
    recover(place, scene, words)


def stop_at(place: Place, scene: Scene, point: str, name: str) -> None:
    """Be asked to stop, as by Ctrl-C, at the first passing of a point: the command says so and ends by itself."""
    words = scene.words(place)
    done = place.command(*words, BATCHJOBS_KILL_AT=f"{point}:1:{name}")
    assert done.code == STOPPED, done
    assert "goes on from here" in done.err
    assert "Traceback" not in done.err
    recover(place, scene, words)


def kill_after(place: Place, scene: Scene, seconds: float) -> bool:
    """Die at an instant, wherever the command is then; False when it was quicker."""
    words = scene.words(place)
    done = place.command(*words, kill_after=seconds)
    recover(place, scene, words)
    return done.code == -signal.SIGKILL


def recover(place: Place, scene: Scene, words: Words) -> None:
    """The same command again, then whatever ends the jobs, then the same command once more; everything must hold."""
    lost = {plan.id for plan in place.never_bought()}
    place.must(*words)
    if lost and CONSENT not in words:
        assert lost <= {plan.id for plan in place.never_bought()}, "bought again without a person's word"
    place.end_batches()
    given_up = place.never_bought()
    place.must("poll", "--watch", *_consent(place, given_up))
    _finished(place, scene)
    _paid_once(place, sum(plan.at_once for plan in given_up))
    batches = len(place.emulator.batches)
    place.must(*words)
    assert len(place.emulator.batches) == batches, "the same command bought something after the end"
    _proved(place)
    _nothing_left_behind(place)


def _consent(place: Place, lost: Sequence[ShardPlan]) -> list[str]:
    """A purchase that never arrived is held, and said; only a person's word buys it."""
    if not lost:
        return []
    held = place.must("poll", "--watch")
    assert held.code == 4
    assert CONSENT in json.dumps(held.document)
    assert place.never_bought() == lost
    return [CONSENT]


def _finished(place: Place, scene: Scene) -> None:
    for job in place.jobs():
        assert (job.state, job.in_flight) == (scene.state, 0)
        assert job.plan.items == job.succeeded + job.failed
        assert job.failed == 0 or job.cancelled


def _paid_once(place: Place, given_up: int) -> None:
    """But for answers that were to be had once, were lost, and were given up by a person's word."""
    assert sum(times - 1 for times in place.billed().values()) <= given_up, "a prompt was billed twice"
    assert max(place.purchases().values(), default=0) <= 1, "a shard was bought twice"


def _proved(place: Place) -> None:
    """The store proves itself, and DuckDB made anew from it is what the analysts have."""
    proof = place.command("verify")
    assert proof.code == 0, proof.out
    live = place.contents()
    assert place.command("rebuild").code == 0
    assert place.contents() == live


def _nothing_left_behind(place: Place) -> None:
    for job in place.jobs():
        rejects = place.folder / f"{job.id}.rejects.jsonl"
        if job.tombstone is not None:
            assert not rejects.exists()
            assert list(texts_left(place.store.opened(), job)) == []
        elif job.plan.rejects_key:
            assert len(rejects.read_text().splitlines()) == job.plan.rejected + job.plan.duplicates
    assert list(place.folder.rglob("spool-*")) == []
    assert list(place.folder.rglob("*.new")) == []
