"""Copies of small objects on this machine: they spare requests, and never stand for what the store has no more."""

from pathlib import Path

import pytest

from storage.s3 import S3Store
from tests.storage.stores import BUCKET, Proxy, s3_client

KEYS = [f"jobs/night/ledger/1-00001/{n:06d}.json" for n in range(1, 4)]


def opened(store: S3Store, proxy: Proxy, folder: Path) -> S3Store:
    """The same store, as the next command opens it."""
    return S3Store(store.url, s3_client(proxy.endpoint), spool_dir=folder)


@pytest.fixture
def known_store(flaky_store: S3Store, tmp_path: Path) -> S3Store:
    """A store that a command before has read."""
    for key in KEYS:
        flaky_store.create(key, key.encode())
    look(flaky_store)
    return flaky_store


def look(store: S3Store, *, afresh: bool = False) -> list[bytes]:
    return store.read_all(list(store.keys("jobs/night/")), afresh=afresh)


def gets(proxy: Proxy) -> int:
    """Objects that were fetched; a listing is a GET too."""
    return proxy.seen.count("GET")


def test_what_an_earlier_command_read_is_not_fetched_again(known_store: S3Store, s3_proxy: Proxy, tmp_path: Path):
    before = gets(s3_proxy)
    assert look(opened(known_store, s3_proxy, tmp_path)) == [key.encode() for key in KEYS]
    assert gets(s3_proxy) == before + 1


def test_what_was_made_here_is_not_fetched_at_all(flaky_store: S3Store, s3_proxy: Proxy):
    flaky_store.create(KEYS[0], b"data")
    assert look(flaky_store) == [b"data"]
    assert gets(s3_proxy) == 1


def test_everything_is_fetched_where_that_is_asked(known_store: S3Store, s3_proxy: Proxy, tmp_path: Path):
    before = gets(s3_proxy)
    look(opened(known_store, s3_proxy, tmp_path), afresh=True)
    assert gets(s3_proxy) == before + 1 + len(KEYS)


def test_an_object_that_is_something_else_by_now_is_fetched(known_store: S3Store, s3_proxy: Proxy, tmp_path: Path):
    _, path = known_store.url.removeprefix("s3://").split("/", 1)
    s3_client(s3_proxy.endpoint).put_object(Bucket=BUCKET, Key=f"{path}/{KEYS[1]}", Body=b"changed")
    assert look(opened(known_store, s3_proxy, tmp_path))[1] == b"changed"
    assert look(known_store)[1] == b"changed"


def test_an_object_that_is_gone_has_no_copy(known_store: S3Store, s3_proxy: Proxy, tmp_path: Path):
    opened(known_store, s3_proxy, tmp_path / "other").delete(KEYS[2])
    assert look(opened(known_store, s3_proxy, tmp_path)) == [key.encode() for key in KEYS[:2]]


@pytest.mark.parametrize("cut", [1, 9, 60])
def test_a_damaged_file_of_copies_is_made_anew(known_store: S3Store, s3_proxy: Proxy, tmp_path: Path, cut: int):
    [path] = (tmp_path / "copies").iterdir()
    path.write_bytes(path.read_bytes()[:-cut])
    for _ in range(2):
        assert look(opened(known_store, s3_proxy, tmp_path)) == [key.encode() for key in KEYS]
    before = gets(s3_proxy)
    look(opened(known_store, s3_proxy, tmp_path))
    assert gets(s3_proxy) == before + 1


def test_no_flipped_bit_of_the_file_is_believed(known_store: S3Store, s3_proxy: Proxy, tmp_path: Path):
    [path] = (tmp_path / "copies").iterdir()
    written = path.read_bytes()
    for place in range(0, len(written), 7):
        path.write_bytes(written[:place] + bytes([written[place] ^ 4]) + written[place + 1 :])
        assert look(opened(known_store, s3_proxy, tmp_path)) == [key.encode() for key in KEYS]


def test_a_disk_that_takes_no_copies_stops_nothing(known_store: S3Store, s3_proxy: Proxy, tmp_path: Path):
    (tmp_path / "file").write_bytes(b"")
    assert look(opened(known_store, s3_proxy, tmp_path / "file")) == [key.encode() for key in KEYS]


def test_keys_with_signs_of_xml_are_listed(flaky_store: S3Store):
    for key in ("a'b", "a(1)!*"):
        flaky_store.create(key, b"")
    assert list(flaky_store.keys("a")) == ["a'b", "a(1)!*"]


def test_reading_everything_afresh_writes_no_copies_again(known_store: S3Store, tmp_path: Path):
    before = sum(path.stat().st_size for path in (tmp_path / "copies").iterdir())
    look(known_store, afresh=True)
    assert sum(path.stat().st_size for path in (tmp_path / "copies").iterdir()) == before
