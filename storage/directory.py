"""Objects as files below one directory: created once, and durable when `create` returns."""

import errno
import fcntl
import os
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path

from storage.contract import Conflict, Missing, StoreUnavailable
from storage.layout import checked_key, checked_prefix, is_segment

_CHUNK_BYTES = 1 << 20
_LEFTOVER = "~"  # in no key, so that what a crashed write left is never taken for an object
_NOT_THERE = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
_ADVICE = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.EROFS: "make it writable",
    errno.EACCES: "check its owner and permissions",
    errno.EPERM: "check its permissions, and that its file system has hard links",
    errno.EMFILE: "raise the limit of open files",
    errno.ENFILE: "raise the limit of open files",
}


class Syscalls:
    """The calls that touch the disk, in one small value, so that a test can record, fail or forget them.

    Modes are set explicitly, because the store may hold personal data whatever the umask says (RELIABILITY §7).
    """

    def open_file(self, path: str | Path) -> FileIO:
        return FileIO(path)

    def entries(self, path: str) -> list[str]:
        """Names in a directory, those of directories with a slash."""
        with os.scandir(path) as entries:
            return [entry.name + "/" * entry.is_dir() for entry in entries]

    def make_directory(self, path: Path) -> None:
        path.mkdir(0o700)
        path.chmod(0o700)

    def create_file(self, path: Path) -> int:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        os.fchmod(fd, 0o600)
        return fd

    def write(self, fd: int, data: memoryview) -> int:
        return os.write(fd, data)

    def sync_file(self, fd: int) -> None:
        if sys.platform == "darwin":
            fcntl.fcntl(fd, fcntl.F_FULLFSYNC)  # fsync alone stops at the drive's cache there
        else:
            os.fsync(fd)

    def close(self, fd: int) -> None:
        os.close(fd)

    def link(self, source: Path, target: Path) -> None:
        target.hardlink_to(source)

    def unlink(self, path: Path) -> None:
        path.unlink()

    def sync_directory(self, path: Path) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            Syscalls.sync_file(self, fd)
        finally:
            os.close(fd)


class DirectoryStore:
    """An ObjectStore in a local directory, which the first `create` makes.

    A write is temp file → fsync → link(2) → fsync of the directory: link refuses a name that exists, so there is one
    winner, and a name never appears before its bytes are on the disk (RELIABILITY §1 E5).
    """

    def __init__(self, root: Path, syscalls: Syscalls | None = None) -> None:
        self._root = root.expanduser().absolute()
        self._calls = syscalls or Syscalls()
        self._durable: set[Path] = set()  # directories whose own names are known to be on the disk
        self._swept: set[Path] = set()  # directories without leftovers
        self.url = str(self._root)

    def create(self, key: str, data: bytes) -> None:
        self._create(key, lambda: iter((data,)))

    def create_from(self, key: str, path: Path) -> None:
        self._create(key, lambda: _chunks(path))

    def read(self, key: str) -> bytes:
        with self._translated("read", key), self._calls.open_file(f"{self.url}/{checked_key(key)}") as file:
            return file.readall()

    def read_all(self, keys: Sequence[str], *, afresh: bool = False) -> list[bytes]:  # noqa: ARG002 -- all reads are
        return [self.read(key) for key in keys]

    @contextmanager
    def local(self, key: str) -> Iterator[Path]:
        path = self._path(key)
        with self._translated("read", key), self._calls.open_file(path):
            pass  # the errors of the caller's block are not ours to translate
        yield path

    def keys(self, prefix: str) -> Iterator[str]:
        folder = checked_prefix(prefix)[: prefix.rfind("/") + 1]
        with self._translated("list", prefix):
            yield from self._walk(folder, prefix)

    def children(self, prefix: str) -> Iterator[str]:
        with self._translated("list", prefix):
            names = self._entries(checked_prefix(prefix))
            found = [name for name in names if not name.endswith("/") or any(self._walk(prefix + name, ""))]
        yield from sorted(name.rstrip("/") for name in found)

    def delete(self, key: str) -> None:
        path = self._path(key)
        with self._translated("delete", key), suppress(*_NOT_THERE):
            self._sweep(path.parent)
            self._calls.unlink(path)
            self._calls.sync_directory(path.parent)

    def _path(self, key: str) -> Path:
        return self._root / checked_key(key)

    def _create(self, key: str, content: Callable[[], Iterator[bytes]]) -> None:
        path = self._path(key)
        with self._translated("create", key):
            self._make_durable(path.parent)
            if (path.exists() or not self._create_file(path, content())) and not _same(path, content()):
                raise Conflict(f"{key} exists in {self.url} with other bytes: read it again and go on from there")
            # also when the file was there: whoever linked it may have died before this
            self._calls.sync_directory(path.parent)

    def _create_file(self, path: Path, content: Iterator[bytes]) -> bool:
        """True when this call made the name, False when somebody else was first."""
        temporary = path.with_name(f"{path.name}{_LEFTOVER}{uuid.uuid4().hex}")
        try:
            self._write_durably(temporary, content)
            self._calls.link(temporary, path)
        except FileExistsError:
            return False
        finally:
            with suppress(OSError):
                self._calls.unlink(temporary)
        return True

    def _write_durably(self, path: Path, content: Iterator[bytes]) -> None:
        fd = self._calls.create_file(path)
        try:
            for chunk in content:
                rest = memoryview(chunk)
                while rest:
                    rest = rest[self._calls.write(fd, rest) :]
            self._calls.sync_file(fd)
        finally:
            self._calls.close(fd)

    def _make_durable(self, directory: Path) -> None:
        """Every directory down to this one exists and survives a power cut, also one that another process just made."""
        if directory in self._durable or (directory in self._root.parents and directory.exists()):
            return
        self._make_durable(directory.parent)
        with suppress(FileExistsError):
            self._calls.make_directory(directory)
        foreign = (PermissionError,) if directory == self._root else ()  # what lies above may be closed to us
        with suppress(*foreign):
            self._calls.sync_directory(directory.parent)
        self._durable.add(directory)

    def _sweep(self, directory: Path) -> None:
        """Remove what crashed writes left here: it holds the same personal data as the objects that `purge` deletes."""
        if directory not in self._swept:
            for path in directory.glob(f"*{_LEFTOVER}*"):
                self._calls.unlink(path)
            self._swept.add(directory)

    def _walk(self, folder: str, prefix: str) -> Iterator[str]:
        for name in self._entries(folder):
            key = folder + name
            if key.startswith(prefix):
                yield from self._walk(key, "") if key.endswith("/") else (key,)

    def _entries(self, folder: str) -> list[str]:
        """Names below a folder, directories with a slash, which makes their order that of the keys below them."""
        try:
            return sorted(name for name in self._calls.entries(f"{self.url}/{folder}") if is_segment(name.rstrip("/")))
        except (FileNotFoundError, NotADirectoryError):
            return []

    @contextmanager
    def _translated(self, verb: str, key: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if verb == "read" and isinstance(error, _NOT_THERE):
                raise Missing(f"there is no {key} in {self.url}") from error
            advice = _ADVICE.get(error.errno or 0, "check the disk")
            raise StoreUnavailable(
                f"cannot {verb} {key} in {self.url} ({error.strerror}): {advice} and run the command again"
            ) from error


def _same(path: Path, content: Iterator[bytes]) -> bool:
    with path.open("rb") as file:
        return all(file.read(len(chunk)) == chunk for chunk in content) and not file.read(1)


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk
