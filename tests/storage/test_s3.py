"""What an S3 store does when the server or the network misbehaves (RELIABILITY §5, rows 13 to 15)."""

import base64
import hashlib
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from storage.contract import BadName, Conflict, Damaged, StoreUnavailable
from storage.ledger import Ledger, read_ledgers
from storage.s3 import S3Store, connect, split_url
from tests.storage.stores import BUCKET, CREDENTIALS, Fault, Proxy, free_port, s3_client


def test_our_own_write_whose_answer_was_lost_is_success(flaky_store: S3Store, s3_proxy: Proxy) -> None:
    s3_proxy.faults = [Fault("PUT", spoil="lose")]
    flaky_store.create("a", b"ours")
    assert s3_proxy.seen == ["PUT", "PUT", "GET"]
    assert flaky_store.read("a") == b"ours"


def test_a_lost_answer_does_not_hide_that_somebody_else_was_first(flaky_store: S3Store, s3_proxy: Proxy) -> None:
    flaky_store.create("a", b"theirs")
    s3_proxy.faults = [Fault("PUT", spoil="lose")]
    with pytest.raises(Conflict):
        flaky_store.create("a", b"ours")


def test_a_file_is_sent_whole_again_after_a_lost_answer(flaky_store: S3Store, s3_proxy: Proxy, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 3_000_000)
    s3_proxy.faults = [Fault("PUT", 503, "SlowDown"), Fault("PUT", spoil="lose")]
    flaky_store.create_from("a", tmp_path / "file")
    assert flaky_store.read("a") == b"x" * 3_000_000


def test_the_local_copy_of_a_killed_process_is_removed(flaky_store: S3Store, tmp_path: Path) -> None:
    with subprocess.Popen(["true"]) as dead:
        pass
    for process in (dead.pid, os.getpid()):
        (tmp_path / f"read-{process}-abc-shard.jsonl").write_bytes(b"prompts")
    flaky_store.create("a", b"data")
    store = S3Store(flaky_store.url, flaky_store._bucket.client, spool_dir=tmp_path)
    with store.local("a") as path:
        assert path.name.startswith(f"read-{os.getpid()}-")
        S3Store(flaky_store.url, flaky_store._bucket.client, spool_dir=tmp_path)
        assert path.read_bytes() == b"data"
    assert [path.name for path in tmp_path.glob("read-*")] == [f"read-{os.getpid()}-abc-shard.jsonl"]


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (409, "ConditionalRequestConflict"),
        (503, "SlowDown"),
        (500, "InternalError"),
        (429, "TooManyRequests"),
        (400, "RequestTimeout"),
    ],
)
def test_a_busy_store_is_asked_again(flaky_store: S3Store, s3_proxy: Proxy, status: int, code: str) -> None:
    s3_proxy.faults = [Fault(method, status, code) for method in ("PUT", "PUT", "GET", "GET")]
    flaky_store.create("a", b"data")
    assert flaky_store.read("a") == b"data"
    assert len(s3_proxy.waits) == 4


@pytest.mark.parametrize(("status", "code"), [(409, "ConditionalRequestConflict"), (503, "SlowDown")])
def test_a_store_that_stays_busy_is_unavailable_within_bounds(
    flaky_store: S3Store, s3_proxy: Proxy, status: int, code: str
) -> None:
    s3_proxy.faults = [Fault("PUT", status, code)] * 99
    with pytest.raises(StoreUnavailable, match=code):
        flaky_store.create("a", b"data")
    assert len(s3_proxy.seen) == 7
    assert 10 < sum(s3_proxy.waits) < 20


@pytest.mark.parametrize(("status", "code"), [(403, "AccessDenied"), (501, "NotImplemented"), (400, "InvalidRequest")])
def test_a_refusal_is_not_repeated(flaky_store: S3Store, s3_proxy: Proxy, status: int, code: str) -> None:
    s3_proxy.faults = [Fault("PUT", status, code), Fault("DELETE", status, code), Fault("GET", status, code)]
    for call in (
        lambda: flaky_store.create("a", b""),
        lambda: flaky_store.delete("a"),
        lambda: list(flaky_store.keys("")),
    ):
        with pytest.raises(StoreUnavailable, match=code):
            call()
    assert s3_proxy.waits == []


def test_an_object_that_exists_and_then_does_not_makes_the_store_unavailable(
    flaky_store: S3Store, s3_proxy: Proxy
) -> None:
    s3_proxy.faults = [Fault("PUT", 412, "PreconditionFailed")]
    with pytest.raises(StoreUnavailable, match="then that it does not"):
        flaky_store.create("a", b"data")


@pytest.mark.parametrize("spoil", ["lose", "cut", "flip"])
def test_an_answer_spoiled_on_the_way_is_asked_for_again(flaky_store: S3Store, s3_proxy: Proxy, spoil: str) -> None:
    flaky_store.create("a", bytes(range(256)) * 10_000)
    s3_proxy.faults = [Fault("GET", spoil=spoil), Fault("GET", spoil=spoil)]
    assert flaky_store.read("a") == bytes(range(256)) * 10_000
    assert s3_proxy.seen.count("GET") == 3


def test_an_object_whose_bytes_changed_in_the_store_is_damaged(flaky_store: S3Store, s3_proxy: Proxy) -> None:
    flaky_store.create("a", b"data")
    s3_proxy.faults = [Fault("GET", spoil="flip")] * 99
    with pytest.raises(Damaged, match="/a: its checksum"):
        flaky_store.read("a")


