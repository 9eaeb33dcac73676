"""The long form: programs by the thousand on two processes, one JSON line at the end, and how to repeat a violation.

python -m tests.simulation.campaign --minutes 20 --programs 20000 --seed 1
"""

import argparse
import json
import multiprocessing
import sys
import time
import traceback
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field

import pyarrow as pa
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.simulation.machine import Simulation, Tally

PROCESSES = 2
CHUNK = 100  # programs with one seed
STEPS = 30


@dataclass(slots=True)
class Share:
    """What one process did: `violations` are the programs that broke a promise, as Hypothesis prints them."""

    tally: Tally = field(default_factory=Tally)
    violations: list[str] = field(default_factory=list)


def chunk(number: int, tally: Tally, *, shrink: bool = False) -> str:
    """All programs of one seed; the violation, if there is one, with the blob that repeats it."""
    program = type("Program", (Simulation,), {"tally": tally})
    rules = settings(
        max_examples=CHUNK,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        print_blob=True,
        phases=[Phase.generate, Phase.shrink] if shrink else [Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    try:
        run_state_machine_as_test(seed(number)(program), settings=rules)
    except BaseExceptionGroup as group:
        return f"seed {number}: " + "".join(traceback.format_exception(group))
    except AssertionError as error:
        return f"seed {number}: " + "".join(traceback.format_exception(error))
    return ""


def work(first: int, programs: int, until: float) -> Share:
    """One process: every second chunk from `first` on, until programs or time are used up, or a promise is broken."""
    pa.set_cpu_count(1)
    share, number = Share(), first
    while share.tally.programs < programs and time.time() < until and not share.violations:
        violation = chunk(number, share.tally)
        if violation:
            share.violations.append(violation)
        number += PROCESSES
    return share


def campaign(programs: int, minutes: float, first: int) -> dict[str, object]:
    """All processes; what they did together."""
    started = time.time()
    each, until = -(-programs // PROCESSES), started + 60 * minutes
    with ProcessPoolExecutor(PROCESSES, multiprocessing.get_context("spawn")) as pool:
        shares = list(
            pool.map(work, range(first, first + PROCESSES), [each] * PROCESSES, [until] * PROCESSES, chunksize=1)
        )
    for share in shares:
        for violation in share.violations:
            sys.stderr.write(f"{violation}\n")
    tallies = [share.tally for share in shares]
    return {
        "programs": sum(tally.programs for tally in tallies),
        "with_fault": sum(tally.with_fault for tally in tallies),
        "by_fault": dict(sorted(sum((tally.fired for tally in tallies), Counter[str]()).items())),
        "notes": dict(sorted(sum((tally.notes for tally in tallies), Counter[str]()).items())),
        "seed": first,
        "virtual_days": round(sum(tally.virtual_days for tally in tallies)),
        "seconds": round(time.time() - started, 1),
        "violations": sum(len(share.violations) for share in shares),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--programs", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--shrink", action="store_true", help="make the violation of this one seed small; takes minutes"
    )
    given = parser.parse_args()
    if given.shrink:
        violation = chunk(given.seed, Tally(), shrink=True)
        sys.stderr.write(violation)
        return 1 if violation else 0
    done = campaign(given.programs, given.minutes, given.seed)
    sys.stdout.write(f"{json.dumps(done)}\n")
    return 1 if done["violations"] else 0


if __name__ == "__main__":
    sys.exit(main())
