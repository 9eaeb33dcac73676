"""Fixtures of the emulator's tests."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import anthropic
import openai
import pytest
from anthropic import Anthropic
from openai import OpenAI

from providers.emulator import BedrockSettings, Emulator, Fault
from tests.emulator.aws import Account, client_of
from tests.storage.stores import CREDENTIALS


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


@pytest.fixture
def account_of(
    emulate: Callable[..., Emulator], clients: list[Any], s3_server: str, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Account]:
    """Bedrock accounts as a test describes them; jobs of one record and more unless it says otherwise."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)

    def make(faults: Sequence[Fault] = (), settings: dict[str, Any] | None = None, **bedrock: Any) -> Account:
        rules = BedrockSettings(**{"min_records": 1, **bedrock})
        emulator = emulate(s3_endpoint=s3_server, bedrock=rules, faults=faults, **(settings or {}))
        clients.extend(client_of(service, emulator.url) for service in ("bedrock", "bedrock-runtime"))
        return Account(emulator, s3_server, *clients[-2:])

    return make


@pytest.fixture
def account(account_of: Callable[..., Account]) -> Account:
    return account_of()
