"""Disks that note every call, fail at one, or lose power: they do what they are asked until it is their turn."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from storage.directory import Syscalls

Before = Callable[[str, Path], None]


class PowerCut(Exception):
    """The machine is off: no call does anything any more."""


class WatchedDisk(Syscalls):
    """Real calls, each announced to `before` with its name and path, which may raise instead of letting it happen.

    Only a sync is no more than announced: all that a test could see of the real one is the time it takes.
    """

    def __init__(self, before: Before) -> None:
        self.before = before
        self.paths: dict[int, Path] = {}

    def make_directory(self, path: Path) -> None:
        self.before("mkdir", path)
        super().make_directory(path)

    def create_file(self, path: Path) -> int:
        self.before("create", path)
        fd = super().create_file(path)
        self.paths[fd] = path
        return fd

    def write(self, fd: int, data: memoryview) -> int:
        self.before("write", self.paths[fd])
        return super().write(fd, data[: max(1, len(data) // 2)])  # a disk may take less than it is given

    def sync_file(self, fd: int) -> None:
        self.before("fsync", self.paths[fd])

    def close(self, fd: int) -> None:
        super().close(fd)
        self.before("close", self.paths.pop(fd))

    def link(self, source: Path, target: Path) -> None:
        self.before("link", target)
        super().link(source, target)

    def unlink(self, path: Path) -> None:
        self.before("unlink", path)
        super().unlink(path)

    def sync_directory(self, path: Path) -> None:
        self.before("fsync dir", path)


def failing(at: int, number: int, and_after: bool) -> tuple[WatchedDisk, list[str]]:
    """A disk whose `at`-th call fails with an errno, alone or with all that follow; and the names of its calls."""
    calls: list[str] = []

    def before(call: str, path: Path) -> None:
        calls.append(call)
        if len(calls) == at or (and_after and len(calls) > at):
            raise OSError(number, os.strerror(number), str(path))

    return WatchedDisk(before), calls


class MortalDisk(WatchedDisk):
    """A disk whose power fails before its `at`-th call; `wreck` leaves on it what a file system may have kept.

    It knows what was synced: the content of files, and the names in directories.
    """

    def __init__(self, root: Path, at: int) -> None:
        super().__init__(lambda _call, _path: self._count())
        self.root = root
        self.calls_left = at
        self.kept_content: dict[int, bytes] = {}
        self.kept_names: dict[Path, dict[str, int]] = {}

    def _count(self) -> None:
        self.calls_left -= 1
        if self.calls_left < 0:
            raise PowerCut

    def sync_file(self, fd: int) -> None:
        super().sync_file(fd)
        self.kept_content[os.fstat(fd).st_ino] = self.paths[fd].read_bytes()

    def sync_directory(self, path: Path) -> None:
        super().sync_directory(path)
        self.kept_names[path] = {child.name: child.stat().st_ino for child in path.iterdir()}

    def wreck(self, names: str, content: str) -> None:
        """Unsynced names are "lost" or "kept", files of which no byte was synced are "empty" or "torn"."""
        if names == "lost":
            self._lose_names(self.root.parent)
        for path in self.root.rglob("*"):
            if path.is_file() and path.stat().st_ino not in self.kept_content:
                os.truncate(path, 0 if content == "empty" else path.stat().st_size // 2)

    def _lose_names(self, directory: Path) -> None:
        kept = self.kept_names.get(directory, {})
        for child in list(directory.iterdir()):
            if child.name not in kept:
                shutil.rmtree(child) if child.is_dir() else child.unlink()
            elif child.is_dir():
                self._lose_names(child)
        for name, inode in kept.items():  # a name removed, but the removal never synced
            if inode in self.kept_content and not (directory / name).exists():
                (directory / name).write_bytes(self.kept_content[inode])
