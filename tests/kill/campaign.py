"""The whole matrix: every point of every scene, on every store, with every provider, and kills at random instants.

    python -m tests.kill.campaign --stores directory,ministack,ceph --providers openai,anthropic --minutes 60

Prints one JSON line at the end and exits with 1 if anything did not hold. A store that is asked for and cannot be
started is an error. Every point comes first, on every store with every provider; then every point of every command, of
every scene, and the other passings: where the minutes end before the matrix, the line says how much was tried of each.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.kill.case import kill_after, kill_at, recorded, staged
from tests.kill.forkserver import ForkServer
from tests.kill.place import Store, in_bucket
from tests.kill.points import known
from tests.kill.scenes import ALL, ON_S3, SCENES, Scene
from tests.storage.stores import BUCKET, CREDENTIALS, s3_client, s3_serving

CEPH = Path(__file__).with_name("ceph.sh")
CEPH_ENDPOINT = "http://127.0.0.1:7480"
BREADTHS = (
    "random instants",
    "every point × store × provider",
    "every command × point × store × provider",
    "every scene × point × store × provider",
    "later passings",
)


@dataclass(frozen=True)
class Death:
    """One case. `nth` 0 is a random instant, `share` of the length of an undisturbed command; a place in BREADTHS."""

    kind: str
    scene: Scene
    provider: str
    point: str
    nth: int
    share: float = 0.0
    breadth: int = 0

    def __str__(self) -> str:
        where = f"{self.point}:{self.nth}" if self.nth else f"{self.share:.3f} of its length"
        return f"{self.scene.name} at {where} ({self.kind}, {self.provider})"


@dataclass
class Campaign:
    """What is tried by all workers, and what came of it."""

    makers: dict[str, Callable[[Path], Store]]
    until: float
    folder: Path
    own: threading.local = field(default_factory=threading.local)
    stack: ExitStack = field(default_factory=ExitStack)
    lengths: dict[tuple[str, str, str], float] = field(default_factory=dict)
    tried: list[Death] = field(default_factory=list)
    killed: list[Death] = field(default_factory=list)
    failures: list[dict[str, str]] = field(default_factory=list)

    def try_one(self, death: Death) -> None:
        if time.monotonic() >= self.until:
            return
        self.tried.append(death)
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            try:
                died = self._die(death, Path(folder))
            except Exception as error:  # noqa: BLE001 -- whatever went wrong is a finding, and the others go on
                where = traceback.format_exception(error)[-2].strip().splitlines()[0]
                self.failures.append({"case": str(death), "error": str(error)[:2000], "where": where})
                print(f"FAILED {death}: {error!s:.300}", file=sys.stderr, flush=True)  # noqa: T201
            else:
                self.killed += [death] * died

    def _die(self, death: Death, folder: Path) -> bool:
        with self._staged(death, folder / "one") as place:
            if death.nth:
                kill_at(place, death.scene, death.point, death.nth)
                return True
            return kill_after(place, death.scene, death.share * self._length(death, folder / "undisturbed"))

    def _length(self, death: Death, folder: Path) -> float:
        """Seconds that the scene's command takes here when nobody kills it; measured once."""
        key = (death.kind, death.scene.name, death.provider)
        if key not in self.lengths:
            with self._staged(death, folder) as place:
                began = time.monotonic()
                recorded(place, death.scene)
                self.lengths[key] = time.monotonic() - began
        return self.lengths[key]

    @contextmanager
    def _staged(self, death: Death, folder: Path) -> Iterator[Any]:
        folder.mkdir()
        store = self.makers[death.kind](folder)
        with staged(folder, self._server(), death.scene, death.provider, store) as place:
            yield place

    def _server(self) -> ForkServer:
        """Each worker has its own."""
        if not hasattr(self.own, "server"):
            folder = Path(tempfile.mkdtemp(dir=self.folder))
            self.own.server = self.stack.enter_context(ForkServer(folder))
        server: ForkServer = self.own.server
        return server


def deaths(
    kinds: Sequence[str], providers: Sequence[str], verbs: Sequence[str], instants: int, seed: int
) -> list[Death]:
    """The matrix, the broadest first and otherwise in a seeded order: the first, second and last passing of each."""
    dice = random.Random(seed)
    cases = [
        Death(kind, scene, provider, point, nth)
        for kind in kinds
        for scene in SCENES
        for provider in scene.providers
        if kind != "directory" or provider not in ON_S3
        for point, times in known()[scene.name][provider].items()
        for nth in sorted({1, min(2, times), times})
    ]
    cases += [_random_death(dice, kinds) for _ in range(instants)]
    chosen = [case for case in cases if case.provider in providers and (not verbs or case.scene.verb in verbs)]
    dice.shuffle(chosen)
    return sorted(_with_breadths(chosen), key=lambda case: case.breadth)


