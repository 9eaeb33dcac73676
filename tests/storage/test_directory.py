"""What a directory store does to the disk: in which order, with which rights, and what is left when it fails."""

import errno
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest

from storage import open_store
from storage.contract import BadName, Conflict, StoreUnavailable
from storage.directory import DirectoryStore
from tests.storage.disks import MortalDisk, PowerCut, WatchedDisk, failing

ROOT = Path(__file__).parents[2]
KEY = "jobs/a/plan.json"


def recorded(root: Path) -> tuple[DirectoryStore, list[tuple[str, str]]]:
    """A store, and its calls with the paths below its root."""
    calls: list[tuple[str, str]] = []

    def note(call: str, path: Path) -> None:
        name = os.path.relpath(path, root).partition("~")
        calls.append((call, name[0] + name[1]))

    return DirectoryStore(root, WatchedDisk(note)), calls


# order


def test_bytes_reach_the_disk_before_their_name_and_the_name_before_the_answer(tmp_path: Path) -> None:
    store, calls = recorded(tmp_path / "store")
    store.create("a/b", b"x")
    assert calls == [
        ("mkdir", "."),
        ("fsync dir", ".."),
        ("mkdir", "a"),
        ("fsync dir", "."),
        ("create", "a/b~"),
        ("write", "a/b~"),
        ("fsync", "a/b~"),
        ("close", "a/b~"),
        ("link", "a/b"),
        ("unlink", "a/b~"),
        ("fsync dir", "a"),
    ]


def test_a_second_object_needs_no_new_directory_sync_above_it(tmp_path: Path) -> None:
    store, calls = recorded(tmp_path)
    store.create("a/b", b"x")
    del calls[:]
    store.create("a/c", b"x")
    assert [path for call, path in calls if call == "fsync dir"] == ["a"]
    assert "mkdir" not in [call for call, _ in calls]


def test_an_object_of_another_process_is_synced_before_it_counts_as_ours(tmp_path: Path) -> None:
    DirectoryStore(tmp_path).create("a/b", b"x")
    store, calls = recorded(tmp_path)
    store.create("a/b", b"x")
    assert [path for call, path in calls if call == "fsync dir"] == ["..", ".", "a"]


def test_a_removal_is_synced(tmp_path: Path) -> None:
    store, calls = recorded(tmp_path)
    store.create("a/b", b"x")
    del calls[:]
    store.delete("a/b")
    assert calls == [("unlink", "a/b"), ("fsync dir", "a")]


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed; the recorded order is tested anyway")
def test_the_kernel_sees_that_order(tmp_path: Path) -> None:
    program = """if True:
        import sys
        from storage import open_store
        open_store(sys.argv[1]).create("a", b"x")
        print("done", flush=True)
    """
    log = tmp_path / "log"
    traced = ["strace", "-f", "-y", "-o", log, "-e", "trace=fsync,link,linkat,write"]
    run = subprocess.run([*traced, sys.executable, "-c", program, tmp_path / "store"], cwd=ROOT, check=False)
    if run.returncode:
        pytest.skip("tracing is not allowed here")
    wanted = ["write(", "fsync(", "link", "fsync(", "write("]
    calls = [line.split(maxsplit=1)[1] for line in log.read_text().splitlines() if "store" in line or "done" in line]
    at_the_end = calls[-len(wanted) :]
    assert [call.startswith(start) for call, start in zip(at_the_end, wanted, strict=True)] == [True] * 5
    assert "/store/a~" in at_the_end[1]
    assert at_the_end[3].partition("/store>")[1]


# power


def wrecks(root: Path) -> Iterator[tuple[list[str], MortalDisk]]:
    """The power fails before each call in turn; the keys whose `create` had returned, and the disk."""
    for at in count():
        shutil.rmtree(root, ignore_errors=True)
        disk = MortalDisk(root, at)
        store = DirectoryStore(root, disk)
        done: list[str] = []
        try:
            for key in ("jobs/a/1", "jobs/a/2", "jobs/b/1"):
                store.create(key, key.encode() * 10)
                done.append(key)
        except PowerCut:
            yield done, disk
        else:
            return


@pytest.mark.parametrize("names", ["lost", "kept"])
@pytest.mark.parametrize("content", ["empty", "torn"])
def test_a_power_cut_loses_nothing_acknowledged_and_shows_nothing_half_written(
    tmp_path: Path, names: str, content: str
) -> None:
    cuts = 0
    for done, disk in wrecks(tmp_path / "store"):
        disk.wreck(names, content)
        store = DirectoryStore(disk.root)
        found = list(store.keys(""))
        assert set(done) <= set(found)
        assert [store.read(key) for key in found] == [key.encode() * 10 for key in found]
        store.create("jobs/a/2", b"jobs/a/2" * 10)
        cuts += 1
    assert cuts > 25


@pytest.mark.parametrize("forgotten", ["sync_file", "sync_directory"])
def test_a_store_that_forgot_to_sync_would_be_caught(tmp_path: Path, forgotten: str) -> None:
    disk = MortalDisk(tmp_path / "store", 99)
    setattr(disk, forgotten, lambda _: None)
    DirectoryStore(disk.root, disk).create("a", b"data")
    disk.wreck("lost" if forgotten == "sync_directory" else "kept", "empty")
    store = DirectoryStore(disk.root)
    assert [store.read(key) for key in store.keys("")] != [b"data"]


