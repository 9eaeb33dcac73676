"""The limits of a Bedrock batch are the account's own, where AWS may be asked for them (PROVIDERS §3.2)."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

import providers
from providers import load_format
from providers.bedrock_format import LIMITS
from providers.bedrock_quotas import by_quotas, configured, measure, words_of
from providers.contract import Measured
from providers.emulator import BedrockSettings, Emulator, Fault
from tests.storage.stores import CREDENTIALS

Prepare = Callable[[Emulator], Emulator]
HAIKU = "us.anthropic.claude-haiku-4-5-20251001-v1:0"
LEAST = "Minimum number of records per batch inference job for {}"
PER_FILE = "Records per input file per batch inference job for {}"
PER_JOB = "Records per batch inference job for {}"
FILE_GB = "Batch inference input file size (in GB) for {}"


@pytest.fixture
def emulate() -> Iterator[Callable[..., Emulator]]:
    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(Emulator(**settings))


@pytest.fixture
def quotas(monkeypatch: pytest.MonkeyPatch) -> Prepare:
    """An emulated account whose quotas are asked for."""

    def prepare(emulator: Emulator) -> Emulator:
        for name, value in CREDENTIALS.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AWS_ENDPOINT_URL_SERVICE_QUOTAS", emulator.url)
        return emulator

    return prepare


def asked(emulator: Emulator, model: str = HAIKU, **options: str) -> Measured:
    return measure(LIMITS, model, options)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (HAIKU, "Claude Haiku 4.5"),
        ("anthropic.claude-3-haiku-20240307-v1:0", "Claude 3 Haiku"),
        ("anthropic.claude-3-5-sonnet-20241022-v2:0", "Claude 3.5 Sonnet v2"),
        ("eu.anthropic.claude-3-5-sonnet-20240620-v1:0", "Anthropic Claude 3.5 Sonnet V1"),
        ("arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0", "Amazon Nova Lite"),
        ("us.meta.llama3-3-70b-instruct-v1:0", "Llama 3.3 70B Instruct"),
        ("anthropic.claude-opus-4-1-20250805-v1:0", "Claude Opus 4.1"),
    ],
)
def test_a_quota_is_found_by_the_model_its_name_tells(model: str, name: str) -> None:
    found = by_quotas(LIMITS, model, {LEAST.format(name): 1_000.0, LEAST.format("Claude 3 Sonnet"): 7.0})
    assert found is not None
    assert found.requests_min == 1_000


def test_a_name_that_only_begins_alike_is_another_models() -> None:
    named = {LEAST.format(name): 7.0 for name in ("Claude 3.5 Sonnet", "Claude 3.5 Sonnet v2", "Claude Sonnet 4")}
    assert by_quotas(LIMITS, "anthropic.claude-3-sonnet-20240229-v1:0", named) is None
    assert words_of("claude-3-5-sonnet-20241022-v2:0") != words_of("claude-3-5-sonnet-20240620-v1:0")


def test_the_tighter_of_file_and_job_counts() -> None:
    told = {PER_FILE: 100_000.0, PER_JOB: 60_000.0, FILE_GB: 0.5}
    found = by_quotas(LIMITS, HAIKU, {text.format("Claude Haiku 4.5"): value for text, value in told.items()})
    assert found is not None
    assert (found.requests_min, found.requests, found.bytes) == (100, 60_000, 500_000_000)


@pytest.mark.parametrize("told", [{LEAST: 0.0}, {LEAST: 60_000.0}, {PER_JOB: 5.0}, {FILE_GB: 0.0}], ids=str)
def test_quotas_that_leave_nothing_possible_are_not_believed(told: dict[str, float]) -> None:
    named = {text.format("Claude Haiku 4.5"): value for text, value in told.items()}
    assert by_quotas(LIMITS, HAIKU, named) is None


@pytest.mark.parametrize(
    ("options", "expected"),
    [({}, (100, 50_000)), ({"records_min": "1000"}, (1_000, 50_000)), ({"records_max": "100000"}, (100, 100_000))],
)
def test_settings_say_what_cannot_be_read(options: dict[str, str], expected: tuple[int, int]) -> None:
    limits = configured(LIMITS, options)
    assert (limits.requests_min, limits.requests) == expected


def test_the_accounts_own_limits_are_read_over_all_pages(emulate: Callable[..., Emulator], quotas: Prepare) -> None:
    """PROVIDERS §3.2"""
    rules = BedrockSettings(min_records=500, file_records=100_000, job_records=90_000, file_bytes=2_000_000_000)
    emulator = quotas(emulate(bedrock=rules))
    found = asked(emulator, records_min="7")
    assert (found.limits.requests_min, found.limits.requests, found.limits.bytes) == (500, 90_000, 2_000_000_000)
    assert found.source == "those that Service Quotas names"


def test_a_denied_look_is_a_word_and_no_error(emulate: Callable[..., Emulator], quotas: Prepare) -> None:
    """PROVIDERS §3.2"""
    found = asked(quotas(emulate(bedrock=BedrockSettings(quotas_denied=True, min_records=500))), records_min="200")
    assert found.limits.requests_min == 200
    assert found.source.startswith("those of the settings, because Service Quotas was not read:")
    assert "AccessDeniedException" in found.source


@pytest.mark.parametrize(
    "fault",
    [
        {"action": "status", "status": 429},
        {"action": "status", "status": 200, "body": "<html>"},
        {"action": "status", "status": 200, "body": '{"Quotas":7}'},
        {"action": "drop_before"},
        {"action": "cut", "framing": "length", "after": 20},
    ],
    ids=str,
)
def test_a_look_that_fails_is_a_word_and_no_error(
    emulate: Callable[..., Emulator],
    quotas: Prepare,
    fault: dict[str, object],
) -> None:
    emulator = quotas(emulate(faults=[Fault(route="POST /", **fault)]))
    found = asked(emulator)
    assert (found.limits, len(emulator.requests)) == (LIMITS, 1)
    assert "was not read" in found.source


def test_a_model_that_no_quota_names_has_the_documented_limits(
    emulate: Callable[..., Emulator], quotas: Prepare
) -> None:
    found = asked(quotas(emulate()), "arn:aws:bedrock:us-east-1:000000000000:application-inference-profile/ab12cd34")
    assert found.limits == LIMITS
    assert "names none for arn" in found.source


def test_an_emulated_bedrock_is_never_measured_at_aws(
    emulate: Callable[..., Emulator], monkeypatch: pytest.MonkeyPatch
) -> None:
    emulator = emulate()
    for name, value in (CREDENTIALS | {"AWS_ENDPOINT_URL_BEDROCK": emulator.url}).items():
        monkeypatch.setenv(name, value)
    assert "AWS_ENDPOINT_URL_BEDROCK points at another server" in asked(emulator).source


@pytest.mark.parametrize("name", [name for name in providers.NAMES if name != "bedrock"])
def test_what_others_take_is_the_same_for_everybody(name: str) -> None:
    made = load_format(name)
    assert providers.measure(made, "m", {}) == Measured(made.limits, "those that the provider documents")
