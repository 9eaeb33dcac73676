"""Fixtures of the provider tests."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from providers.emulator import BedrockSettings, Emulator, environment
from storage.s3 import S3Store
from tests.providers.bench import DAY_S, Bench
from tests.providers.kit import CASES, FORMATS
from tests.storage.stores import BUCKET, CREDENTIALS, s3_client

OPTIONS: dict[str, Any] = {"seed": 7, "speed": 0.0, "batch_seconds": 600.0}


@pytest.fixture
def make_bench(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_store: Callable[[str], S3Store | None]
) -> Iterator[Callable[..., Bench]]:
    """Benches whose emulator has the options that a test needs."""
    with ExitStack() as stack:

        def make(case: tuple[str, str] = CASES[0], timeout_s: float = 30.0, **options: Any) -> Bench:
            store = make_store(case[0])
            plain = OPTIONS | {"bedrock": BedrockSettings(min_records=1)}
            emulator = stack.enter_context(Emulator(**plain | options))
            for name, value in account(emulator.url).items():
                monkeypatch.setenv(name, value)
            connections: dict[tuple[str, str], Any] = {}
            bench = Bench(case, emulator, tmp_path, timeout_s, connections, store=store)
            stack.callback(close, connections)
            stack.callback(bench.close)
            return bench

        yield make


@pytest.fixture(params=FORMATS, ids="-".join)
def case(request: pytest.FixtureRequest) -> tuple[str, str]:
    """A way of asking: provider and endpoint."""
    chosen: tuple[str, str] = request.param
    return chosen


@pytest.fixture(scope="session")
def shared_emulators() -> Iterator[Callable[[str], Emulator]]:
    """One for all tests of a process that need no options, and one for those with Bedrock, which needs an S3 server.

    Each test has days of its own.
    """
    running: dict[bool, Emulator] = {}
    with ExitStack() as stack:

        def shared(provider: str) -> Emulator:
            aws = provider == "bedrock"
            if aws not in running:
                plenty = BedrockSettings(min_records=1, jobs_per_model=None)
                running[aws] = stack.enter_context(Emulator(**OPTIONS, bedrock=plenty))
            return running[aws]

        yield shared


@pytest.fixture(scope="session")
def connections(shared_emulators: Callable[[str], Emulator]) -> Iterator[dict[tuple[str, str], Any]]:
    """Clients of the shared emulators, closed before they are."""
    clients: dict[tuple[str, str], Any] = {}
    yield clients
    close(clients)


def close(clients: dict[tuple[str, str], Any]) -> None:
    for client in clients.values():
        client.close()


@pytest.fixture
def make_store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], S3Store | None]:
    """An empty S3 store for the provider that reads and writes there, in a server which others need not wait for."""

    def make(provider: str) -> S3Store | None:
        if provider != "bedrock":
            return None
        endpoint = request.getfixturevalue("s3_server")
        for name, value in (CREDENTIALS | {"AWS_ENDPOINT_URL_S3": endpoint}).items():
            monkeypatch.setenv(name, value)
        return S3Store(f"s3://{BUCKET}/{uuid.uuid4().hex}", s3_client(endpoint))

    return make


@pytest.fixture
def bench(
    case: tuple[str, str],
    shared_emulators: Callable[[str], Emulator],
    connections: dict[tuple[str, str], Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make_store: Callable[[str], S3Store | None],
) -> Iterator[Bench]:
    """A bench without faults, once per way of asking."""
    store, shared_emulator = make_store(case[0]), shared_emulators(case[0])
    shared_emulator.clear_faults()
    shared_emulator.advance(3 * DAY_S)
    for name, value in account(shared_emulator.url).items():
        monkeypatch.setenv(name, value)
    bench = Bench(case, shared_emulator, tmp_path, connections=connections, store=store)
    yield bench
    bench.close()


def account(url: str) -> dict[str, str]:
    """The variables that point the SDKs at an emulator; what else of AWS a test asks, it names itself."""
    told = environment(url, "sk-emulated")
    for service in ("BEDROCK_RUNTIME", "SERVICE_QUOTAS"):
        del told[f"AWS_ENDPOINT_URL_{service}"]
    together = {"TOGETHER_BASE_URL": f"{url}/together/v1", "TOGETHER_API_KEY": "sk-emulated"}
    return told | together | {"NO_PROXY": "127.0.0.1"}
