"""The registry: names, pure formats without an SDK, clients from the environment alone."""

import itertools
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grimp
import pytest

import providers
from providers.contract import Unavailable
from tests.providers.kit import CASES, each_format, prompt, template

pytestmark = pytest.mark.contract("one account, one address")

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
SDKS = {name: providers.traits(name).sdk for name in providers.NAMES}
ACCOUNT = {
    "OPENAI_API_KEY": "k",
    "ANTHROPIC_API_KEY": "k",
    "AWS_ACCESS_KEY_ID": "k",
    "AWS_SECRET_ACCESS_KEY": "k",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AZURE_OPENAI_API_KEY": "k",
    "AZURE_OPENAI_ENDPOINT": "https://acme.openai.azure.com",
    "OPENAI_API_VERSION": "2025-04-01-preview",
    "GROQ_API_KEY": "k",
}
SOMEWHERE = {"OPENAI_BASE_URL": "https://llm.example/v1"}
KEYS = (
    *("AZURE_OPENAI_API_KEY", "AZURE_OPENAI_AD_TOKEN", "GROQ_API_KEY"),
    *("OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_PROFILE"),
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_BEARER_TOKEN_BEDROCK"),
)


def loaded_after(code: str) -> set[str]:
    """The top-level modules in a fresh interpreter that ran `code`."""
    script = f"import sys\n{code}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_names_are_known() -> None:
    assert providers.NAMES == ("openai", "anthropic", "bedrock", "azure", "groq", "compatible")
    assert set(SDKS.values()) == {"openai", "anthropic", "boto3"}


def test_formats_need_no_sdk() -> None:
    code = "import providers; [providers.load_format(name) for name in providers.NAMES]"
    assert not loaded_after(code) & {"openai", "anthropic", "httpx2", "pydantic", "tenacity", "boto3", "duckdb"}


@pytest.mark.parametrize("name", providers.NAMES)
def test_one_provider_never_loads_the_others_sdk(name: str) -> None:
    code = f"import os; os.environ.update({ACCOUNT | SOMEWHERE})\nimport providers; providers.connect({name!r})"
    assert loaded_after(code) & set(SDKS.values()) == {SDKS[name]}


@pytest.mark.parametrize("name", providers.NAMES)
def test_a_provider_says_by_which_extra_its_sdk_is_installed(name: str) -> None:
    made = providers.traits(name)
    (needs,) = EXTRAS[made.extra]
    assert needs.startswith(f"{made.sdk}>=")
    assert f"batchjobs[{','.join(one for one in EXTRAS if one not in ('all', 'dev'))}]" in EXTRAS["all"]


def test_one_providers_code_never_knows_anothers() -> None:
    """Whatever is in the registry: no chain of imports leads from one to another."""
    graph = grimp.build_graph("providers", cache_dir=None)
    own = set(vars(providers)["_MODULES"].values())
    assert len(own) == 3
    assert [(a, b) for a, b in itertools.permutations(sorted(own), 2) if graph.chain_exists(a, b)] == []


def test_an_unknown_provider_is_refused_with_the_choice() -> None:
    with pytest.raises(ValueError, match="choose openai, anthropic, bedrock, azure, groq or compatible"):
        providers.load_format("nobody")


@pytest.mark.parametrize("name", providers.NAMES)
def test_an_unknown_endpoint_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no endpoint 'images'"):
        providers.load_format(name, "images")


@each_format
def test_a_connected_provider_has_the_same_format(case: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in (ACCOUNT | SOMEWHERE).items():
        monkeypatch.setenv(key, value)
    connected = providers.connect(*case).format
    assert connected.encode(template(case), prompt()) == providers.load_format(*case).encode(template(case), prompt())


@pytest.mark.parametrize("name", providers.NAMES)
def test_without_a_key_a_person_is_needed(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    for key in KEYS:
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setenv("ANTHROPIC_CONFIG_DIR", str(tmp_path))  # a profile there would be a key, too
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    for name_of_file in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name_of_file, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.9:1/v1")
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "http://127.0.0.9:1/openai/v1")
    wanted = f"set {providers.traits(name).key_variables[0]}"
    with pytest.raises(Unavailable, match=wanted) as caught:
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


def test_without_a_region_a_person_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(Unavailable, match="set AWS_DEFAULT_REGION") as caught:
        providers.connect("bedrock")
    assert caught.value.kind == "blocked"


@pytest.mark.parametrize(
    ("environment", "host"),
    [
        ({"AWS_DEFAULT_REGION": "eu-west-1"}, "bedrock.eu-west-1.amazonaws.com"),
        ({"AWS_REGION": "eu-west-1"}, "bedrock.eu-west-1.amazonaws.com"),
        ({"AWS_DEFAULT_REGION": "cn-north-1"}, "bedrock.cn-north-1.amazonaws.com.cn"),
        ({"AWS_DEFAULT_REGION": "us-west-2", "AWS_USE_FIPS_ENDPOINT": "true"}, "bedrock-fips.us-west-2.amazonaws.com"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.9:1"}, "127.0.0.9"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.9:1", "AWS_ENDPOINT_URL_BEDROCK": "http://127.0.0.8:1"}, "127.0.0.8"),
    ],
)
def test_bedrock_is_asked_where_the_environment_says(
    environment: dict[str, str], host: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """And nowhere else: a profile may name an address too, and its answers would pass for AWS's."""
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_BEDROCK"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "config").write_text("[default]\nendpoint_url = http://127.0.0.7:1\nregion = us-east-2\n")
    named = ACCOUNT | {"AWS_CONFIG_FILE": str(tmp_path / "config")} | environment
    if "AWS_REGION" in environment:
        del named["AWS_DEFAULT_REGION"]
    for name, value in named.items():
        monkeypatch.setenv(name, value)
    client: Any = providers.connect("bedrock")
    assert urlsplit(client.client.meta.endpoint_url).hostname == providers.served_by("bedrock") == host
