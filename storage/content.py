"""Objects whose key, or whose last member, promises their content: read only when they keep the promise."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from storage.contract import Damaged, ObjectStore
from storage.layout import content_sha8

_SEAL = b',"sha256":"%b"}\n'
_SEAL_BYTES = len(_SEAL % bytes(64))


@contextmanager
def intact(store: ObjectStore, key: str) -> Iterator[Path]:
    """`store.local`, for an object that still has the bytes it was created with. Raises Missing, Damaged."""
    with store.local(key) as path:
        promised = content_sha8(key)
        if promised is not None and file_sha8(path) != promised:
            raise Damaged(f"{key} in {store.url} is not what was written: its bytes do not fit its name; restore it")
        yield path


def file_sha8(path: Path) -> str:
    """What `layout` wants to know of a file: the beginning of the SHA-256 of its bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:8]


def sha8(data: bytes) -> str:
    """The same of bytes."""
    return hashlib.sha256(data).hexdigest()[:8]


def sealed(document: bytes) -> bytes:
    """A JSON object whose last member is the SHA-256 of all before it; the object must have a member already."""
    return document[:-1] + _SEAL % hashlib.sha256(document).hexdigest().encode()


def is_sealed(data: bytes) -> bool:
    """Whether these are exactly the bytes that `sealed` gave."""
    document = data[:-_SEAL_BYTES] + b"}"
    return data[-_SEAL_BYTES:] == _SEAL % hashlib.sha256(document).hexdigest().encode()
