"""No key and no prompt in an error, a log or a repr, on any failing path (RELIABILITY E6, §7)."""

import logging
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from providers.contract import ProviderError, Tag
from tests.providers.bench import BASES, LIST, Bench
from tests.providers.kit import CLIENTS, SENT

pytestmark = pytest.mark.contract("no key and no prompt in errors and logs")


@pytest.fixture(params=CLIENTS, ids="-".join)
def case(request: pytest.FixtureRequest) -> tuple[str, str]:
    chosen: tuple[str, str] = request.param
    return chosen


KEY = "sk-canary-key-0123456789"
PROMPT = "canary prompt: Mrs Doe of Acme said yes"


@pytest.fixture
def watched(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A bench with a key and a prompt that must not be seen again."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEY)
    for name in ("AZURE_OPENAI", "GROQ", "TOGETHER"):
        monkeypatch.setenv(f"{name}_API_KEY", KEY)
    bench.provider = bench.connect()
    return bench


def told_by(verb: Callable[[], Any]) -> str:
    """Everything a person or a log could see of the error that `verb` raises."""
    with pytest.raises(ProviderError) as caught:
        verb()
    error = caught.value
    return "\n".join([str(error), repr(error), str(vars(error)), *traceback.format_exception(error)])


def assert_clean(text: str) -> None:
    assert "canary" not in text
    assert "Mrs Doe" not in text


# What a provider or a gateway may say back, with our own words in it.
ECHO = {"message": f"Incorrect key {KEY}, or the request is wrong: {PROMPT}", "code": f"bad {PROMPT}", "kind": PROMPT}
PAGE = {"body": f"<html>{KEY} {PROMPT}</html>"}
each_fault = pytest.mark.parametrize(
    "fault",
    [
        *[{"action": "status", "status": status, **ECHO} for status in (400, 401, 409, 429, 500)],
        *[{"action": "status", "status": status, **PAGE} for status in (200, 404, 502)],
        {"action": "drop_before"},
        {"action": "cut", "after": 10},
    ],
    ids=lambda fault: "-".join(str(value) for name, value in fault.items() if name in ("action", "status")),
)


@each_fault
def test_a_failed_purchase_repeats_nothing(watched: Bench, fault: dict[str, Any]) -> None:
    shard = watched.shard(text=PROMPT)
    staged = watched.provider.stage(shard)
    watched.fault(**fault)
    assert_clean(told_by(lambda: watched.provider.create(shard, staged, watched.tag())))


@each_fault
def test_a_failed_read_repeats_nothing(watched: Bench, fault: dict[str, Any]) -> None:
    shard = watched.shard(text=PROMPT)
    ref = watched.finished(shard)
    for route in (watched.batch_route("*"), LIST[watched.name], watched.results_route()):
        watched.fault(route=route, times=0, **fault)
    verbs: list[Callable[[], Any]] = [
        lambda: watched.provider.status(ref),
        lambda: watched.provider.cancel(ref),
        lambda: watched.files(ref),
        lambda: watched.find(shard),
    ]
    for verb in verbs:
        assert_clean(told_by(verb))


@each_fault
def test_a_failed_upload_repeats_nothing(watched: Bench, fault: dict[str, Any]) -> None:
    shard = watched.shard(text=PROMPT)
    watched.fault(route=f"* {watched.shelf}*", times=0, **fault)
    if watched.name in BASES:
        assert_clean(told_by(lambda: watched.provider.stage(shard)))


@pytest.mark.parametrize("case", SENT, ids="-".join)
def test_a_download_that_breaks_off_repeats_nothing(watched: Bench) -> None:
    ref = watched.finished(watched.shard(text=PROMPT))
    watched.fault("cut", watched.results_route(), after=900)
    assert_clean(told_by(lambda: watched.files(ref)))


def test_a_provider_shows_no_key(watched: Bench) -> None:
    assert_clean(repr(watched.provider))


def test_a_purchase_logs_neither_key_nor_prompt(watched: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """RELIABILITY E6: at DEBUG Anthropic's SDK prints the body it sends, which therefore must be a stream."""
    caplog.set_level(logging.DEBUG)
    watched.finished(watched.shard(text=PROMPT))
    assert caplog.records
    assert_clean(caplog.text)
    assert len(watched.batches) == 1


def test_a_tag_is_all_that_names_a_purchase(watched: Bench) -> None:
    watched.fault("status", status=500)
    shard = watched.shard(text=PROMPT)
    text = told_by(lambda: watched.buy(shard, Tag("job-1", "1-00007", 2)))
    assert "Shard job-1/1-00007/2" in text
