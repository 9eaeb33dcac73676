"""The power fails before the n-th call to the disk: what was not synced is lost or torn, then the night goes on."""

from contextlib import suppress
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

from storage.directory import DirectoryStore
from tests.storage.disks import MortalDisk, PowerCut
from tests.sweep.night import NIGHT, SweptWorld, check, finish, source, swept_world

NAMES = ("lost", "kept")  # names in directories that were not synced
CONTENT = ("empty", "torn")  # files that were not synced
DATABASES = ("kept", "lost", "torn", "empty")  # the DuckDB files, private and published
WRECKS = tuple(product(NAMES, CONTENT, DATABASES))


@dataclass
class NotedStore(DirectoryStore):
    """A directory store that remembers, beyond the power cut, what it has acknowledged."""

    root: Path
    disk: MortalDisk
    acknowledged: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__(self.root, self.disk)

    def create(self, key: str, data: bytes) -> None:
        super().create(key, data)
        self.acknowledged[key] = data

    def create_from(self, key: str, path: Path) -> None:
        super().create_from(key, path)
        self.acknowledged[key] = path.read_bytes()


class ForgetfulDisk(MortalDisk):
    """Says that it has synced a file, or a directory, and has not."""

    def __init__(self, root: Path, at: int, forgotten: str) -> None:
        super().__init__(root, at)
        self.forgotten = forgotten

    def sync_file(self, fd: int) -> None:
        if self.forgotten != "files":
            super().sync_file(fd)

    def sync_directory(self, path: Path) -> None:
        if self.forgotten != "directories":
            super().sync_directory(path)


def cut_night(provider: str, folder: Path, nth: int, wreck: tuple[str, str, str], forgotten: str = "") -> bool:
    """A night cut at the `nth` call, the wreck, the same command again, the proof; False when it ended before."""
    root = folder / "disk" / "store"
    with swept_world(provider, folder, str(root)) as world:
        disk = ForgetfulDisk(root, nth - 1, forgotten)
        store = NotedStore(root, disk)
        world.storing = lambda _: store
        cut = True
        with suppress(PowerCut):
            world.run(source(world), **NIGHT)
            cut = False
        disk.wreck(*wreck[:2])
        wreck_databases(world, wreck[2])
        world.storing = None
        recover(world, store.acknowledged)
    return cut


def undisturbed_calls(provider: str, folder: Path) -> int:
    """How many calls to the disk a night makes that nothing happens to."""
    root = folder / "disk" / "store"
    with swept_world(provider, folder, str(root)) as world:
        disk = MortalDisk(root, 10**9)
        world.storing = lambda _: DirectoryStore(root, disk)
        world.run(source(world), **NIGHT)
    return 10**9 - disk.calls_left


def wreck_databases(world: SweptWorld, how: str) -> None:
    """DuckDB syncs its own files; a disk that lies, or a copy put back by hand, leaves them in any state."""
    for path in [*world.folder.glob("*.duckdb*"), *world.folder.glob("state/*/*.duckdb*")]:
        if how == "lost":
            path.unlink()
        elif how != "kept":
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2 * (how == "torn")])


def recover(world: SweptWorld, acknowledged: dict[str, bytes]) -> None:
    after = world.desk().store
    lost = [key for key, data in acknowledged.items() if list(after.keys(key)) != [key] or after.read(key) != data]
    assert not lost, lost
    check(world, finish(world))
