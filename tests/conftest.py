"""Fixtures of the whole suite: a fresh emulator, a fresh store, and the variables that point the SDKs at loopback."""

import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from batchjobs.cli import SDK_LOGGERS
from batchjobs.rehearsal import variables
from providers.emulator import Emulator
from tests.storage.stores import s3_server as s3_server
from tests.storage.stores import s3_url as s3_url
from tests.world import World

# Commands that the tests start inherit what is ignored here: all of Ctrl-C, where these run in a script's background.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def loud_loggers() -> Iterator[None]:
    """A command run inside the test process quiets the SDKs' loggers; the next test gets them as they were."""
    yield
    for name in SDK_LOGGERS:
        logging.getLogger(name).setLevel(logging.NOTSET)


@pytest.fixture(params=["openai", "anthropic"])
def provider(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def make_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., World]]:
    """Worlds with the emulator options that a test needs."""
    with ExitStack() as stack:

        def make(provider: str = "openai", store: str | None = None, **options: Any) -> World:
            emulator = stack.enter_context(Emulator(**{"seed": 7, "speed": 0.0, "batch_seconds": 600.0} | options))
            for name, value in variables(emulator.url).items():
                monkeypatch.setenv(name, value)
            world = World(emulator, store or str(tmp_path / "store"), tmp_path, provider)
            stack.callback(world.close)
            return world

        yield make


@pytest.fixture
def world(make_world: Callable[..., World], provider: str) -> World:
    """A faultless world, once per provider."""
    return make_world(provider)
