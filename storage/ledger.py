"""Append-only ledgers: numbered records, each an object created once, so that two writers never both take a step."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

import msgspec

from storage.content import is_sealed, sealed
from storage.contract import Damaged, ObjectStore
from storage.layout import ledger_key, ledger_prefix, ledgers_prefix


@dataclass(frozen=True, slots=True)
class Record:
    """One thing that happened; `number` counts from 1 within its ledger, `at` is in UTC."""

    number: int
    event: str
    at: datetime
    data: Mapping[str, Any]


class _Stored(msgspec.Struct):
    number: int
    event: str
    at: datetime
    by: str
    nonce: str
    data: dict[str, Any]
    of: str = ""  # job and ledger, so that a record in another's place is told apart; older ones do not say


_decoder = msgspec.json.Decoder(_Stored)


class Ledger:
    """One numbered history in a job. Its state is what its records say, in order."""

    def __init__(self, store: ObjectStore, job: str, name: str) -> None:
        self._store = store
        self._job = job
        self._name = name

    def records(self) -> list[Record]:
        """All records in order. Raises Damaged, naming the key, on a gap or on bytes that are not what was written."""
        keys = list(self._store.keys(ledger_prefix(self._job, self._name)))
        return _decode_all(self._job, self._name, [(key, self._store.read(key)) for key in keys])

    def append(self, after: int, event: str, data: Mapping[str, Any], at: datetime, by: str, nonce: str) -> Record:
        """Write record `after` + 1, durable when it returns. Raises Conflict when somebody else took that number.

        `by` names the writer; `nonce` makes its records its own: appending the same again is success, so that a lost
        answer can be asked for again. `data` holds JSON values: ids, counts, money, hashes; never item content.
        """
        number = after + 1
        stored = _Stored(number, event, at.astimezone(UTC), by, nonce, dict(data), _owner(self._job, self._name))
        key, raw = ledger_key(self._job, self._name, number), sealed(msgspec.json.encode(stored))
        self._store.create(key, raw)
        return _decode(key, stored.of, number, raw)


def read_ledgers(
    store: ObjectStore, job: str, damaged: dict[str, Damaged] | None = None, *, afresh: bool = False
) -> dict[str, list[Record]]:
    """Every ledger of a job by name, with one listing; `afresh` from the store itself and nothing else.

    A damaged one is left out and its error put into `damaged`; raises that error where no dict was given.
    """
    keys = list(store.keys(ledgers_prefix(job)))
    return decode_ledgers(job, keys, store.read_all(keys, afresh=afresh), damaged)


def decode_ledgers(
    job: str, keys: Sequence[str], found: Sequence[bytes], damaged: dict[str, Damaged] | None = None
) -> dict[str, list[Record]]:
    """The same from what was listed and read already."""
    prefix = ledgers_prefix(job)
    ledgers = {}
    for name, group in groupby(zip(keys, found, strict=True), lambda pair: _ledger_name(prefix, pair[0])):
        try:
            ledgers[name] = _decode_all(job, name, group)
        except Damaged as error:
            if damaged is None:
                raise
            damaged[name] = error
    return ledgers


def lengths(store: ObjectStore, job: str) -> Counter[str]:
    """How many records every ledger of a job has, for the price of one listing: who wrote since can be told by it."""
    prefix = ledgers_prefix(job)
    return Counter(_ledger_name(prefix, key) for key in store.keys(prefix))


def _ledger_name(prefix: str, key: str) -> str:
    return key[len(prefix) :].partition("/")[0]


def _decode_all(job: str, name: str, found: Iterable[tuple[str, bytes]]) -> list[Record]:
    prefix = ledger_prefix(job, name)
    records = []
    for number, (key, raw) in enumerate(found, start=1):
        if key != f"{prefix}{number:06d}.json":
            raise Damaged(
                f"{ledger_key(job, name, number)} should be where {key} is: a ledger record was lost or added"
            )
        records.append(_decode(key, _owner(job, name), number, raw))
    return records


def _owner(job: str, name: str) -> str:
    return f"{job}/{name}"


def _decode(key: str, owner: str, number: int, raw: bytes) -> Record:
    if not is_sealed(raw):
        raise Damaged(f"{key} is not what was written: its checksum does not fit its {len(raw)} bytes")
    try:
        stored = _decoder.decode(raw)
    except msgspec.MsgspecError as error:
        raise Damaged(f"{key} cannot be read as a ledger record: {error}") from error
    if stored.number != number or stored.of not in (owner, ""):
        raise Damaged(f"{key} holds record number {stored.number} of ledger {stored.of or owner}")
    return Record(stored.number, stored.event, stored.at, stored.data)
