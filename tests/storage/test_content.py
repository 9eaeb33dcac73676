"""Objects whose key promises their content."""

import json
from pathlib import Path

import pytest

from storage.content import file_sha8, intact, is_sealed, sealed
from storage.contract import Damaged, Missing
from storage.directory import DirectoryStore
from storage.layout import carried_key, content_sha8, ledger_key, plan_key, raw_key, requests_key, shard_key


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "store")


@pytest.fixture
def key(store: DirectoryStore, tmp_path: Path) -> str:
    (tmp_path / "file").write_bytes(b"content" * 10)
    key = shard_key("night", "1-00001", file_sha8(tmp_path / "file"))
    store.create_from(key, tmp_path / "file")
    return key


def test_an_intact_object_is_given(store: DirectoryStore, key: str) -> None:
    with intact(store, key) as path:
        assert path.read_bytes() == b"content" * 10


def test_every_flipped_bit_and_every_truncation_is_damage(store: DirectoryStore, key: str, tmp_path: Path) -> None:
    path = tmp_path / "store" / key
    written = path.read_bytes()
    flipped = [written[:n] + bytes([written[n] ^ 1]) + written[n + 1 :] for n in range(len(written))]
    for data in (*flipped, *(written[:n] for n in range(len(written))), written + b"x"):
        path.write_bytes(data)
        with pytest.raises(Damaged, match=key), intact(store, key):
            pass


def test_what_is_not_there_is_missing(store: DirectoryStore) -> None:
    with pytest.raises(Missing), intact(store, "jobs/night/shards/1-00001.deadbeef.jsonl.zst"):
        pass


def test_keys_of_content_promise_a_hash_and_others_do_not() -> None:
    promising = [
        shard_key("a", "1", "deadbeef"), requests_key("a", "1", "deadbeef"), carried_key("a", "deadbeef"),
        raw_key("a", "1", 1, "output", "deadbeef"),
    ]  # fmt: skip
    assert {content_sha8(key) for key in promising} == {"deadbeef"}
    assert content_sha8(plan_key("a.deadbeef")) is content_sha8(ledger_key("a", "1", 1)) is None


def test_a_sealed_document_is_json_and_every_other_byte_breaks_the_seal() -> None:
    written = sealed(b'{"n":1}')
    assert json.loads(written).keys() == {"n", "sha256"}
    assert is_sealed(written)
    others = [written[:n] + bytes([written[n] ^ 1]) + written[n + 1 :] for n in range(len(written))]
    assert not any(map(is_sealed, (*others, *(written[:n] for n in range(len(written))), written + b"x")))
