"""Copies of small objects on this machine, so that a ledger on S3 need not be fetched again record by record.

A copy never decides: it stands for its object only while a listing of the store names the object with the entity tag
that the copy was made under. Whatever is odd about the files here is answered by deleting them and asking the store.
"""

import hashlib
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

Copy = tuple[str, bytes]  # entity tag, bytes

_SMALL_BYTES, _ALL_BYTES = 65_536, 64_000_000
_TAGS = 200_000  # of listed objects
_FRAME = struct.Struct("<II")  # length and checksum of the entry that follows
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[str, str, bytes]).decode


class Copies:
    """What this process has read or made of a store, and in `folder` what commands before it wrote down."""

    def __init__(self, folder: Path | None) -> None:
        self._path = folder / "copies" if folder else None
        self._held: dict[str, Copy] = {}
        self._made: dict[str, Copy] = {}  # no listing has named them yet
        self._room = _ALL_BYTES
        self._tags: dict[str, str] = {}  # by the last listing
        self._unwritten: set[str] = set()  # held, and in no file yet
        self._loaded: set[str] = set()  # folders of the store

    def seen(self, key: str, tag: str) -> None:
        """A listing names this object."""
        if len(self._tags) < _TAGS or key in self._tags:
            self._tags[key] = _bare(tag)
        if (made := self._made.pop(key, None)) is not None and made[0] == _bare(tag):
            self._held[key] = made
            self._unwritten.add(key)

    def keep(self, key: str, tag: str, data: bytes) -> None:
        """This object was read just now."""
        self._put(self._held, key, tag, data)
        self._unwritten.add(key)

    def keep_made(self, key: str, tag: str | None, data: bytes) -> None:
        """This object was made just now, or was there already where it has no tag: a copy once a listing agrees."""
        if tag:
            self._put(self._made, key, tag, data)

    def forget(self, key: str) -> None:
        for known in (self._held, self._made, self._tags):
            known.pop(key, None)

    def get(self, key: str) -> bytes | None:
        """What this process read, unless a listing has told since that it is something else by now."""
        tag, data = self._held.get(key, ("", None))
        return data if self._tags.get(key, tag) == tag else None

    def of(self, keys: Sequence[str]) -> dict[str, bytes]:
        """The copies of listed objects that are good, also those that an earlier command wrote down."""
        for folder in set(map(_folder, keys)) - self._loaded:
            self._load(folder)
        return {key: data for key in keys if (data := self.get(key)) is not None}

    def write_down(self, keys: Sequence[str]) -> None:
        """For the commands to come. What this disk refuses is not kept, and no harm done."""
        new: dict[str, list[bytes]] = {}
        for key in sorted(self._unwritten.intersection(keys)):
            tag, data = self._held.get(key, ("", b""))
            if tag:
                new.setdefault(_folder(key), []).append(_entry(key, tag, data))
        self._unwritten.difference_update(keys)
        if self._path is not None:
            with suppress(OSError):
                for folder, entries in new.items():
                    _append(self._path / _file_name(folder), b"".join(entries))

    def _put(self, copies: dict[str, Copy], key: str, tag: str, data: bytes) -> None:
        if len(data) <= min(_SMALL_BYTES, self._room):
            self._room -= len(data)
            copies[key] = (_bare(tag), data)

    def _load(self, folder: str) -> None:
        self._loaded.add(folder)
        if self._path is None:
            return
        path = self._path / _file_name(folder)
        try:
            entries = list(_entries(path.read_bytes()))
        except FileNotFoundError:
            return
        except (OSError, struct.error, ValueError, msgspec.MsgspecError):
            with suppress(OSError):
                path.unlink()
            return
        for key, tag, data in entries:
            if self._tags.get(key) == tag and key not in self._held:
                self._put(self._held, key, tag, data)


def _bare(tag: str) -> str:
    """Some servers quote entity tags, some do only here and there."""
    return tag.strip('"')


def _folder(key: str) -> str:
    """What shares a file: all of one job."""
    return key[: key.find("/", key.find("/") + 1)]


def _file_name(folder: str) -> str:
    return hashlib.sha256(folder.encode()).hexdigest()[:16]


def _entry(key: str, tag: str, data: bytes) -> bytes:
    told = _encode((key, tag, data))
    return _FRAME.pack(len(told), zlib.crc32(told)) + told


def _entries(content: bytes) -> Iterator[tuple[str, str, bytes]]:
    """Raises struct.error, ValueError, MsgspecError where the file is not what was written."""
    place = 0
    while place < len(content):
        length, checksum = _FRAME.unpack_from(content, place)
        place += _FRAME.size
        told = content[place : place + length]
        if zlib.crc32(told) != checksum:
            raise ValueError("not what was written")
        yield _decode(told)
        place += length


def _append(path: Path, entries: bytes) -> None:
    path.parent.mkdir(0o700, parents=True, exist_ok=True)
    with path.open("ab", buffering=0) as file:
        file.write(entries)
