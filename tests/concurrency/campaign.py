"""The long form: seeded random mixes of commands on one store at once, for as long as wanted.

    python -m tests.concurrency.campaign --minutes 30 --stores directory,s3-one,s3-two
    python -m tests.concurrency.campaign --minutes 5 --analyst OTHER_PYTHON     (an analyst with an older DuckDB client)

Every command is an interpreter of its own. Prints one JSON document at the end; what failed is in it, with its seed.
"""

import argparse
import json
import os
import random
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from providers.emulator import Emulator, Rates
from tests.concurrency.conftest import MACHINES
from tests.concurrency.kit import FINISHED, SOME_FAILED, Plant, complaints
from tests.storage.stores import BUCKET, CREDENTIALS, s3_serving

WAVES = 4
TOGETHER = (2, 4)
ITEMS = 12
INPUTS = ("north", "south", "west")


@dataclass
class Tally:
    rounds: int = 0
    processes: int = 0
    looks: int = 0  # by analysts
    replaced: int = 0  # connections thrown away because a file was published while they were made
    stores: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0


@contextmanager
def plant_of(kind: str, dice: random.Random) -> Iterator[Plant]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        store = str(folder / "store") if kind == "directory" else f"s3://{BUCKET}/{uuid.uuid4().hex}"
        rates = Rates(transient=dice.choice([0.0, 0.2]), permanent=dice.choice([0.0, 0.1]))
        settings = {"seed": dice.randrange(10**6), "batch_seconds": dice.choice([0.05, 0.3, 2.0])}
        emulator = stack.enter_context(Emulator(speed=1.0, rates=rates, **settings))
        yield Plant(emulator, store, folder, dice.choice(["openai", "anthropic"]), MACHINES[kind])


def some_command(plant: Plant, dice: random.Random, jobs: list[str]) -> list[str]:
    """Any command; those about a job are drawn only once there is one."""
    source = str(plant.folder / f"{dice.choice(INPUTS)}.jsonl")
    whole = [["run", source, "--deadline", "60s"], ["submit", source], ["poll"], ["collect"], ["status"], ["verify"]]
    about = ["poll", "collect", "status", "failures", "report", "retry", "verify", "cancel"]
    weights = [1.0] * (len(about) - 1) + [0.2]
    named = [dice.choices(about, weights)[0], dice.choice(jobs)]
    return named if dice.random() < 0.5 else dice.choice([*whole, ["rebuild"]])


def one_round(kind: str, seed: int, analyst: str, tally: Tally) -> list[str]:
    dice = random.Random(seed)
    with plant_of(kind, dice) as plant:
        for name in INPUTS:
            plant.write(name, ITEMS)
        first = plant.do("run", str(plant.folder / f"{INPUTS[0]}.jsonl"), "--deadline", "60s")
        with plant.analysts(python=analyst) as seen:
            for _ in range(WAVES):
                jobs = list(plant.jobs())
                commands = [some_command(plant, dice, jobs) for _ in range(dice.choice(TOGETHER))]
                plant.together(*((dice.randrange(plant.machines), command) for command in commands))
        wrong = complaints(seen) + ends(plant) + plant.faults()
        tally.processes += len(plant.commands)
        tally.looks += sum(one["looks"] for one in seen)
        tally.replaced += sum(one.get("replaced", 0) for one in seen)
        return [f"first run: {first.done.err}"] * (first.done.code not in (FINISHED, SOME_FAILED)) + wrong


def ends(plant: Plant) -> list[str]:
    """What does not come to an end when every input is run once more; jobs of one machine may wait for another's."""
    codes = [plant.do("run", str(plant.folder / f"{name}.jsonl"), "--deadline", "60s").done.code for name in INPUTS]
    return [f"a run ended with {code}" for code in codes if code not in (FINISHED, SOME_FAILED)]


def campaign(minutes: float, stores: list[str], seed: int, analyst: str) -> Tally:
    tally, started = Tally(), time.monotonic()
    while time.monotonic() < started + minutes * 60:
        kind = stores[tally.rounds % len(stores)]
        wrong = one_round(kind, seed + tally.rounds, analyst, tally)
        tally.failures += [f"{kind}, seed {seed + tally.rounds}: {one}" for one in wrong]
        tally.rounds += 1
        tally.stores[kind] = tally.stores.get(kind, 0) + 1
    tally.seconds = round(time.monotonic() - started, 1)
    return tally


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--minutes", type=float, default=5.0)
    arguments.add_argument("--stores", default=",".join(MACHINES))
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--analyst", default=sys.executable, help="the interpreter of the analysts")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder, s3_serving(Path(folder)) as endpoint:
        os.environ.update(CREDENTIALS | {"AWS_ENDPOINT_URL_S3": endpoint})
        tally = campaign(given.minutes, given.stores.split(","), given.seed, given.analyst)
    sys.stdout.write(json.dumps(asdict(tally)) + "\n")
    return 1 if tally.failures else 0


if __name__ == "__main__":
    sys.exit(main())
