"""The registry: names, pure formats without an SDK, clients from the environment alone."""

import subprocess
import sys
from typing import Any

import pytest

import providers
from providers.contract import Unavailable
from tests.providers.kit import CASES, prompt, template

KEYS = ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_PROFILE")


def loaded_after(code: str) -> set[str]:
    """The top-level modules in a fresh interpreter that ran `code`."""
    script = f"import sys\n{code}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_names_are_known() -> None:
    assert providers.NAMES == ("openai", "anthropic")


def test_formats_need_no_sdk() -> None:
    code = "import providers; [providers.load_format(name) for name in providers.NAMES]"
    assert not loaded_after(code) & {"openai", "anthropic", "httpx2", "pydantic", "tenacity", "boto3", "duckdb"}


@pytest.mark.parametrize("name", providers.NAMES)
def test_one_provider_never_loads_the_others_sdk(name: str) -> None:
    code = (
        "import os; os.environ.update(OPENAI_API_KEY='k', ANTHROPIC_API_KEY='k')\n"
        f"import providers; providers.connect({name!r})"
    )
    assert loaded_after(code) & set(providers.NAMES) == {name}


def test_an_unknown_provider_is_refused_with_the_choice() -> None:
    with pytest.raises(ValueError, match="choose openai or anthropic"):
        providers.load_format("nobody")


@pytest.mark.parametrize("name", providers.NAMES)
def test_an_unknown_endpoint_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no endpoint 'images'"):
        providers.load_format(name, "images")


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_a_connected_provider_has_the_same_format(case: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    connected = providers.connect(*case).format
    assert connected.encode(template(case), prompt()) == providers.load_format(*case).encode(template(case), prompt())


@pytest.mark.parametrize("name", providers.NAMES)
def test_without_a_key_a_person_is_needed(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    for key in KEYS:
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setenv("ANTHROPIC_CONFIG_DIR", str(tmp_path))  # a profile there would be a key, too
    with pytest.raises(Unavailable, match=f"set {name.upper()}_API_KEY") as caught:
        providers.connect(name)
    assert caught.value.kind == "blocked"


@pytest.mark.parametrize(
    ("name", "url", "host"),
    [
        ("openai", "", "api.openai.com"),
        ("openai", "http://127.0.0.1:4010/v1", "127.0.0.1"),
        ("openai", "https://eu.api.openai.com/v1", "eu.api.openai.com"),
        ("anthropic", "", "api.anthropic.com"),
        ("anthropic", "http://[::1]:8080", "::1"),
    ],
)
def test_served_by_is_the_host_without_its_port(
    name: str, url: str, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An emulator's answers must never pass for the real provider's."""
    monkeypatch.setenv(f"{name.upper()}_BASE_URL", url)
    assert providers.served_by(name) == host


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_the_client_asks_where_served_by_says(case: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{case[0].upper()}_API_KEY", "k")
    monkeypatch.setenv(f"{case[0].upper()}_BASE_URL", "http://127.0.0.9:1/v1")
    client: Any = providers.connect(*case)
    assert client.client.base_url.host == providers.served_by(case[0]) == "127.0.0.9"


def test_anthropics_spans_stay_off_whatever_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """They can hold prompts (RELIABILITY §7)."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    monkeypatch.setenv("ANTHROPIC_OPEN_TELEMETRY", "true")
    monkeypatch.setenv("ANTHROPIC_OPEN_TELEMETRY_TRACES_CONTENT_MODE", "content")
    client: Any = providers.connect("anthropic")
    assert client.client.open_telemetry["traces"]["enabled"] is False
