"""The DuckDB file itself: opened by one process, set aside when unreadable, copied out for readers."""

import errno
import os
import re
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import duckdb

from storage.contract import Corrupt, Damaged, StorageError, StoreUnavailable
from storage.migrations import MIGRATIONS, migrate, schema_version
from storage.views import literal

_NOT_THE_FILE = tuple(
    os.strerror(code)
    for code in (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.EACCES, errno.EROFS, errno.EIO)
)
_MEND = "; mend that and run the same command again"
_ASIDE = ".set-aside-"
_HEADERS_BYTES = 3 * 4096  # before the first block
_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "storage_compatibility_version": "v1.5.0",  # an analyst's 1.5 client opens the published copy
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "preserve_insertion_order": "false",  # flat memory in bulk loads
}


class Unreadable(Exception):
    """The file is no results store of this version: to be set aside, never to be deleted."""


class DuckFile:
    """One open database file. `set_aside` is where an unreadable predecessor was moved, if there was one."""

    def __init__(self, path: Path, settings: Mapping[str, str]) -> None:
        _require_usable(path)
        self.path = path
        self.set_aside: Path | None = None
        try:
            self.connection = _open(path)
        except Unreadable:
            self.set_aside = move_aside(path)
            self.connection = _open(path)
        spill = path.with_name(path.name + ".spill")
        shutil.rmtree(spill, ignore_errors=True)  # what a killed process could not put back into memory
        _configure(self.connection, {"temp_directory": str(spill), **settings})
        # DuckDB's lock is a POSIX one: the kernel drops it when *any* descriptor of the file is closed in this
        # process. The copies are therefore read through one descriptor that outlives the connection.
        self._bytes = path.open("rb")

    def copy_to(self, target: Path) -> None:
        """Replace `target` by the database as of the last commit, durably and in one step.

        A reader keeps the file it has open; who opens `target` later sees the new one. An existing target's mode stays.
        """
        self.connection.execute("CHECKPOINT")
        fresh = target.with_name(target.name + ".new")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            self._copy_bytes(fresh)
            if target.exists():
                shutil.copymode(target, fresh)
            fresh.replace(target)
            _sync_directory(target.parent)
        except OSError as error:
            with suppress(OSError):
                fresh.unlink()
            raise StoreUnavailable(f"cannot publish the results to {target}: {error.strerror}{_MEND}") from error

    def close(self) -> None:
        self.connection.close()
        self._bytes.close()

    def _copy_bytes(self, fresh: Path) -> None:
        self._bytes.seek(0)
        with fresh.open("wb") as copy:
            shutil.copyfileobj(self._bytes, copy, 1 << 22)
            copy.flush()
            os.fsync(copy.fileno())


def remove(path: Path) -> None:
    """Remove a closed database for good, with its log and with every predecessor that was set aside.

    Raises StoreUnavailable.
    """
    try:
        for found in (path, path.with_name(path.name + ".wal"), *path.parent.glob(f"{path.name}{_ASIDE}*")):
            found.unlink(missing_ok=True)
        _sync_directory(path.parent)
    except OSError as error:
        raise StoreUnavailable(f"the results store {path} cannot be removed: {error.strerror}{_MEND}") from error


def _open(path: Path) -> duckdb.DuckDBPyConnection:
    connection: duckdb.DuckDBPyConnection | None = None
    clean = not path.with_name(path.name + ".wal").exists()  # else blocks are counted that are still in memory
    try:
        # A configuration of its own: else DuckDB lets this process open the file twice, and closing loses the lock.
        connection = duckdb.connect(str(path), config=_CONFIG | {"custom_user_agent": f"batchjobs {uuid4()}"})
        _require_ours(connection)
        if clean:
            _require_whole(connection, path)
        migrate(connection)
    except (duckdb.Error, Unreadable) as error:
        if connection is not None:
            connection.close()
        raise _explained(path, error) from error
    return connection


def _configure(connection: duckdb.DuckDBPyConnection, settings: Mapping[str, str]) -> None:
    """After opening, so that a setting that is none is never taken for a file that cannot be read."""
    try:
        for name, value in settings.items():
            connection.execute(f"SET {name} = {literal(value)}")
    except duckdb.Error:
        connection.close()
        raise ValueError(f"the results store does not accept the settings {dict(settings)}") from None


def _require_usable(path: Path) -> None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StoreUnavailable(f"the results store {path} has no directory: {error.strerror}{_MEND}") from error
    if path.exists() and not (path.is_file() and os.access(path, os.R_OK | os.W_OK)):
        raise StoreUnavailable(f"the results store {path} must be a file this user can read and write")


def _require_ours(connection: duckdb.DuckDBPyConnection) -> None:
    version = schema_version(connection)
    if version is None or version > MIGRATIONS[-1].version:
        raise Unreadable("not a results store of this version")


def _require_whole(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    """DuckDB opens a file whose end is missing, and stumbles only over what lay there: after a power cut, for one."""
    # Not the total: free blocks at the end are counted there, and are cut off by a checkpoint.
    query = "SELECT block_size * used_blocks FROM pragma_database_size()"
    for (blocks,) in connection.execute(query).fetchall():
        if path.stat().st_size < _HEADERS_BYTES + blocks:
            raise Unreadable("the end of the file is missing")


def _explained(path: Path, error: Exception) -> Exception:
    """What the failure to open means: another process, the machine, or the file itself."""
    text = str(error)
    if "Could not set lock" in text or isinstance(error, duckdb.ConnectionException):
        holder = re.search(r"\(PID (\d+)\)", text)
        who = holder[1] if holder else os.getpid()
        return StoreUnavailable(f"the results store {path} is in use by process {who}: wait for it, or stop it")
    for reason in _NOT_THE_FILE:
        if reason in text:
            return StoreUnavailable(f"the results store {path} cannot be opened: {reason}{_MEND}")
    return Unreadable(type(error).__name__)


def meaning(error: duckdb.Error, what: str, path: Path) -> StorageError:
    """What an error in use means for the caller: the machine, the file itself, or what was being loaded."""
    text = str(error)
    for reason in _NOT_THE_FILE:
        if reason in text:
            return StoreUnavailable(f"the results store {path} stopped at {what}: {reason}{_MEND}")
    if isinstance(error, duckdb.OutOfMemoryException):
        return StoreUnavailable(f"the results store {path} stopped at {what}: it needs more memory or disk{_MEND}")
    fatal = isinstance(error, (duckdb.FatalException, duckdb.InternalException))
    if fatal or "Corrupt database" in text or "Could not read" in text:
        return Corrupt(f"the results store {path} is damaged")
    return Damaged(f"{what} cannot be loaded ({type(error).__name__})")


def move_aside(path: Path) -> Path:
    """Give a closed database, with its log, a name that is out of the way; the name."""
    number = 1
    while (aside := path.with_name(f"{path.name}{_ASIDE}{number}")).exists():
        number += 1
    # The log first: a database without its log merely lacks transactions, which are loaded again; a log without
    # its database would be replayed into the empty one.
    wal = path.with_name(path.name + ".wal")
    if wal.exists():
        wal.rename(aside.with_name(aside.name + ".wal"))
    path.rename(aside)
    return aside


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