# failures


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES])
@pytest.mark.parametrize("and_after", [False, True])
def test_a_failing_disk_acknowledges_nothing_and_heals(tmp_path: Path, number: int, and_after: bool) -> None:
    for at in count(1):
        root = tmp_path / str(at)
        disk, calls = failing(at, number, and_after)
        try:
            DirectoryStore(root, disk).create(KEY, b"x" * 1000)
            acknowledged = True
        except StoreUnavailable:
            acknowledged = False
        store = DirectoryStore(root)
        assert [store.read(key) for key in store.keys("")] in ([[b"x" * 1000]] if acknowledged else [[b"x" * 1000], []])
        store.create(KEY, b"x" * 1000)
        assert store.read(KEY) == b"x" * 1000
        if len(calls) < at:
            break
    assert at > 12


@pytest.mark.parametrize("number", [errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM, errno.EMFILE, errno.EDQUOT])
def test_every_failure_of_the_disk_makes_the_store_unavailable(tmp_path: Path, number: int) -> None:
    disk, _ = failing(4, number, and_after=False)
    with pytest.raises(StoreUnavailable, match=r": .* and run the command again$"):
        DirectoryStore(tmp_path, disk).create("a", b"")


def test_a_failure_is_told_in_one_sentence_with_advice(tmp_path: Path) -> None:
    disk, _ = failing(4, errno.ENOSPC, and_after=True)
    with pytest.raises(StoreUnavailable) as caught:
        DirectoryStore(tmp_path, disk).create("a", b"secret")
    assert str(caught.value) == (
        f"cannot create a in {tmp_path} (No space left on device): free some space and run the command again"
    )


@contextmanager
def limit(what: int, soft: int) -> Iterator[None]:
    before = resource.getrlimit(what)
    resource.setrlimit(what, (soft, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(what, before)


def test_a_file_the_system_refuses_to_grow_leaves_nothing(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    with limit(resource.RLIMIT_FSIZE, 1000), pytest.raises(StoreUnavailable, match="File too large"):
        store.create(KEY, b"x" * 10_000)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_running_out_of_open_files_is_no_missing_object(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    store.create("a", b"x")
    with limit(resource.RLIMIT_NOFILE, 3):
        for call in (lambda: store.read("a"), lambda: store.create("b", b""), lambda: list(store.keys(""))):
            with pytest.raises(StoreUnavailable, match="raise the limit"):
                call()


def test_a_root_that_is_a_file_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    store = DirectoryStore(tmp_path / "file")
    with pytest.raises(StoreUnavailable):
        store.create("a", b"")
    assert list(store.keys("")) == []


def test_a_missing_source_file_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    with pytest.raises(StoreUnavailable, match="No such file"):
        store.create_from("a", tmp_path / "none")
    assert list((tmp_path / "store").iterdir()) == []


# what lies there


def test_a_store_makes_nothing_before_it_must(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "deep" / "store"))
    assert list(store.keys("")) == list(store.children("jobs/")) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
def test_only_the_owner_may_read_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        DirectoryStore(tmp_path / "store").create(KEY, b"x")
    finally:
        os.umask(before)
    modes = {oct(path.stat().st_mode & 0o777) for path in (tmp_path / "store" / KEY).parents[:3]}
    assert modes == {"0o700"}
    assert (tmp_path / "store" / KEY).stat().st_mode & 0o777 == 0o600


def test_leftovers_and_foreign_files_are_no_objects(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    store.create("jobs/a", b"x")
    for name in ("b~0123", ".x~", "my file", "ä"):
        (tmp_path / "jobs" / name).write_bytes(b"half")
    (tmp_path / "empty" / "folder").mkdir(parents=True)
    assert list(store.keys("")) == ["jobs/a"]
    assert list(store.children("")) == ["jobs"]
    assert list(store.children("jobs/")) == ["a"]


def test_removing_an_object_removes_the_leftovers_beside_it(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    store.create("jobs/a", b"x")
    (tmp_path / "jobs" / "b~0123").write_bytes(b"personal data")
    store.delete("jobs/a")
    assert list((tmp_path / "jobs").iterdir()) == []


def test_a_killed_writer_leaves_whole_objects_alone(tmp_path: Path) -> None:
    program = """if True:
        import itertools, sys
        from storage import open_store
        store = open_store(sys.argv[1])
        for n in itertools.count():
            store.create(f"jobs/{n:06d}", b"%06d" % n * 50_000)
            print(n, flush=True)
    """
    with subprocess.Popen([sys.executable, "-c", program, tmp_path], cwd=ROOT, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        acknowledged = [int(child.stdout.readline()) for _ in range(30)]
        child.kill()
        acknowledged += [int(line) for line in child.stdout.read().split()]
    store = DirectoryStore(tmp_path)
    found = list(store.keys(""))
    assert len(found) - len(acknowledged) in (0, 1)
    assert all(store.read(key) == key[-6:].encode() * 50_000 for key in found)


# addresses


def test_a_store_can_be_named_by_path_or_file_url(tmp_path: Path) -> None:
    DirectoryStore(tmp_path / "a b").create("x", b"1")
    for url in (str(tmp_path / "a b"), f"file://{tmp_path}/a%20b", f"{tmp_path}/a b/"):
        assert open_store(url).read("x") == b"1"
        assert open_store(url).url == str(tmp_path / "a b")


@pytest.mark.parametrize("url", ["", "gs://bucket/x", "http://host/x", "s3://", "s3://UPPER"])
def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(BadName):
        open_store(url)


def test_a_directory_user_never_pays_for_botocore(tmp_path: Path) -> None:
    program = (
        "import sys, storage, storage.ledger, storage.inputs; storage.open_store('x'); print('botocore' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True)
    assert run.stdout.strip() == b"False"


def test_an_object_changed_by_hand_is_a_conflict_for_its_writer(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    store.create("a", b"data")
    (tmp_path / "a").write_bytes(b"dat")
    with pytest.raises(Conflict):
        store.create("a", b"data")
