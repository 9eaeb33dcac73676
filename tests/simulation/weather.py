"""What can go wrong, by name: armed beforehand, struck when the moment comes, counted when it did."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

START = datetime(2026, 11, 20, 22, tzinfo=UTC)

PROVIDER_FAULTS = (
    "stage-down",
    "create-refused-later",
    "create-refused-blocked",
    "create-refused-never",
    "create-unreached",
    "create-lost-before",  # the request never arrived, and we cannot know
    "create-lost-after",  # bought, and the reply never came
    "create-502-after",  # bought, and a gateway says it failed
    "create-arrives-late",  # bought minutes after the caller gave up
    "create-doubled",  # a gateway repeats our one request: two batches, one tag
    "listing-lags",
    "listing-repeats",
    "listing-reordered",
    "listing-down",
    "read-later",
    "read-blocked",
    "read-absent",
    "status-unknown-word",
    "status-backwards",
    "status-without-counts",
    "output-owed",
    "results-short",
    "results-cut",
    "results-empty",
    "results-shuffled",
    "results-break-off",
    "cancel-down",
)
ENDING_FAULTS = (  # what a batch suffers for good when it ends
    "lines-lost",
    "lines-twice",
    "lines-of-strangers",
    "lines-undecodable",
    "results-deleted",
    "batch-forgotten",
    "no-final-newline",
)
STORE_FAULTS = ("store-down", "store-lost-reply", "store-slow", "store-unreadable")
FAULTS = PROVIDER_FAULTS + ENDING_FAULTS + STORE_FAULTS


@dataclass(slots=True)
class Clock:
    """Virtual time; it moves when told to."""

    now: datetime = START

    def tick(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@dataclass(slots=True)
class Weather:
    """`strikes(kind)` is asked wherever a fault of that kind could happen, and uses up what was armed."""

    armed: Counter[str] = field(default_factory=Counter)
    fired: Counter[str] = field(default_factory=Counter)

    def arm(self, kind: str, times: int = 1) -> None:
        self.armed[kind] += times

    def strikes(self, kind: str) -> bool:
        if self.armed[kind] <= 0:
            return False
        self.armed[kind] -= 1
        self.fired[kind] += 1
        return True

    def calm(self) -> None:
        self.armed.clear()
