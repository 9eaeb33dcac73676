"""LLM providers' batch endpoints behind one contract; the only package that imports an LLM SDK.

load_format("openai", "responses")   the pure half: no SDK, no key, no network
connect("openai")                    the half that talks, for the account that the environment names
address("openai")                    where it is talked to
served_by("openai")                  the host that would answer: part of what an answer depends on

"compatible" is a server that speaks OpenAI's protocol and is described by the `switches` of these functions, which mean
nothing to the others.
"""

import time
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol, cast
from urllib.parse import urlsplit

from providers.contract import TIMEOUT_S, Connection, Format, Measured, Objects, Provider, Traits
from providers.profiles import AZURE, COMPATIBLE, GROQ, compatible

__all__ = [
    "CHOICE",
    "NAMES",
    "address",
    "check_options",
    "connect",
    "endpoints",
    "lacks",
    "load_format",
    "measure",
    "served_by",
    "traits",
]

Switches = Mapping[str, Any]
Options = Mapping[str, str]


class _Module(Protocol):
    """What a provider's module offers."""

    def address(self) -> str: ...

    def endpoints(self) -> tuple[str, ...]: ...

    def load_format(self, endpoint: str | None = None) -> Format: ...

    def connect(self, endpoint: str | None, connection: Connection) -> Provider: ...


# Everything there is to know of a provider is in its module, and here stands its name (docs/architecture.md). It is
# imported when it is asked for: a command that only looks at the store needs none.
_MODULES = {"openai": "providers.openai", "anthropic": "providers.anthropic", "bedrock": "providers.bedrock"}
_SPEAKERS = {profile.name: profile for profile in (AZURE, GROQ, COMPATIBLE)}  # of OpenAI's protocol
NAMES = (*_MODULES, *_SPEAKERS)
CHOICE = f"{', '.join(NAMES[:-1])} or {NAMES[-1]}"


def load_format(name: str, endpoint: str | None = None, switches: Switches | None = None) -> Format:
    """The pure half of a provider. Raises ValueError for a name, endpoint or switch that does not exist."""
    return _module(name, switches).load_format(endpoint)


def measure(made: Format, model: str, options: Options) -> Measured:
    """How large a batch of `model` may be in this account: asks AWS; what others take is the same for everybody.

    Buys nothing, raises nothing: what cannot be read is told in `source`.
    """
    if made.traits.limits_vary:
        from providers import bedrock_quotas

        return bedrock_quotas.measure(made.limits, model, options)
    return Measured(made.limits, "those that the provider documents")


def connect(
    name: str,
    endpoint: str | None = None,
    *,
    sleep: Callable[[float], None] = time.sleep,
    timeout_s: float = TIMEOUT_S,
    expires_after_s: int | None = None,
    objects: Objects | None = None,
    options: Options | None = None,
    switches: Switches | None = None,
) -> Provider:
    """The whole provider, for the account that the SDK's own environment variables name.

    `sleep` is used between the tries of one read. `expires_after_s` shortens how long OpenAI keeps what is sent and
    what is answered (3,600 to 2,592,000); the others have no such setting. `objects` is the store that shards lie in,
    where a provider reads and writes there itself; `options` are the provider's own. Raises ValueError as
    `load_format` does, Unavailable without a key.
    """
    connection = Connection(sleep, timeout_s, expires_after_s, objects, options or {})
    return _module(name, switches).connect(endpoint, connection)


def address(name: str, switches: Switches | None = None) -> str:
    """The effective base URL. Raises ValueError for a name that does not exist, or an address that nothing names."""
    return _module(name, switches).address()


def served_by(name: str, switches: Switches | None = None) -> str:
    """The host of the effective base URL, without port: "api.openai.com", or an emulator's "127.0.0.1"."""
    return urlsplit(address(name, switches)).hostname or ""


def endpoints(name: str, switches: Switches | None = None) -> tuple[str, ...]:
    """The ways of asking a provider. Raises ValueError for a name that does not exist."""
    return _module(name, switches).endpoints()


def check_options(name: str, options: Options) -> None:
    """Raises ValueError for options (see `connect`) that the provider would refuse; most have none."""
    if name == "bedrock":
        from providers import bedrock

        bedrock.check(options)


def lacks(name: str) -> str:
    """The extra of this package to install before `connect` can be called; "" where its SDK is there.

    Raises ValueError for a name that does not exist.
    """
    needs = traits(name)
    try:
        return "" if find_spec(needs.sdk) else needs.extra
    except ImportError:
        return needs.extra


def traits(name: str) -> Traits:
    """What is the same for all ways of asking a provider. Raises ValueError for a name that does not exist."""
    return load_format(name).traits


def _module(name: str, switches: Switches | None) -> _Module:
    if name in _SPEAKERS:
        from providers.openai import Server

        return Server(compatible(switches) if name == COMPATIBLE.name and switches else _SPEAKERS[name])
    if name not in _MODULES:
        raise ValueError(f"There is no provider {name!r}: choose {CHOICE}.")
    return cast(_Module, import_module(_MODULES[name]))
