"""Objects in an S3 bucket, or in any server that keeps S3's promise of conditional writes.

Through botocore, which boto3 is made of: the rest of it, for transfers in parts, takes as long to load as `status` may.
"""

import base64
import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from html import unescape
from io import BufferedReader, BytesIO
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, Any, TypeVar

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, FlexibleChecksumError, HTTPClientError, IncompleteReadError
from botocore.exceptions import ConnectionError as Unconnected
from botocore.session import Session
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential_jitter

from storage.contract import BadName, Conflict, Damaged, Missing, StorageError, StoreUnavailable
from storage.copies import Copies
from storage.layout import checked_key, checked_prefix, is_key, is_segment

T = TypeVar("T")
Body = BytesIO | BufferedReader

AWS = "amazonaws.com"
_CHUNK_BYTES = 1 << 20
_CONNECTIONS = 16
_ATTEMPTS = 7  # with the waits below a store has about 13 s to come back
_ENTRY = re.compile(rb"<Contents>(.*?)</Contents>", re.DOTALL)
_URL = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(.*?))?/?")
_WORD = re.compile(r"[A-Za-z0-9.]{1,64}")
_ADVICE = {
    401: "check the credentials and run the command again",
    403: "check the credentials and what they allow, then run the command again",
    404: "check the name of the bucket",
    501: "this server cannot be used as a store",
}


class _Bucket:
    """Requests to one bucket, repeated while it is only busy; every failure becomes a StorageError."""

    def __init__(self, name: str, client: Any, sleep: Callable[[float], None]) -> None:
        self.name = name
        self.client = client or connect(_CONNECTIONS)
        self._retrying = Retrying(
            stop=stop_after_attempt(_ATTEMPTS),
            wait=wait_exponential_jitter(multiplier=0.2, max=10, jitter=0.2),
            retry=retry_if_exception(_is_transient),
            sleep=sleep,
            reraise=True,
        )

    def put(self, path: str, content: Callable[[], Body]) -> str | None:
        """The entity tag of the object that this call made; None when it was there (412 Precondition Failed)."""
        checksum = self.call("create", path, lambda: _checksum(content))

        def put() -> str | None:
            with content() as body:
                try:
                    made = self.client.put_object(
                        Bucket=self.name, Key=path, Body=body, IfNoneMatch="*", ChecksumSHA256=checksum
                    )
                except ClientError as error:
                    if _status(error) == 412:
                        return None
                    raise
            return str(made.get("ETag", ""))

        return self.call("create", path, put)

    def get(self, path: str, target: IO[bytes]) -> str:
        """Write the object into `target`; its entity tag."""

        def get() -> str:
            target.seek(0)
            target.truncate()
            answer = self.client.get_object(Bucket=self.name, Key=path)
            for chunk in answer["Body"].iter_chunks(_CHUNK_BYTES):
                target.write(chunk)
            target.flush()
            return str(answer.get("ETag", ""))

        return self.call("read", path, get)

    def pages(self, prefix: str, **options: str) -> Iterator[dict[str, Any]]:
        options |= {"Bucket": self.name, "Prefix": prefix}
        while True:
            page = self.call("list", prefix, lambda: self.client.list_objects_v2(**options))
            yield page
            if not page.get("IsTruncated"):
                return
            options["ContinuationToken"] = page["NextContinuationToken"]

    def delete(self, path: str) -> None:
        self.call("delete", path, lambda: self.client.delete_object(Bucket=self.name, Key=path))

    def call(self, verb: str, path: str, request: Callable[[], T]) -> T:
        try:
            return self._retrying(request)
        except (ClientError, BotoCoreError, OSError) as error:
            raise _translated(f"{verb} s3://{self.name}/{path}", error) from error


