"""Append-only ledgers: one winner for each number, and damage has a name."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from storage.contract import Conflict, Damaged
from storage.directory import DirectoryStore
from storage.layout import ledger_key
from storage.ledger import Ledger, Record, read_ledgers

AT = datetime(2026, 11, 21, 2, 30, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path)


@pytest.fixture
def ledger(store: DirectoryStore) -> Ledger:
    return Ledger(store, "night", "1-00001")


def append(ledger: Ledger, after: int, event: str = "sent", nonce: str = "a", **data: object) -> Record:
    return ledger.append(after, event, data, AT, by="host/1", nonce=nonce)


def path_of(tmp_path: Path, number: int) -> Path:
    return tmp_path / ledger_key("night", "1-00001", number)


def test_a_new_ledger_is_empty(ledger: Ledger) -> None:
    assert ledger.records() == []


def test_records_come_back_as_they_were_appended(ledger: Ledger) -> None:
    written = [append(ledger, 0, "intent", tag="night/1-00001/1"), append(ledger, 1, ref="batch_7", tokens=12)]
    assert ledger.records() == written
    assert written[1] == Record(2, "sent", AT, {"ref": "batch_7", "tokens": 12})


def test_a_number_somebody_else_took_is_a_conflict(ledger: Ledger) -> None:
    append(ledger, 0, nonce="a")
    with pytest.raises(Conflict, match=r"ledger/1-00001/000001\.json"):
        append(ledger, 0, nonce="b")


def test_appending_the_same_record_again_is_success(ledger: Ledger) -> None:
    assert append(ledger, 0) == append(ledger, 0)
    assert len(ledger.records()) == 1


def test_a_lost_record_is_damage(ledger: Ledger, tmp_path: Path) -> None:
    for after in range(3):
        append(ledger, after)
    path_of(tmp_path, 2).unlink()
    with pytest.raises(Damaged, match=r"000002\.json"):
        ledger.records()


def test_a_foreign_object_among_the_records_is_damage(ledger: Ledger, store: DirectoryStore) -> None:
    append(ledger, 0)
    store.create("jobs/night/ledger/1-00001/notes.txt", b"hello")
    with pytest.raises(Damaged, match=r"notes\.txt"):
        ledger.records()


def test_a_record_under_another_number_is_damage(ledger: Ledger, tmp_path: Path) -> None:
    append(ledger, 0)
    path_of(tmp_path, 2).write_bytes(path_of(tmp_path, 1).read_bytes())
    with pytest.raises(Damaged, match=r"000002\.json holds record number 1"):
        ledger.records()


@pytest.mark.parametrize("raw", [b"", b"{}", b'{"number":1}\n', b"\xff" * 200, b"[" * 100_000])
def test_bytes_nobody_wrote_are_damage(ledger: Ledger, store: DirectoryStore, raw: bytes) -> None:
    store.create(ledger_key("night", "1-00001", 1), raw)
    with pytest.raises(Damaged, match=r"000001\.json"):
        ledger.records()


def test_every_single_flipped_bit_is_damage(ledger: Ledger, tmp_path: Path) -> None:
    append(ledger, 0, ref="batch_7")
    path = path_of(tmp_path, 1)
    written = path.read_bytes()
    for position in range(len(written)):
        path.write_bytes(written[:position] + bytes([written[position] ^ 1]) + written[position + 1 :])
        with pytest.raises(Damaged):
            ledger.records()


def test_every_truncation_is_damage(ledger: Ledger, tmp_path: Path) -> None:
    append(ledger, 0, ref="batch_7")
    path = path_of(tmp_path, 1)
    written = path.read_bytes()
    for length in range(len(written)):
        path.write_bytes(written[:length])
        with pytest.raises(Damaged):
            ledger.records()


def test_all_ledgers_of_a_job_are_read_at_once(store: DirectoryStore) -> None:
    for name in ("1-00002", "1-00001", "job"):
        append(Ledger(store, "night", name), 0, who=name)
    append(Ledger(store, "other-night", "job"), 0)
    ledgers = read_ledgers(store, "night")
    assert {name: [r.data["who"] for r in records] for name, records in ledgers.items()} == {
        "1-00001": ["1-00001"],
        "1-00002": ["1-00002"],
        "job": ["job"],
    }


def test_a_job_without_ledgers_has_none(store: DirectoryStore) -> None:
    assert read_ledgers(store, "night") == {}


def test_one_damaged_ledger_can_be_named_while_the_others_are_read(store: DirectoryStore, tmp_path: Path) -> None:
    for name in ("1-00001", "1-00002"):
        append(Ledger(store, "night", name), 0)
    path_of(tmp_path, 1).write_bytes(b"")
    damaged: dict[str, Damaged] = {}
    assert list(read_ledgers(store, "night", damaged)) == ["1-00002"]
    assert list(damaged) == ["1-00001"]
    with pytest.raises(Damaged):
        read_ledgers(store, "night")
