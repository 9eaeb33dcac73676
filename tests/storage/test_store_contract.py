"""What every object store promises, tried on a directory and on an S3 server."""

import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from storage import open_store
from storage.contract import BadName, Conflict, Missing, ObjectStore
from storage.directory import DirectoryStore

HOSTILE_KEYS = [
    "", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/..", "./a", "a\0b", "a\nb", "a b", "a:b", "a=b", "é",
    "a\\b", "~a", "a~b", "a?b", "a#b", "%2e%2e/a", "x" * 201, "/".join(["x" * 200] * 6), "a\u202eb", "\ud800",
]  # fmt: skip


@pytest.fixture(params=["directory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "s3":
        return request.getfixturevalue("s3_store")
    return DirectoryStore(tmp_path / "store")


def test_an_object_is_read_as_it_was_created(store: ObjectStore) -> None:
    store.create("jobs/a/plan.json", b"\x00\r\n\xff")
    assert store.read("jobs/a/plan.json") == b"\x00\r\n\xff"


def test_an_empty_object_is_an_object(store: ObjectStore) -> None:
    store.create("a", b"")
    assert store.read("a") == b""
    with pytest.raises(Conflict):
        store.create("a", b"x")


def test_every_character_a_key_may_have_is_kept(store: ObjectStore) -> None:
    keys = sorted(["a-b/c.d", "a-b/_!*'()", "a-b/.hidden", "a-b/-", "a-b/UPPER"])
    for key in keys:
        store.create(key, key.encode())
    assert list(store.keys("a-b/")) == keys
    assert [store.read(key).decode() for key in keys] == keys


def test_creating_the_same_bytes_again_is_success(store: ObjectStore) -> None:
    store.create("a/b", b"once")
    store.create("a/b", b"once")
    assert list(store.keys("")) == ["a/b"]


@pytest.mark.parametrize("other", [b"", b"onc", b"once ", b"Once", b"another"])
def test_creating_other_bytes_is_a_conflict_and_changes_nothing(store: ObjectStore, other: bytes) -> None:
    store.create("a/b", b"once")
    with pytest.raises(Conflict, match="a/b"):
        store.create("a/b", other)
    assert store.read("a/b") == b"once"


def test_of_sixteen_racing_writers_one_wins(store: ObjectStore) -> None:
    def race(writer: int) -> bool:
        try:
            store.create("race", b"%02d" % writer)
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(race, range(16)))
    assert won.count(True) == 1
    assert store.read("race") == b"%02d" % won.index(True)


def test_racing_writers_of_the_same_bytes_all_succeed(store: ObjectStore) -> None:
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda _: store.create("race", b"same"), range(16)))
    assert list(store.keys("")) == ["race"]


def test_a_big_file_is_streamed(store: ObjectStore, tmp_path: Path) -> None:
    size = 32 << 20
    path = tmp_path / "big"
    path.write_bytes(bytes(range(256)) * (size // 256))
    tracemalloc.start()
    store.create_from("big", path)
    store.create_from("big", path)
    with store.local("big") as local:
        assert local.stat().st_size == size
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < size / 4


def test_a_file_of_other_bytes_is_a_conflict(store: ObjectStore, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 3_000_000)
    store.create("big", b"x" * 2_999_999 + b"y")
    with pytest.raises(Conflict):
        store.create_from("big", tmp_path / "file")


def test_a_local_copy_has_the_bytes_and_keeps_the_name_s_ending(store: ObjectStore) -> None:
    store.create("a/b.jsonl.zst", b"data")
    with store.local("a/b.jsonl.zst") as path:
        assert path.read_bytes() == b"data"
        assert path.name.endswith("b.jsonl.zst")


def test_an_error_of_the_reader_of_a_local_copy_passes_through(store: ObjectStore) -> None:
    store.create("a", b"data")
    with pytest.raises(FileNotFoundError, match="mine"), store.local("a"):
        raise FileNotFoundError("mine")


def test_what_was_never_created_is_missing(store: ObjectStore) -> None:
    store.create("a/b", b"")
    for key in ("b", "a", "a/b/c", "a/c"):
        with pytest.raises(Missing, match=key):
            store.read(key)
        with pytest.raises(Missing, match=key), store.local(key):
            pass


def test_keys_come_in_the_order_of_their_bytes(store: ObjectStore) -> None:
    keys = ["a!x", "a-b", "a.b", "a/b", "a/b-c/d", "a/b.c", "a/b/c", "a0", "aB/c", "a_b", "ab"]
    for key in reversed(keys[:3] + keys[4:]):  # a/b and a/b/c cannot both be files
        store.create(key, b"")
    assert list(store.keys("")) == sorted(keys[:3] + keys[4:])


@pytest.mark.parametrize(("prefix", "found"), [("jobs/a", 3), ("jobs/a/", 2), ("jobs/a/sh", 1), ("jobs/", 4), ("x", 0)])
def test_a_prefix_may_end_anywhere(store: ObjectStore, prefix: str, found: int) -> None:
    for key in ("jobs/a/plan.json", "jobs/a/shards/1", "jobs/ab/plan.json", "jobs/b/plan.json", "other"):
        store.create(key, b"")
    assert len(list(store.keys(prefix))) == found


def test_a_listing_may_have_many_pages(store: ObjectStore) -> None:
    keys = [f"many/{n // 2:04d}/{n % 2}" for n in range(1100)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda key: store.create(key, b""), keys))
    assert list(store.keys("many/")) == keys
    assert len(list(store.children("many/"))) == 550


def test_children_are_the_next_segments(store: ObjectStore) -> None:
    for key in ("jobs/b/plan.json", "jobs/a/plan.json", "jobs/a/shards/1", "jobs/a-b/x", "jobs/note", "top"):
        store.create(key, b"")
    assert list(store.children("jobs/")) == ["a", "a-b", "b", "note"]
    assert list(store.children("")) == ["jobs", "top"]
    assert list(store.children("nothing/")) == []


def test_a_deleted_object_is_missing_and_can_be_deleted_again(store: ObjectStore) -> None:
    store.create("jobs/a/plan.json", b"1")
    store.delete("jobs/a/plan.json")
    store.delete("jobs/a/plan.json")
    store.delete("never/was")
    assert list(store.children("")) == []
    with pytest.raises(Missing):
        store.read("jobs/a/plan.json")


@pytest.mark.parametrize("key", HOSTILE_KEYS)
def test_hostile_keys_are_refused(store: ObjectStore, key: str, tmp_path: Path) -> None:
    for verb in (
        store.read,
        store.delete,
        lambda key: store.create(key, b""),
        lambda key: store.create_from(key, tmp_path),
    ):
        with pytest.raises(BadName):
            verb(key)
    with pytest.raises(BadName), store.local(key):
        pass


@pytest.mark.parametrize("prefix", ["/", "../", "a//", "a/../", "a b", "\0"])
def test_hostile_prefixes_are_refused(store: ObjectStore, prefix: str) -> None:
    with pytest.raises(BadName):
        list(store.keys(prefix))
    with pytest.raises(BadName):
        list(store.children(prefix))


@pytest.mark.parametrize("kind", ["directory", "s3"])
def test_a_second_store_at_the_same_address_sees_the_same_objects(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str
) -> None:
    url = request.getfixturevalue("s3_url") if kind == "s3" else str(tmp_path / "store")
    store = open_store(url, spool_dir=tmp_path)
    store.create("a", b"1")
    assert open_store(store.url).read("a") == b"1"
