"""Object store, ledger, inputs and DuckDB results; the only package that imports boto3's s3 or duckdb."""

from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

from storage.contract import BadName, ObjectStore


def open_store(url: str, spool_dir: Path | None = None) -> ObjectStore:
    """The store at `s3://bucket/prefix`, `file:///path` or a directory's path. Touches nothing yet. Raises BadName.

    An S3 store puts its local copies into `spool_dir`, or where the system keeps temporary files.
    """
    if url.startswith("s3://"):
        need_boto3(url)
        from storage.s3 import S3Store  # here, because botocore takes a fifth of a second that a directory need not pay

        return S3Store(url, spool_dir=spool_dir)
    from storage.directory import DirectoryStore

    return DirectoryStore(_directory(url))


def need_boto3(url: str) -> None:
    """Raises BadName where boto3, an optional part of this package, is not installed for an address on S3."""
    try:
        found = find_spec("boto3")
    except ImportError:
        found = None
    if found is None:
        raise BadName(f"{url} needs boto3, which is not installed: pip install 'batchjobs[s3]', then run it again.")


def _directory(url: str) -> Path:
    if url.startswith("file://"):
        return Path(unquote(urlsplit(url).path))
    if "://" in url or not url:
        raise BadName(f"{url!r} is not a store: give a directory or s3://bucket/prefix")
    return Path(url)
