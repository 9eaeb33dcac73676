"""Real stores for the tests: a directory, and an S3 server process on loopback behind a proxy that can misbehave."""

import os
import socket
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.client import HTTPConnection, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import IO, Any

import boto3
import pytest
from botocore.config import Config

from storage.s3 import S3Store

MINISTACK = Path(__file__).parents[2] / ".venv-s3/bin/ministack"
BUCKET = "batchjobs-tests"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an S3 server that has one bucket: a process of its own, which ends with the session."""
    with s3_serving(tmp_path_factory.mktemp("s3")) as endpoint:
        yield endpoint


@contextmanager
def s3_serving(folder: Path) -> Iterator[str]:
    """The address of an S3 server that has one bucket: a process of its own, which ends with the block."""
    assert MINISTACK.exists(), "the S3 server is not installed: run `make setup`"
    port = free_port()
    process = subprocess.Popen(
        [MINISTACK],
        env=os.environ | {"BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port), "SERVICES": "s3"},
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    up = Event()
    reader = Thread(target=_drain, args=(process.stdout, up))
    reader.start()
    try:
        assert up.wait(60), "the S3 server did not start"
        endpoint = f"http://127.0.0.1:{port}"
        s3_client(endpoint).create_bucket(Bucket=BUCKET)
        yield endpoint
    finally:
        process.terminate()
        process.wait()
        reader.join()


@pytest.fixture
def s3_url(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of an empty store in that server; the environment names the server, as a user's would."""
    for name, value in (CREDENTIALS | {"AWS_ENDPOINT_URL_S3": s3_server}).items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/{uuid.uuid4().hex}"


@pytest.fixture
def s3_store(s3_server: str) -> S3Store:
    """An empty store in that server."""
    return S3Store(f"s3://{BUCKET}/{uuid.uuid4().hex}", s3_client(s3_server))


@pytest.fixture
def s3_proxy(s3_server: str) -> Iterator["Proxy"]:
    proxy = Proxy(s3_server.removeprefix("http://"))
    server = ProxyServer(proxy)
    proxy.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield proxy
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def flaky_store(s3_proxy: "Proxy", tmp_path: Path) -> S3Store:
    """An empty S3 store behind the proxy; its waits are noted in `s3_proxy.waits` and take no time."""
    return S3Store(
        f"s3://{BUCKET}/{uuid.uuid4().hex}",
        s3_client(s3_proxy.endpoint),
        spool_dir=tmp_path,
        sleep=s3_proxy.waits.append,
    )


@cache
def s3_client(endpoint: str) -> Any:
    """A client for an endpoint; making one takes longer than most tests."""
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id="test",
        aws_secret_access_key="test",
        region_name="us-east-1",
        config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
    )


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _drain(output: IO[bytes], up: Event) -> None:
    with output:
        for line in output:
            if b"Running on http" in line:
                up.set()


@dataclass(frozen=True)
class Fault:
    """What goes wrong with the next request of a method: it is refused with a status, or its answer is spoiled."""

    method: str
    status: int = 0
    code: str = ""
    spoil: str = ""  # "lose" the answer, "cut" it in the middle, or "flip" one bit of it


@dataclass
class Proxy:
    """Passes requests on to a server over real connections, except where a fault is due."""

    target: str
    endpoint: str = ""
    faults: list[Fault] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)

    def due(self, method: str) -> Fault:
        self.seen.append(method)
        fault = next((fault for fault in self.faults if fault.method == method), Fault(method))
        if fault in self.faults:
            self.faults.remove(fault)
        return fault


class ProxyServer(ThreadingHTTPServer):
    def __init__(self, proxy: Proxy) -> None:
        super().__init__(("127.0.0.1", 0), ProxyHandler)
        self.proxy = proxy


class ProxyHandler(BaseHTTPRequestHandler):
    server: ProxyServer
    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        fault = self.server.proxy.due(self.command)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if fault.status:
            self.refuse(fault)
        else:
            self.forward(body, fault.spoil)

    do_GET = do_DELETE = do_HEAD = do_PUT  # noqa: N815

    def refuse(self, fault: Fault) -> None:
        text = f"<Error><Code>{fault.code}</Code><Message>as arranged</Message></Error>".encode()
        self.send_response(fault.status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def forward(self, body: bytes, spoil: str) -> None:
        connection = HTTPConnection(self.server.proxy.target)
        connection.request(self.command, self.path, body, dict(self.headers))
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        self.close_connection = bool(spoil)
        if spoil != "lose":
            self.reply(answer, data, spoil)

    def reply(self, answer: HTTPResponse, data: bytes, spoil: str) -> None:
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        if spoil:
            self.send_header("Connection", "close")
        self.end_headers()
        if spoil == "flip":
            data = bytes([data[0] ^ 1]) + data[1:]
        self.wfile.write(data[: len(data) // 2] if spoil == "cut" else data)

    def log_message(self, *args: object) -> None:
        """Tests have nothing to say while they pass."""
