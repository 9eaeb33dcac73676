"""Checking what a night rests on, before money is spent: task, key, provider, store, clock, disk, DuckDB."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from importlib.metadata import version
from pathlib import Path
from threading import Barrier
from typing import Any, Literal
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import providers
from batchjobs.catalogue import batch_words
from batchjobs.desk import Desk, need_sdk
from batchjobs.errors import Unreachable, UsageError
from batchjobs.project import open_results
from batchjobs.submit import resolve
from providers.contract import ShardFile, Tag, Unavailable
from storage.contract import Conflict, ObjectStore, StorageError
from storage.layout import doctor_key, doctor_prefix

WRITERS = 16
ROUNDS = 5  # of writing, reading and listing
SKEW_MAX = timedelta(minutes=3)  # RELIABILITY §4.3
FREE_BYTES_MIN = 1_000_000_000
TIMEOUT_S = 10.0

State = Literal["ok", "failed", "not checked"]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at. `exit_code` is what the command ends with where it failed."""

    name: str
    state: State
    detail: str
    exit_code: int = Unreachable.exit_code


class _Failed(Exception):
    """A promise was not kept; the text says which, and what to do."""


def examine(desk: Desk, free_bytes: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free) -> list[Check]:
    """Every check, in the order of a night. Buys nothing; what it writes into the store it deletes again."""
    return [
        Check("settings", "ok", f"store {desk.store.url}, results {desk.results_path}"),
        _task(desk),
        *_limits(desk),
        *_provider(desk),
        _clock(desk),
        *_store(desk.store, desk.env.new_id()),
        *_space(desk, free_bytes),
        _database(desk),
    ]


def exit_code(checks: Sequence[Check]) -> int:
    """What is wrong with the settings comes first: it can be the cause of the rest."""
    return min((check.exit_code for check in checks if check.state == "failed"), default=0)


def document(checks: Sequence[Check]) -> dict[str, Any]:
    """The JSON document of `doctor`."""
    listed = [{"name": check.name, "state": check.state, "detail": check.detail} for check in checks]
    return {"state": "failed" if exit_code(checks) else "ok", "checks": listed}


def lines(checks: Sequence[Check]) -> list[str]:
    """One line a check."""
    return [f"{check.state:<12} {check.name:<18} {check.detail}" for check in checks]


def _task(desk: Desk) -> Check:
    try:
        order = resolve(desk.settings, "-", None, desk)
    except UsageError as error:
        return Check("task", "failed", str(error), UsageError.exit_code)
    return Check("task", "ok", f"{order.task.name} {order.task.version}, {order.provider} {order.template.model}")


def _limits(desk: Desk) -> Iterator[Check]:
    """What the provider takes, and whether the settings stay within it."""
    settings = desk.settings
    try:
        made = providers.load_format(settings.provider, settings.endpoint, settings.compatible)
        providers.check_options(settings.provider, settings.options_of(settings.provider))
    except ValueError as error:
        yield Check("limits", "failed", str(error), UsageError.exit_code)
        return
    found = providers.measure(made, _model(desk), settings.options_of(settings.provider))
    limits = found.limits
    asked = {"shard_requests": (settings.shard_requests, limits.requests)}
    asked["shard_bytes"] = (settings.shard_bytes, limits.bytes)
    for name, (wanted, most) in asked.items():
        if wanted is not None and wanted > most:
            text = f"{name} is {wanted:,}, and {settings.provider} takes {most:,} a batch: lower it, or leave it out"
            yield Check("limits", "failed", text, UsageError.exit_code)
            return
    yield Check("limits", "ok", f"a batch of {settings.provider}: {batch_words(limits)}: {found.source}")


def _model(desk: Desk) -> str:
    """The model's name, or "" where a wrong setting leaves it open; that is told by another check."""
    try:
        return resolve(desk.settings, "-", None, desk).template.model
    except UsageError:
        return desk.settings.model or ""


def _provider(desk: Desk) -> Iterator[Check]:
    """Ask for a batch that cannot be: the cheapest read that takes a key."""
    name, endpoint = desk.settings.provider, desk.settings.endpoint or ""
    nobody = ShardFile(Path(), url="", requests=-1, model="", id_prefix="doctor-")
    try:
        need_sdk(name)
        provider = providers.connect(name, endpoint, sleep=desk.env.sleep, switches=desk.settings.compatible)
    except UsageError as error:
        yield Check("key", "failed", str(error), UsageError.exit_code)
        return
    except ValueError as error:
        yield Check("key", "not checked", str(error))
        return
    except Unavailable as error:
        yield Check("key", "failed", str(error))
        return
    host = providers.served_by(name, desk.settings.compatible)
    try:
        provider.find(nobody, Tag("doctor", "doctor", 1), desk.env.now())
    except Unavailable as error:
        if error.kind == "blocked":
            yield Check("key", "failed", f"{error} Check the key, and that {host} is the right address.")
            yield Check("provider", "ok", f"{host} answers")
        else:
            yield Check("key", "not checked", f"{host} gives no answer")
            yield Check("provider", "failed", f"{error} Check the network and the address {host}.")
        return
    finally:
        provider.close()
    yield Check("key", "ok", f"{name} takes it")
    yield Check("provider", "ok", f"{host} answers")


