"""Fixtures of the emulator's tests."""

from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import openai
import pytest
from anthropic import Anthropic
from openai import OpenAI

from providers.emulator import Emulator


@pytest.fixture
def emulate() -> Iterator[Callable[..., Emulator]]:
    """Starts emulators as a test describes them."""
    running: list[Emulator] = []

    def start(**settings: Any) -> Emulator:
        running.append(Emulator(**settings))
        running[-1].serve()
        return running[-1]

    yield start
    for emulator in running:
        emulator.stop()


@pytest.fixture
def emulator(emulate: Callable[..., Emulator]) -> Emulator:
    return emulate()


@pytest.fixture
def clients() -> Iterator[list[Any]]:
    opened: list[Any] = []
    yield opened
    for client in opened:
        client.close()


@pytest.fixture
def openai_for(clients: list[Any]) -> Callable[..., OpenAI]:
    def client(emulator: Emulator, **options: Any) -> OpenAI:
        options = {"api_key": "sk-test", "max_retries": 0, "timeout": 10, **options}
        plain = openai.DefaultHttpxClient(verify=False)  # loading certificates takes longer than most tests
        clients.append(OpenAI(http_client=plain, base_url=emulator.url + "/v1", **options))
        return clients[-1]

    return client


@pytest.fixture
def anthropic_for(clients: list[Any]) -> Callable[..., Anthropic]:
    def client(emulator: Emulator, **options: Any) -> Anthropic:
        options = {"api_key": "key-test", "max_retries": 0, "timeout": 10, **options}
        plain = anthropic.DefaultHttpxClient(verify=False)
        clients.append(Anthropic(http_client=plain, base_url=emulator.url, **options))
        return clients[-1]

    return client


@pytest.fixture
def oa(emulator: Emulator, openai_for: Callable[..., OpenAI]) -> OpenAI:
    return openai_for(emulator)


@pytest.fixture
def an(emulator: Emulator, anthropic_for: Callable[..., Anthropic]) -> Anthropic:
    return anthropic_for(emulator)