class S3Store:
    """An ObjectStore below `s3://bucket/prefix`. One PUT with `If-None-Match: *` creates an object, up to 5 GB.

    A repeated PUT whose first answer was lost finds its own bytes there, so retries are safe (RELIABILITY §4.3). When
    `create` raises StoreUnavailable the object may exist all the same: create it again, with the same bytes.
    """

    def __init__(
        self,
        url: str,
        client: Any = None,
        *,
        spool_dir: Path | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        name, self._prefix = split_url(url)
        self._bucket = _Bucket(name, client, sleep)
        self._spool_dir = spool_dir
        self._copies = Copies(spool_dir)
        _sweep(spool_dir)
        self.url = f"s3://{name}/{self._prefix}".rstrip("/")

    def create(self, key: str, data: bytes) -> None:
        self._copies.keep_made(key, self._create(key, lambda: BytesIO(data)), data)

    def create_from(self, key: str, path: Path) -> None:
        self._create(key, lambda: path.open("rb"))

    def read(self, key: str) -> bytes:
        if (known := self._copies.get(key)) is not None:
            return known
        data, tag = self._fetched(key)
        self._copies.keep(key, tag, data)
        return data

    def read_all(self, keys: Sequence[str], *, afresh: bool = False) -> list[bytes]:
        found = {} if afresh else self._copies.of(keys)
        lacking = [key for key in keys if key not in found]
        with ThreadPoolExecutor(min(_CONNECTIONS, len(lacking)) or 1) as pool:
            for key, (data, tag) in zip(lacking, pool.map(self._fetched, lacking), strict=True):
                found[key] = data
                self._copies.keep(key, tag, data)
        if not afresh:
            self._copies.write_down(keys)
        return [found[key] for key in keys]

    def _fetched(self, key: str) -> tuple[bytes, str]:
        target = BytesIO()
        tag = self._bucket.get(self._path(key), target)
        return target.getvalue(), tag

    @contextmanager
    def local(self, key: str) -> Iterator[Path]:
        path = self._path(key)
        with self._bucket.call("read", path, lambda: self._temporary(path.rpartition("/")[2])) as target:
            self._bucket.get(path, target)
            yield Path(target.name)

    def keys(self, prefix: str) -> Iterator[str]:
        for page in self._bucket.pages(self._prefix + checked_prefix(prefix)):
            for entry in page.get("Contents", ()):
                key = entry["Key"].removeprefix(self._prefix)
                if is_key(key):
                    self._copies.seen(key, entry["ETag"])
                    yield key

    def children(self, prefix: str) -> Iterator[str]:
        folder = self._prefix + checked_prefix(prefix)
        found: set[str] = set()
        for page in self._bucket.pages(folder, Delimiter="/"):
            paths = [entry["Prefix"] for entry in page.get("CommonPrefixes", ())]
            paths += [entry["Key"] for entry in page.get("Contents", ())]
            found.update(path.removeprefix(folder).rstrip("/") for path in paths)
        yield from sorted(filter(is_segment, found))

    def delete(self, key: str) -> None:
        self._copies.forget(key)
        self._bucket.delete(self._path(key))

    def _path(self, key: str) -> str:
        return f"{self._prefix}{checked_key(key)}"

    def _temporary(self, name: str) -> IO[bytes]:
        return NamedTemporaryFile(dir=self._spool_dir, prefix=f"read-{os.getpid()}-", suffix=f"-{name}")

    def _create(self, key: str, content: Callable[[], Body]) -> str | None:
        made = self._bucket.put(self._path(key), content)
        if made is None and not self._holds(key, content):
            raise Conflict(f"{key} exists in {self.url} with other bytes: read it again and go on from there")
        return made

    def _holds(self, key: str, content: Callable[[], Body]) -> bool:
        try:
            with self.local(key) as path, path.open("rb") as theirs, content() as ours:
                return _same(theirs, ours)
        except Missing:
            raise StoreUnavailable(
                f"{self.url} says that {key} exists and then that it does not: run the command again"
            ) from None


def download(url: str, target: Path, client: Any = None, sleep: Callable[[float], None] = time.sleep) -> None:
    """Copy any one object, `s3://bucket/key`, to a new local file. Raises BadName, Missing, StoreUnavailable."""
    name, slash, path = url.removeprefix("s3://").partition("/")
    split_url(f"s3://{name}")
    if not slash or not path:
        raise BadName(f"{url!r} names no object: it must have the form s3://bucket/key")
    with target.open("xb") as file:
        _Bucket(name, client, sleep).get(path, file)


def _sweep(folder: Path | None) -> None:
    """Remove the local copies of processes that were killed: they may hold prompts."""
    for path in folder.glob("read-*") if folder else ():
        process = path.name.split("-")[1]
        if process.isdigit() and not _lives(int(process)):
            path.unlink(missing_ok=True)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True


def connect(connections: int) -> Any:
    """A client for the endpoint, region and credentials of the environment; it leaves retries to its caller.

    Raises StoreUnavailable when the environment names none.
    """
    try:
        session = Session()  # of its own: a shared one would keep the credentials it saw first
        client = None if _elsewhere() else _client(session, connections, "auto")
        if client is not None and AWS in client.meta.endpoint_url:
            return client
        return _client(session, connections, "path")  # other servers seldom have a DNS name for each bucket
    except (BotoCoreError, ValueError) as error:
        raise StoreUnavailable(f"S3 cannot be used ({error}): check the AWS_* variables and the profile") from error


def _elsewhere() -> bool:
    """Does the environment already name another server than AWS? A configuration file may, too: the client tells."""
    told = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL", AWS)
    return AWS not in told


def _client(session: Session, connections: int, addressing: str) -> Any:
    config = Config(
        retries={"total_max_attempts": 1},
        max_pool_connections=connections,
        connect_timeout=10,
        read_timeout=60,
        s3={"addressing_style": addressing},
    )
    client = session.create_client("s3", config=config)
    client.meta.events.register("before-parse.s3.ListObjectsV2", _read_entries)
    return client


def _read_entries(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: object) -> None:
    """Take a page's entries out of it: boto3 needs 50 ms for a thousand, most of it for times that nobody reads here.

    A page in which they are not found as S3 writes them is left to boto3.
    """
    if response_dict["status_code"] == 200 and (entries := _ENTRY.findall(response_dict["body"])):
        customized_response_dict["Contents"] = [
            {"Key": _text(b"Key", one), "ETag": _text(b"ETag", one)} for one in entries
        ]
        response_dict["body"] = _ENTRY.sub(b"", response_dict["body"])


def _text(tag: bytes, entry: bytes) -> str:
    text = entry.partition(b"<%b>" % tag)[2].partition(b"</%b>" % tag)[0].decode()
    return unescape(text) if "&" in text else text


def split_url(url: str) -> tuple[str, str]:
    """Bucket and key prefix (empty, or ending in "/") of an `s3://` address. Raises BadName."""
    match = _URL.fullmatch(url)
    if not match:
        raise BadName(f"{url!r} is not an address of the form s3://bucket/prefix")
    prefix = match[2] or ""
    if prefix and not is_key(prefix):
        raise BadName(
            f"{url!r} cannot be a store: give it a prefix of letters, digits and -._!*'() between single slashes"
        )
    return match[1], f"{prefix}/" if prefix else ""


def _is_transient(error: BaseException) -> bool:
    """Whether the same request may succeed in a moment. 409: another conditional write is under way."""
    if isinstance(error, ClientError):
        status = _status(error)
        return status in (408, 409, 429) or (status >= 500 and status != 501) or _code(error) == "RequestTimeout"
    return isinstance(error, Unconnected | HTTPClientError | IncompleteReadError | FlexibleChecksumError)


def _translated(what: str, error: ClientError | BotoCoreError | OSError) -> StorageError:
    if isinstance(error, FlexibleChecksumError):
        return Damaged(f"cannot {what}: its checksum does not fit its bytes")
    if isinstance(error, ClientError):
        if _code(error) in ("NoSuchKey", "404") and what.startswith("read"):
            return Missing(f"cannot {what}: there is no such object")
        advice = _ADVICE.get(_status(error), "run the command again when the store answers")
        return StoreUnavailable(f"cannot {what} ({_code(error)}): {advice}")
    if isinstance(error, BotoCoreError):
        place = "connection" if _is_transient(error) else "AWS_* variables"
    else:
        place = "local disk"
    return StoreUnavailable(f"cannot {what} ({error}): check the {place} and run the command again")


def _status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _code(error: ClientError) -> str:
    """The server's word for it; whatever else stands in its place is not repeated."""
    code = str(error.response.get("Error", {}).get("Code", ""))
    return code if _WORD.fullmatch(code) else "unknown error"


def _checksum(content: Callable[[], Body]) -> str:
    """The header's value. Left to boto3 it would travel behind the body, which many other servers do not understand."""
    with content() as body:
        return base64.b64encode(hashlib.file_digest(body, "sha256").digest()).decode()


def _same(one: Body, other: Body) -> bool:
    while chunk := one.read(_CHUNK_BYTES):
        if other.read(len(chunk)) != chunk:
            return False
    return not other.read(1)
