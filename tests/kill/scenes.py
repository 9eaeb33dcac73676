"""The scenes in which commands are killed: for each, what was before, and the command that dies.

A command that is in no scene and not named as one that only reads fails a test; so does a kind of ledger record that no
scene writes. A new command that writes comes in as one more line of `SCENES`.
"""

import json
import shutil
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from providers.emulator import Fault, Rates
from tests.kill.place import CREATE, HOUR_S, Place
from tests.world import documents

READ_ONLY = {"status", "report", "providers"}  # from the ledgers, or from nothing; nothing is written
ELSEWHERE = {"rehearse"}  # is `run`
SOME_FAIL = Rates(transient=0.3)  # so that there is something to retry
BOTH = ("openai", "anthropic")
ALL = (*BOTH, "bedrock")
ON_S3 = ("bedrock",)  # these need their store there
Words = tuple[str, ...]


def _nothing(_place: Place) -> None:
    """The store is empty."""


def _no_faults(_provider: str) -> list[Fault]:
    return []


@dataclass(frozen=True)
class Scene:
    """`before` sets the stage; `victim` is the command that is killed there, INPUT and JOB standing for the place's.

    `batch_seconds` is how long the emulator's batches take until the command has been killed and repeated.
    """

    name: str  # begins with the command
    victim: Words
    before: Callable[[Place], None] = _nothing
    providers: tuple[str, ...] = BOTH
    batch_seconds: float = HOUR_S
    rates: Rates = SOME_FAIL
    faults: Callable[[str], list[Fault]] = _no_faults
    settings: Mapping[str, str] = field(default_factory=dict)
    state: str = "finished"  # of every job in the end

    def rates_of(self, provider: str) -> Rates:
        """Bedrock's batches are large, and what failed there is answered one by one."""
        return replace(self.rates, transient=self.rates.transient / 20) if provider == "bedrock" else self.rates

    @property
    def verb(self) -> str:
        return self.victim[0]

    def words(self, place: Place) -> Words:
        given = {"INPUT": place.items, "JOB": lambda: place.jobs()[-1].id}
        return tuple(given[word]() if word in given else word for word in self.victim)


def _few(place: Place) -> None:
    """The store is empty, and the input short."""
    place.few = True


def _bought(place: Place) -> None:
    place.must("submit", place.items())


def _half_done(place: Place) -> None:
    _bought(place)
    place.emulator.advance(HOUR_S / 2)


def _ended(place: Place) -> None:
    _bought(place)
    place.emulator.advance(HOUR_S)


def _answer_lost(place: Place) -> None:
    """One shard bought, one bought without a record of it, one waiting."""
    place.killed_at("create.after", 2, "submit", place.items())
    place.emulator.advance(HOUR_S / 2)


def _never_arrived(place: Place) -> None:
    """One shard bought, one meant to be bought, one waiting."""
    place.killed_at("create.before", 2, "submit", place.items())


def _another_job(place: Place) -> None:
    """Half of the items are in flight in a job of their own."""
    place.must("submit", place.items("others.jsonl", documents(5)))


def _finished(place: Place) -> None:
    place.emulator.batch_seconds = 0.0
    place.must("run", place.items())


def _some_failed(place: Place) -> None:
    _finished(place)
    place.emulator.batch_seconds = HOUR_S


def _raw_copy_lost(place: Place) -> None:
    """Fetched, and gone from the store before it was read."""
    _ended(place)
    place.killed_at("ledger-fetched.after", 1, "collect")
    [key] = [file["key"] for shard in place.jobs()[0].shards for file in shard.files if file["kind"] == "output"]
    place.store.opened().delete(key)


def _outcomes_damaged(place: Place) -> None:
    """Settled with something to try again, and other bytes in the store before that was planned."""
    _ended(place)
    place.killed_at("ledger-retried.before", 1, "collect")
    [job] = place.jobs()
    [key] = [shard.settlement["outcomes_key"] for shard in job.shards if job.retry_due(shard)]
    place.store.opened().delete(key)
    place.store.opened().create(key, b"other bytes")


def _one_collected(place: Place) -> None:
    """Answers of one attempt in the database, another attempt waiting."""
    _ended(place)
    place.must("collect")


def _database_lost(place: Place) -> None:
    _finished(place)
    shutil.rmtree(place.folder / "state")


def _stranger_adopted(place: Place) -> None:
    """A purchase that never arrived, and in its place a batch of its size that somebody else made."""
    place.killed_at("create.before", 1, "submit", place.items())
    prompts = [[{"role": "user", "content": f"Not ours, {n}."}] for n in range(4)]
    model = {"model": "claude-haiku-4-5", "max_tokens": 16}
    theirs = {
        "requests": [{"custom_id": f"theirs-{n}", "params": model | {"messages": m}} for n, m in enumerate(prompts)]
    }
    headers = {"content-type": "application/json", "x-api-key": "theirs", "anthropic-version": "2023-06-01"}
    url = f"{place.emulator.url}/v1/messages/batches"
    request = urllib.request.Request(url, json.dumps(theirs).encode(), headers)
    with urllib.request.urlopen(request):
        place.must("submit", place.items())
    place.emulator.advance(HOUR_S)


def _refused(provider: str) -> list[Fault]:
    return [Fault(action="status", route=CREATE[provider], nth=2, status=429, retry_after="ms:10")]


def _queue_full(provider: str) -> list[Fault]:
    message = "Enqueued token limit reached. Limit: 2,000 enqueued tokens."
    return [Fault(action="reject", route=CREATE[provider], nth=2, code="token_limit_exceeded", message=message)]


SCENES = [
    Scene("run", ("run", "INPUT"), _nothing, ALL, batch_seconds=0.0),
    Scene("run of too few for a batch", ("run", "INPUT"), _few, ON_S3, 0.0),
    Scene("run when one purchase is refused", ("run", "INPUT"), batch_seconds=0.0, faults=_refused),
    Scene("run when the queue is full", ("run", "INPUT"), _nothing, ("openai",), 0.0, faults=_queue_full),
    Scene("run beside another job", ("run", "INPUT"), _another_job, batch_seconds=0.0),
    Scene("submit", ("submit", "INPUT"), _nothing, ALL),
    Scene("poll of batches under way", ("poll",), _half_done),
    Scene("poll after a lost answer", ("poll",), _answer_lost, ALL),
    Scene("poll that buys again", ("poll", "--rebuy-unknown"), _never_arrived),
    Scene("poll that looks in vain", ("poll",), _never_arrived, settings={"BATCHJOBS_GRACE": "0.04"}),
    Scene("collect", ("collect",), _ended, ALL),
    Scene("collect of a stranger's batch", ("collect",), _stranger_adopted, ("anthropic",)),
    Scene("collect after a raw copy was lost", ("collect",), _raw_copy_lost),
    Scene("collect after outcomes were damaged", ("collect",), _outcomes_damaged),
    Scene("retry", ("retry", "JOB"), _some_failed, settings={"BATCHJOBS_MAX_ATTEMPTS": "1"}),
    Scene("cancel", ("cancel", "JOB"), _answer_lost, ALL, state="cancelled"),
    Scene("purge", ("purge", "JOB", "--yes"), _finished, ALL, state="purged"),
    Scene("rebuild", ("rebuild",), _one_collected),
    Scene("failures without a database", ("failures", "JOB"), _database_lost),
    Scene("verify without a database", ("verify",), _database_lost),
    Scene("doctor", ("doctor",)),
]
