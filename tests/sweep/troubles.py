"""Ways in which the n-th effect of a night fails, alone or with all that follow: the disk, the provider, S3."""

import os
import socket
import struct
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from io import FileIO
from pathlib import Path
from threading import Thread
from typing import Any

import boto3
from botocore.config import Config

from providers.emulator import Fault
from storage.directory import DirectoryStore, Syscalls
from storage.s3 import S3Store
from tests.storage import stores
from tests.storage.disks import WatchedDisk
from tests.sweep.night import SweptWorld, swept_world
from tests.world import World


@dataclass
class Broken:
    """A world with one fault in it. `fired`: did it strike so far? `heal` takes it out; `effects` were there so far."""

    world: SweptWorld
    effects: Callable[[], int]
    fired: Callable[[], bool]
    heal: Callable[[], None]


@dataclass(frozen=True)
class Trouble:
    """A kind of fault: `strike(provider, folder, n, lasting)` makes a world in which the n-th effect fails."""

    name: str
    strike: Callable[[str, Path, int, bool], AbstractContextManager[Broken]]


# the disk


class SweptDisk(WatchedDisk):
    """Fails at the n-th call of any kind, reads included, until healed."""

    def __init__(self, number: int, nth: int, lasting: bool) -> None:
        super().__init__(self._pass)
        self.number, self.nth, self.lasting = number, nth, lasting
        self.calls, self.fired = 0, False

    def _pass(self, _call: str, path: Path) -> None:
        self.calls += 1
        if self.calls == self.nth or (self.lasting and self.calls > self.nth > 0):
            self.fired = True
            raise OSError(self.number, os.strerror(self.number), str(path))

    def open_file(self, path: str | Path) -> FileIO:
        self._pass("open", Path(path))
        return super().open_file(path)

    def entries(self, path: str) -> list[str]:
        self._pass("list", Path(path))
        return super().entries(path)

    def write(self, fd: int, data: memoryview) -> int:
        self._pass("write", self.paths[fd])
        return Syscalls.write(self, fd, data)

    def heal(self) -> None:
        self.nth, self.lasting = 0, False


def disk(name: str, number: int) -> Trouble:
    return Trouble(f"disk {name}", partial(_disk, number))


@contextmanager
def _disk(number: int, provider: str, folder: Path, nth: int, lasting: bool) -> Iterator[Broken]:
    calls = SweptDisk(number, nth, lasting)
    with swept_world(provider, folder) as world:
        world.storing = lambda one: DirectoryStore(Path(one.store), calls)
        yield Broken(world, lambda: calls.calls, lambda: calls.fired, calls.heal)


# the provider


def wire(name: str, *, impatient: bool = False, **fault: Any) -> Trouble:
    return Trouble(f"provider {name}", partial(_wire, fault, impatient))


@contextmanager
def _wire(fault: dict[str, Any], impatient: bool, provider: str, folder: Path, nth: int, lasting: bool) -> Any:
    with swept_world(provider, folder) as world:
        world.impatient = impatient
        world.emulator.add_fault(Fault(**fault, nth=nth, times=0 if lasting else 1))

        def seen() -> int:
            return len(world.emulator.requests)

        def heal() -> None:
            world.emulator.clear_faults()
            world.impatient = False

        yield Broken(world, seen, lambda: seen() >= nth, heal)


# S3


@dataclass
class CountingProxy(stores.Proxy):
    """Spoils the n-th request (of one method, if `only` one counts), or it and all that follow."""

    only: str = ""
    fault: stores.Fault = field(default_factory=lambda: stores.Fault("any"))
    nth: int = 0
    lasting: bool = False
    fired: bool = False

    def due(self, method: str) -> stores.Fault:
        if self.only not in ("", method):
            return stores.Fault(method)
        self.seen.append(method)
        hit = len(self.seen) == self.nth or (self.lasting and len(self.seen) > self.nth > 0)
        self.fired |= hit
        return self.fault if hit else stores.Fault(method)

    def heal(self) -> None:
        self.nth = 0


class RoughHandler(stores.ProxyHandler):
    """Also resets connections, and lets a client wait longer than it does."""

    def forward(self, body: bytes, spoil: str) -> None:
        if spoil == "stall":
            time.sleep(STALL_S)
        if spoil in ("stall", "reset"):
            self.close_connection = True
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            return
        super().forward(body, spoil)


class RoughServer(stores.ProxyServer):
    def __init__(self, proxy: CountingProxy) -> None:
        super().__init__(proxy)
        self.RequestHandlerClass = RoughHandler

    def handle_error(self, *_: object) -> None:
        """Clients that give up are what is being tested."""


STALL_S = 0.6
HASTE_S = 0.3  # how long a client waits where the server stalls
PATIENCE_S = 30.0


def bucket(name: str, server: str, status: int = 0, code: str = "", spoil: str = "", only: str = "") -> Trouble:
    return Trouble(f"s3 {name}", partial(_bucket, server, only, stores.Fault("any", status, code, spoil)))


@contextmanager
def _bucket(
    server: str, only: str, fault: stores.Fault, provider: str, folder: Path, nth: int, lasting: bool
) -> Iterator[Broken]:
    proxy = CountingProxy(server.removeprefix("http://"), only=only, fault=fault, nth=nth, lasting=lasting)
    url = f"s3://{stores.BUCKET}/{uuid.uuid4().hex}"
    with _proxied(proxy), swept_world(provider, folder, url) as world, closing_clients(proxy.endpoint) as client:

        def store(one: World) -> S3Store:
            wait_s = HASTE_S if fault.spoil == "stall" and proxy.nth else PATIENCE_S
            return S3Store(url, client(wait_s), spool_dir=folder, sleep=one.emulator.advance)

        world.storing = store
        yield Broken(world, lambda: len(proxy.seen), lambda: proxy.fired, proxy.heal)


@contextmanager
def _proxied(proxy: CountingProxy) -> Iterator[None]:
    server = RoughServer(proxy)
    proxy.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def closing_clients(endpoint: str) -> Iterator[Callable[[float], Any]]:
    """S3 clients by how long they wait for an answer, each made once."""
    clients: dict[float, Any] = {}

    def client(wait_s: float) -> Any:
        if wait_s not in clients:
            config = Config(retries={"total_max_attempts": 1}, read_timeout=wait_s, s3={"addressing_style": "path"})
            clients[wait_s] = boto3.client(
                "s3",
                endpoint_url=endpoint,
                aws_access_key_id="test",
                aws_secret_access_key="test",
                region_name="us-east-1",
                config=config,
            )
        return clients[wait_s]

    try:
        yield client
    finally:
        for one in clients.values():
            one.close()
