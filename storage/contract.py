"""The contract of the object store: immutable objects under string keys, created once.

Errors, by what the caller must do:

    StorageError
    ├─ Conflict       somebody else created the key with other bytes: reread and go on
    ├─ Missing        no object under the key
    ├─ Damaged        an object is not what was written: name it, keep going with the others
    ├─ StoreUnavailable   the store cannot be reached, is full or refuses: stop cleanly, try later
    │  └─ Corrupt     the results database is no good any more: set it aside, all of it can be loaded again
    ├─ BadName        an id or a key has characters that no key may have: nothing was touched
    └─ InputError     the input cannot be read as asked: the person who gave it must change something
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol


class StorageError(Exception):
    """Base of everything the storage package raises."""


class Conflict(StorageError):
    """The key exists with other bytes."""


class Missing(StorageError):
    """No object under this key."""


class Damaged(StorageError):
    """The object's bytes are not what was written."""


class StoreUnavailable(StorageError):
    """The store cannot be reached, is full, or refuses."""


class Corrupt(StoreUnavailable):
    """The results database is damaged; the object store has all that was in it."""


class BadName(StorageError):
    """An id or a key that no store would take, or that would leave its place in the store."""


class InputError(StorageError):
    """The input cannot be read as asked."""


class ObjectStore(Protocol):
    """Eight verbs. Objects never change: a key is created once, by one writer, and deleted only by `purge`."""

    @property
    def url(self) -> str:
        """Where the store is: an object's own address is this, a slash and its key."""
        ...

    def create(self, key: str, data: bytes) -> None:
        """Durable when it returns. Finding the same bytes there is success: our own write whose answer was lost.

        Raises Conflict when the key holds other bytes, StoreUnavailable when nothing could be written.
        """
        ...

    def create_from(self, key: str, path: Path) -> None:
        """`create` with the bytes of a local file, streamed."""
        ...

    def read(self, key: str) -> bytes:
        """The whole object, for small ones. Raises Missing."""
        ...

    def read_all(self, keys: Sequence[str], *, afresh: bool = False) -> list[bytes]:
        """Many small objects, in the order of their keys, which a listing just gave. Raises Missing.

        A copy that this machine kept may stand for an object that the listing shows unchanged; `afresh` forbids that.
        """
        ...

    def local(self, key: str) -> AbstractContextManager[Path]:
        """The object as a local file inside a `with` block: its own file, or a downloaded copy. Raises Missing."""
        ...

    def keys(self, prefix: str) -> Iterator[str]:
        """Every key that begins with `prefix`, ascending; sees every `create` that returned before the call."""
        ...

    def children(self, prefix: str) -> Iterator[str]:
        """The distinct next path segments below `prefix` (which ends in "/"), in ascending order."""
        ...

    def delete(self, key: str) -> None:
        """Remove an object for good; a missing one is no error. For `purge` alone."""
        ...
