"""LLM providers' batch endpoints behind one contract; the only package that imports an LLM SDK.

load_format("openai", "responses")   the pure half: no SDK, no key, no network
connect("openai")                    the half that talks, for the account that the environment names
address("openai")                    where it is talked to
served_by("openai")                  the host that would answer: part of what an answer depends on
"""

import time
from collections.abc import Callable, Mapping
from typing import Protocol
from urllib.parse import urlsplit

from providers import anthropic, bedrock, openai
from providers.contract import TIMEOUT_S, Connection, Format, Objects, Provider

__all__ = ["NAMES", "address", "connect", "load_format", "served_by"]


class _Module(Protocol):
    """What a provider's module offers."""

    def address(self) -> str: ...

    def load_format(self, endpoint: str | None = None) -> Format: ...

    def connect(self, endpoint: str | None, connection: Connection) -> Provider: ...


_MODULES: dict[str, _Module] = {"openai": openai, "anthropic": anthropic, "bedrock": bedrock}
NAMES = tuple(_MODULES)


def load_format(name: str, endpoint: str | None = None) -> Format:
    """The pure half of a provider. Raises ValueError for a name or endpoint that does not exist."""
    return _module(name).load_format(endpoint)


def connect(
    name: str,
    endpoint: str | None = None,
    *,
    sleep: Callable[[float], None] = time.sleep,
    timeout_s: float = TIMEOUT_S,
    expires_after_s: int | None = None,
    objects: Objects | None = None,
    options: Mapping[str, str] | None = None,
) -> Provider:
    """The whole provider, for the account that the SDK's own environment variables name.

    `sleep` is used between the tries of one read. `expires_after_s` shortens how long OpenAI keeps what is sent and
    what is answered (3,600 to 2,592,000); the others have no such setting. `objects` is the store that shards lie in,
    where a provider reads and writes there itself; `options` are the provider's own. Raises ValueError as
    `load_format` does, Unavailable without a key.
    """
    connection = Connection(sleep, timeout_s, expires_after_s, objects, options or {})
    return _module(name).connect(endpoint, connection)


def address(name: str) -> str:
    """The effective base URL. Raises ValueError for a name that does not exist."""
    return _module(name).address()


def served_by(name: str) -> str:
    """The host of the effective base URL, without port: "api.openai.com", or an emulator's "127.0.0.1"."""
    return urlsplit(address(name)).hostname or ""


def _module(name: str) -> _Module:
    if name not in _MODULES:
        raise ValueError(f"There is no provider {name!r}: choose {', '.join(NAMES[:-1])} or {NAMES[-1]}.")
    return _MODULES[name]