def _clock(desk: Desk) -> Check:
    """Against the Date header of the provider, whose batches are told apart by their time (PROVIDERS §8)."""
    try:
        theirs = _date(providers.address(desk.settings.provider, desk.settings.compatible))
    except (OSError, HTTPException, ValueError):
        theirs = None
    if theirs is None:
        return Check("clock", "not checked", "the provider sends no date")
    skew = abs(desk.env.now() - theirs)
    if skew > SKEW_MAX:
        return Check("clock", "failed", f"{skew} away from the provider's: set this machine's clock, by NTP")
    return Check("clock", "ok", f"{skew.total_seconds():.0f} s from the provider's")


def _date(url: str) -> datetime | None:
    """The time at a server, which any answer of it tells."""
    request = Request(url, method="HEAD")  # noqa: S310 (the address the SDK talks to)
    try:
        with urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310
            date = answer.headers["Date"]
    except HTTPError as error:
        date = error.headers["Date"]
        error.close()
    return parsedate_to_datetime(date) if date else None


def _store(store: ObjectStore, probe: str) -> Iterator[Check]:
    """What the pipeline rests on: whoever creates first has created, and everybody sees it at once."""
    broken = ""
    for name, look in _LOOKS.items():
        if broken:
            yield Check(name, "not checked", f"because of {broken}")
            continue
        try:
            yield Check(name, "ok", look(store, probe))
        except (_Failed, StorageError) as error:
            yield Check(name, "failed", str(error))
            broken = name if name == "store writable" else ""
    yield Check("store clean", "ok", _cleaned(store, probe))


def _writable(store: ObjectStore, probe: str) -> str:
    store.create(doctor_key(probe, "writable"), probe.encode())
    return store.url


def _create_once(store: ObjectStore, probe: str) -> str:
    """A race, then a late comer, then our own write once more, as after a lost answer."""
    key = doctor_key(probe, "race")
    texts = [f"writer {number} of {probe}".encode() for number in range(WRITERS)]
    start = Barrier(WRITERS)

    def create(text: bytes) -> bool:
        start.wait()
        try:
            store.create(key, text)
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(WRITERS) as pool:
        won = [text for text, first in zip(texts, pool.map(create, texts), strict=True) if first]
    if len(won) != 1:
        raise _Failed(
            f"{len(won)} of {WRITERS} writers racing for one new key were told that they created it: {store.url} does "
            "not keep put-if-absent (If-None-Match: *), and a shard could be bought twice; use another store"
        )
    if store.read(key) != won[0]:
        raise _Failed(f"{key} does not hold what its only creator wrote: {store.url} cannot be used; use another store")
    store.create(key, won[0])
    return f"{WRITERS} writers raced for a key, one won"


def _read_after_write(store: ObjectStore, probe: str) -> str:
    for number in range(ROUNDS):
        key, text = doctor_key(probe, f"read-{number}"), f"{number} of {probe}".encode()
        store.create(key, text)
        if store.read(key) != text:
            raise _Failed(f"{key} reads other than it was written a moment ago: use a store that is consistent")
    return f"{ROUNDS} of {ROUNDS} at once"


def _list_after_write(store: ObjectStore, probe: str) -> str:
    for number in range(ROUNDS):
        key = doctor_key(probe, f"list-{number}")
        store.create(key, b"listed")
        if key not in store.keys(doctor_prefix(probe)) or probe not in store.children(doctor_prefix()):
            raise _Failed(f"{key} is not listed right after it was written: use a store that is consistent")
    return f"{ROUNDS} of {ROUNDS} at once"


_LOOKS: dict[str, Callable[[ObjectStore, str], str]] = {
    "store writable": _writable,
    "create once": _create_once,
    "read after write": _read_after_write,
    "list after write": _list_after_write,
}


def _cleaned(store: ObjectStore, probe: str) -> str:
    """An account without the right to delete is a good account for a night: what stays is for `purge`."""
    prefix = doctor_prefix(probe)
    try:
        for key in list(store.keys(prefix)):
            store.delete(key)
        left = len(list(store.keys(prefix)))
    except StorageError as error:
        return f"test objects stay below {prefix} ({error})"
    return f"{left} test objects stay below {prefix}" if left else "no test object stays"


def _space(desk: Desk, free_bytes: Callable[[Path], int]) -> Iterator[Check]:
    places = {"disk of the state": desk.state_dir}
    if not desk.settings.store.startswith("s3://"):
        places["disk of the store"] = Path(desk.store.url)
    for name, folder in places.items():
        free = free_bytes(folder)
        fact = f"{free / 1e9:,.1f} GB free in {folder}"
        if free < FREE_BYTES_MIN:
            yield Check(name, "failed", f"{fact}: free some space, at least {FREE_BYTES_MIN / 1e9:.0f} GB")
        else:
            yield Check(name, "ok", fact)


def _database(desk: Desk) -> Check:
    try:
        with desk.exclusive("an examination"), open_results(desk) as results:
            aside = f"; what could not be read lies in {results.set_aside}" if results.set_aside else ""
    except StorageError as error:
        return Check("duckdb", "failed", str(error))
    return Check("duckdb", "ok", f"version {version('duckdb')}, {desk.database} opens{aside}")