def test_a_local_copy_is_removed_even_when_the_download_fails(
    flaky_store: S3Store, s3_proxy: Proxy, tmp_path: Path
) -> None:
    flaky_store.create("a", b"data")
    s3_proxy.faults = [Fault("GET", spoil="cut")] * 99
    with pytest.raises(StoreUnavailable), flaky_store.local("a"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_spool_that_does_not_exist_is_named(s3_server: str, tmp_path: Path) -> None:
    store = S3Store(f"s3://{BUCKET}/x", s3_client(s3_server), spool_dir=tmp_path / "gone")
    with pytest.raises(StoreUnavailable, match=r"gone.*check the local disk"), store.local("a"):
        pass


def test_a_listing_goes_on_after_a_busy_page(flaky_store: S3Store, s3_proxy: Proxy) -> None:
    flaky_store.create("a", b"")
    s3_proxy.faults = [Fault("GET", 503, "SlowDown")]
    assert list(flaky_store.keys("")) == ["a"]


def test_a_bucket_that_is_gone_is_unavailable_and_not_a_missing_object(s3_server: str) -> None:
    store = S3Store("s3://no-such-bucket", s3_client(s3_server))
    for call in (lambda: store.read("a"), lambda: store.create("a", b""), lambda: list(store.keys(""))):
        with pytest.raises(StoreUnavailable, match="NoSuchBucket"):
            call()


def test_a_server_that_nobody_runs_is_unavailable(tmp_path: Path) -> None:
    waits: list[float] = []
    store = S3Store("s3://bucket", s3_client(f"http://127.0.0.1:{free_port()}"), sleep=waits.append)
    with pytest.raises(StoreUnavailable, match="check the connection"):
        store.create("a", b"")
    assert len(waits) == 6


def test_objects_that_people_put_into_the_bucket_are_not_keys(flaky_store: S3Store, s3_server: str) -> None:
    prefix = flaky_store.url.partition(BUCKET)[2][1:]
    for name in ("jobs/", "my notes.txt", "jobs//x"):
        s3_client(s3_server).put_object(Bucket=BUCKET, Key=f"{prefix}/{name}")
    flaky_store.create("jobs/a", b"")
    assert list(flaky_store.keys("")) == ["jobs/a"]
    assert list(flaky_store.children("")) == ["jobs"]
    assert list(flaky_store.children("jobs/")) == ["a"]


def test_a_ledger_is_read_with_many_readers(flaky_store: S3Store) -> None:
    at = datetime(2026, 11, 21, tzinfo=UTC)
    with ThreadPoolExecutor(16) as pool:
        list(
            pool.map(
                lambda n: Ledger(flaky_store, "night", f"1-{n:05d}").append(0, "sent", {"n": n}, at, "me", "x"),
                range(50),
            )
        )
    ledgers = read_ledgers(flaky_store, "night")
    assert [records[0].data["n"] for records in ledgers.values()] == list(range(50))


def test_a_small_object_is_fetched_once(flaky_store: S3Store, s3_proxy: Proxy) -> None:
    flaky_store.create("a", b"data")
    assert [flaky_store.read("a") for _ in range(3)] == [b"data"] * 3
    assert s3_proxy.seen.count("GET") == 1


def test_the_server_keeps_a_checksum_that_travels_before_the_body(flaky_store: S3Store, s3_server: str) -> None:
    flaky_store.create("a", b"data")
    key = f"{flaky_store.url.partition(BUCKET)[2][1:]}/a"
    head = s3_client(s3_server).head_object(Bucket=BUCKET, Key=key, ChecksumMode="ENABLED")
    assert base64.b64decode(head["ChecksumSHA256"]) == hashlib.sha256(b"data").digest()


def test_the_environment_names_the_server(s3_url: str, s3_server: str) -> None:
    client = connect(4)
    assert client.meta.endpoint_url == s3_server
    assert client.meta.config.s3["addressing_style"] == "path"
    assert client.meta.config.retries["total_max_attempts"] == 1


def test_amazon_itself_is_addressed_by_bucket_name(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    assert connect(4).meta.config.s3["addressing_style"] == "auto"


@pytest.mark.parametrize(("name", "value"), [("AWS_ENDPOINT_URL_S3", "nonsense"), ("AWS_PROFILE", "nobody")])
def test_a_useless_environment_is_told(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(StoreUnavailable, match="check the AWS_"):
        connect(4)


def test_a_bucket_without_credentials_is_unavailable(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in CREDENTIALS:
        monkeypatch.delenv(name)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE", "AWS_EC2_METADATA_DISABLED"):
        monkeypatch.setenv(name, "true")  # as good as any name of a file that is not there
    with pytest.raises(StoreUnavailable, match=r"credentials.*check the AWS_"):
        S3Store(s3_url).read("a")


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("s3://bucket", ("bucket", "")),
        ("s3://bucket/", ("bucket", "")),
        ("s3://bucket/a", ("bucket", "a/")),
        ("s3://my.bucket-1/a/b/", ("my.bucket-1", "a/b/")),
    ],
)
def test_an_address_has_a_bucket_and_perhaps_a_prefix(url: str, parts: tuple[str, str]) -> None:
    assert split_url(url) == parts


@pytest.mark.parametrize(
    "url", ["s3://", "s3:///a", "s3://B", "s3://a", "s3://bucket/../x", "s3://bucket/a b", "https://x"]
)
def test_an_address_that_is_none_is_refused_by_its_name(url: str) -> None:
    with pytest.raises(BadName, match=f"^'{url}' (is not an address of the form|cannot be a store: give it)"):
        split_url(url)