def _with_breadths(cases: Sequence[Death]) -> Iterator[Death]:
    """The first case of a cell of store, provider and point is broader than the second, which is another command's."""
    seen: set[tuple[str, ...]] = set()
    for case in cases:
        cell = (case.kind, case.provider, case.point)
        cells = (cell, (*cell, case.scene.verb))
        finer = [place for place, one in enumerate(cells, 1) if one not in seen]
        breadth = 0 if not case.nth else len(BREADTHS) - 1 if case.nth > 1 else min(finer, default=3)
        seen.update(cells if 0 < breadth < len(BREADTHS) - 1 else ())
        yield replace(case, breadth=breadth)


def _within(breadth: int, cases: Sequence[Death]) -> int:
    """Each breadth holds the ones before it, but for the random instants."""
    return sum(min(breadth, 1) <= case.breadth <= breadth for case in cases)


def _random_death(dice: random.Random, kinds: Sequence[str]) -> Death:
    kind = dice.choice(kinds)
    scene, provider = dice.choice(
        [(s, p) for s in SCENES for p in s.providers if kind != "directory" or p not in ON_S3]
    )
    return Death(kind, scene, provider, "", 0, dice.random())


@contextmanager
def started(kind: str, folder: Path) -> Iterator[Callable[[Path], Store]]:
    """A store server, and a function that makes an empty store in it. Raises when the server is not installed."""
    if kind == "directory":
        yield lambda place: Store(str(place / "store"))
    elif kind == "ministack":
        with s3_serving(folder) as endpoint:
            yield lambda _place: in_bucket(endpoint)
    elif kind == "ceph":
        with _ceph(folder) as endpoint:
            yield lambda _place: in_bucket(endpoint)
    else:
        raise SystemExit(f"There is no store {kind!r}: name directory, ministack or ceph.")


@contextmanager
def _ceph(folder: Path) -> Iterator[str]:
    try:
        subprocess.run([CEPH, "start", folder], check=True)
        s3_client(CEPH_ENDPOINT).create_bucket(Bucket=BUCKET)
        yield CEPH_ENDPOINT
    finally:
        subprocess.run([CEPH, "stop", folder], check=True)


def run(asked: argparse.Namespace) -> dict[str, Any]:
    """Try everything that was asked for; what came of it as one document."""
    began = time.monotonic()
    os.environ.update(CREDENTIALS)  # the emulated Bedrock goes to S3 as we do
    kinds, providers = asked.stores.split(","), asked.providers.split(",")
    verbs = asked.verbs.split(",") if asked.verbs else []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        makers = {}
        for kind in kinds:
            (folder / kind).mkdir()
            makers[kind] = stack.enter_context(started(kind, folder / kind))
        campaign = Campaign(makers, began + asked.minutes * 60, folder, stack=stack)
        cases = deaths(kinds, providers, verbs, asked.random, asked.seed)
        with ThreadPoolExecutor(asked.workers) as workers:
            try:
                for _ in workers.map(campaign.try_one, cases):
                    pass
            finally:
                campaign.until = 0.0  # nothing new after Ctrl-C
    tried = campaign.tried
    return {
        "cases": len(tried),
        "tried_of_planned": {
            name: [_within(place, some) for some in (tried, cases)] for place, name in enumerate(BREADTHS)
        },
        "killed": len(campaign.killed),
        "stores": sorted({case.kind for case in tried}),
        "providers": sorted({case.provider for case in tried}),
        "verbs": sorted({case.scene.verb for case in tried}),
        "scenes": len({case.scene.name for case in tried}),
        "points": len({case.point for case in tried if case.nth}),
        "random": sum(not case.nth for case in tried),
        "seed": asked.seed,
        "failures": campaign.failures,
        "seconds": round(time.monotonic() - began),
    }


def main() -> None:
    """Read what is asked for, try it, say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stores", default="directory", help="directory, ministack, ceph; several with commas")
    parser.add_argument("--providers", default=",".join(ALL))
    parser.add_argument("--verbs", default="", help="only these commands")
    parser.add_argument("--minutes", type=float, default=1e6, help="take no new case after this long")
    parser.add_argument("--random", type=int, default=0, metavar="N", help="besides, N kills at random instants")
    parser.add_argument("--seed", type=int, default=int(os.environ.get("CAMPAIGN_SEED", "1")))
    parser.add_argument("--workers", type=int, default=2)
    document = run(parser.parse_args())
    print(json.dumps(document))  # noqa: T201
    sys.exit(1 if document["failures"] else 0)


if __name__ == "__main__":
    main()
