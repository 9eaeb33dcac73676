"""Fixtures of the provider tests."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from providers.emulator import Emulator
from tests.providers.bench import DAY_S, Bench
from tests.providers.kit import CASES


@pytest.fixture
def make_bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Bench]]:
    """Benches whose emulator has the options that a test needs."""
    with ExitStack() as stack:

        def make(case: tuple[str, str] = CASES[0], timeout_s: float = 30.0, **options: Any) -> Bench:
            emulator = stack.enter_context(Emulator(**{"seed": 7, "speed": 0.0, "batch_seconds": 600.0} | options))
            for name, value in account(emulator.url).items():
                monkeypatch.setenv(name, value)
            return Bench(case, emulator, tmp_path, timeout_s)

        yield make


@pytest.fixture(params=CASES, ids="-".join)
def case(request: pytest.FixtureRequest) -> tuple[str, str]:
    """A way of asking: provider and endpoint."""
    chosen: tuple[str, str] = request.param
    return chosen


@pytest.fixture(scope="session")
def shared_emulator() -> Iterator[Emulator]:
    """One for all tests of a process that need no options; each test has days of its own."""
    with Emulator(seed=7, speed=0.0, batch_seconds=600.0) as emulator:
        yield emulator


@pytest.fixture(scope="session")
def connections() -> dict[tuple[str, str], Any]:
    """Clients of the shared emulator."""
    return {}


@pytest.fixture
def bench(
    case: tuple[str, str],
    shared_emulator: Emulator,
    connections: dict[tuple[str, str], Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Bench:
    """A bench without faults, once per way of asking."""
    shared_emulator.clear_faults()
    shared_emulator.advance(3 * DAY_S)
    for name, value in account(shared_emulator.url).items():
        monkeypatch.setenv(name, value)
    return Bench(case, shared_emulator, tmp_path, connections=connections)


def account(url: str) -> dict[str, str]:
    """The variables that point the SDKs at an emulator."""
    return {
        "OPENAI_BASE_URL": f"{url}/v1",
        "OPENAI_API_KEY": "sk-emulated",
        "ANTHROPIC_BASE_URL": url,
        "ANTHROPIC_API_KEY": "sk-emulated",
        "NO_PROXY": "127.0.0.1",
    }
