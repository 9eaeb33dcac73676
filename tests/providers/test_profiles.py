"""Servers that speak OpenAI's protocol: switches a person can set, addresses, keys, and how they are asked."""

import json
from typing import Any

import msgspec
import pytest

import providers
from providers import openai_batches
from providers.contract import Outcome, Prompt, RequestTemplate, State, Status, Unavailable
from providers.openai import Server
from providers.profiles import AZURE, COMPATIBLE, GROQ, LIKE, OPENAI, SWITCHES, compatible
from tests.providers.kit import Verdict, prompt

pytestmark = pytest.mark.contract("the provider's own ways")

OTHERS = [AZURE, GROQ, COMPATIBLE]


def asked(**switches: Any) -> dict[str, Any]:
    """A chat body for a server with these switches."""
    template = RequestTemplate("m", 500, "Verdict", Verdict.model_json_schema())
    told: dict[str, Any] = json.loads(providers.load_format("compatible", None, switches).encode(template, prompt()))
    return told


def told(profile: Any, status: str, **members: Any) -> Status:
    batch = msgspec.convert({"id": "batch_1", "status": status} | members, openai_batches.Batch)
    return openai_batches.status_of(batch, None, profile)


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ({"cancel": False}, "there is no switch 'cancel': choose from like, url_variable"),
        ({"cancels": "no"}, "cancels is 'no': make it true or false"),
        ({"max_requests": 0}, "max_requests is 0: make it a whole number from 1"),
        ({"max_requests": True}, "max_requests is True"),
        ({"structured": "xml"}, "structured is 'xml': choose json_schema, json_object, none"),
        ({"window": "soon"}, "window is 'soon': make it hours or days"),
        ({LIKE: "groq", "window": "9d"}, "window is '9d': make it one of 24h, 2d"),
        ({LIKE: "nobody"}, "like is 'nobody': name openai, azure, groq"),
        ({"chat_path": ""}, "all empty"),
        ({"chat_path": "v1/chat"}, "begin it with a slash"),
        ({"statuses": {"done": "over"}}, "each with one of validating"),
        ({"statuses": {"done": ["completed"]}}, "each with one of validating"),
        ({"name": "x"}, "there is no switch 'name'"),
    ],
)
def test_a_switch_that_cannot_be_is_named(table: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        compatible(table)


def test_a_key_where_its_variable_should_be_named_is_not_repeated() -> None:
    with pytest.raises(ValueError, match="name of an environment variable") as caught:
        compatible({"key_variable": "sk-canary"})
    assert "canary" not in str(caught.value)


def test_every_switch_is_explained() -> None:
    assert all(len(one.metadata["says"]) > 15 for one in SWITCHES.values())


def test_a_server_can_be_like_another_but_for_a_switch() -> None:
    made = compatible({LIKE: "groq", "structured": "json_object", "window": "7d"})
    assert (made.name, made.structured, made.url) == ("compatible", "json_object", GROQ.url)
    assert made.limits.window_s == 7 * 86_400


def test_the_limits_are_the_servers_own() -> None:
    """PROVIDERS §6, §7, §8"""
    assert (AZURE.limits.requests, AZURE.limits.bytes) == (100_000, 200_000_000)
    assert (GROQ.limits.requests, GROQ.limits.bytes) == (50_000, 100_000_000)
    assert compatible({"max_requests": 7, "max_bytes": 9_000}).limits.requests == 7


def test_azure_gives_up_nothing_after_a_day() -> None:
    """PROVIDERS §6: jobs run on until cancelled."""
    assert OPENAI.limits.window_s == 86_400
    assert AZURE.limits.window_s > 365 * 86_400


@pytest.mark.parametrize(
    ("name", "endpoint", "path"),
    [
        ("azure", "chat", "/chat/completions"),
        ("azure", "responses", "/v1/responses"),
        ("groq", "chat", "/v1/chat/completions"),
        ("compatible", "chat", "/v1/chat/completions"),
    ],
)
def test_the_path_in_a_line_is_the_servers_own(name: str, endpoint: str, path: str) -> None:
    """PROVIDERS §6: Azure wants it without the version."""
    assert json.loads(providers.load_format(name, endpoint).lines(["a"], [b"{}"]))["url"] == path


@pytest.mark.parametrize("name", ["groq", "compatible"])
def test_an_endpoint_that_a_server_lacks_is_refused(name: str) -> None:
    """PROVIDERS §7: Groq has chat alone."""
    with pytest.raises(ValueError, match="has no endpoint 'responses': choose chat"):
        providers.load_format(name, "responses")


def test_a_schema_is_enforced_where_it_can_be() -> None:
    body = asked()
    assert body["response_format"]["json_schema"]["strict"] is True
    assert len(body["messages"]) == 2


@pytest.mark.parametrize(("kind", "shape"), [("json_object", {"type": "json_object"}), ("none", None)])
def test_a_schema_that_is_not_enforced_is_told_in_words(kind: str, shape: Any) -> None:
    body = asked(structured=kind)
    assert body.get("response_format") == shape
    system = body["messages"][0]["content"]
    assert system.startswith("Be brief.\n\nAnswer with one JSON object")
    assert json.loads(system.split("\n")[-1])["required"] == ["mood", "score", "reasons", "hint"]


def test_without_a_schema_nothing_is_told() -> None:
    encoder = providers.load_format("compatible", None, {"structured": "none"})
    body = json.loads(encoder.encode(RequestTemplate("m", 5), Prompt("", "hello")))
    assert body["messages"] == [{"role": "user", "content": "hello"}]


def test_the_words_follow_the_template() -> None:
    encoder = providers.load_format("compatible", None, {"structured": "none"})
    plain = {"type": "object", "properties": {"a": {"type": "string"}}}
    for schema, name in ((Verdict.model_json_schema(), "mood"), (plain, '"a"')):
        assert (
            name in json.loads(encoder.encode(RequestTemplate("m", 5, "x", schema), prompt()))["messages"][0]["content"]
        )


def test_the_output_limit_has_the_servers_name_also_in_a_retry() -> None:
    from providers.contract import Revision

    assert asked(output_limit="max_tokens")["max_tokens"] == 500
    encoder = providers.load_format("compatible", None, {"output_limit": "max_tokens"})
    assert json.loads(encoder.revise(b'{"max_tokens":500}', Revision(max_output_tokens=900))) == {"max_tokens": 900}


def test_a_servers_own_words_are_understood() -> None:
    profile = compatible({"statuses": {"Succeeded": "completed", "QUEUED": "validating"}})
    assert told(profile, "SUCCEEDED", output_file_id="f").state is State.ended
    assert told(profile, "queued").state is State.queued
    assert told(COMPATIBLE, "queued").state is State.running


def test_where_nothing_is_counted_an_error_file_alone_is_an_end() -> None:
    """PROVIDERS §7: Together counts nothing; without a file there is still something owed."""
    silent = compatible({"counts": False})
    assert told(silent, "COMPLETED", error_file_id="f").state is State.ended
    assert told(silent, "COMPLETED").state is State.running


FULL = [{"code": "token_limit_exceeded", "message": "full"}]


@pytest.mark.parametrize("counts", [None, {"total": 10, "completed": None, "failed": None}])
def test_a_failed_batch_of_azure_that_names_empty_files_was_rejected(counts: Any) -> None:
    """PROVIDERS §6: its failed batches name an output file too; taken for an end, all requests would be missing."""
    status = told(AZURE, "failed", output_file_id="f", errors={"data": FULL}, request_counts=counts)
    assert (status.state, status.no_room) == (State.rejected, True)


def test_a_failed_batch_of_azure_that_answered_something_is_read() -> None:
    counts = {"total": 10, "completed": 3, "failed": None}
    assert told(AZURE, "failed", output_file_id="f", errors=FULL, request_counts=counts).state is State.ended
    assert told(AZURE, "failed", output_file_id="f").state is State.ended


@pytest.mark.parametrize("word", ["Completed", "canceled"])
def test_azures_spellings_are_understood(word: str) -> None:
    assert told(AZURE, word, output_file_id="f").state is State.ended


@pytest.mark.parametrize("content", [b'{"value": [{"id": "b"}]}', b'[{"id": "b"}]', b'{"data": [{"id": "b"}]}'])
def test_a_list_is_read_however_it_is_wrapped(content: bytes) -> None:
    """PROVIDERS §6, §7"""
    assert [batch.id for batch in openai_batches.page_of(content).data or ()] == ["b"]


@pytest.mark.parametrize("content", [b"{}", b'{"data": null}', b'{"data": [{"id": "b", "created_at": "soon"}]}'])
def test_what_is_no_list_is_no_empty_list(content: bytes) -> None:
    """What was bought and is not in the list could be bought again."""
    with pytest.raises(msgspec.ValidationError):
        openai_batches.page_of(content)


@pytest.mark.parametrize("at", ["2026-11-20T10:00:00Z", "2026-11-20T10:00:00", "2026-11-20T11:00:00+01:00", 1795168800])
def test_a_batchs_time_is_read_however_it_is_written(at: Any) -> None:
    """PROVIDERS §7: Together writes dates."""
    made = openai_batches.moment(openai_batches.Batch("b", created_at=at))
    assert made is not None
    assert made.timestamp() == 1795168800


@pytest.mark.parametrize("answer", [{"id": "b"}, {"job": {"id": "b"}, "warning": "x"}])
def test_the_new_batch_is_read_however_it_is_wrapped(answer: Any) -> None:
    """PROVIDERS §7"""
    assert openai_batches.bought_id(answer) == "b"


@pytest.mark.parametrize("answer", [{}, {"id": ""}, {"job": {"id": ""}}, {"job": None}, [], "b"])
def test_an_answer_that_names_no_batch_is_none(answer: Any) -> None:
    with pytest.raises(msgspec.ValidationError):
        openai_batches.bought_id(answer)


def test_a_prompt_that_azures_filter_stops_is_refused() -> None:
    """PROVIDERS §6: content_filter_results; an HTTP 400 by a filter is the filter's refusal."""
    error = {"error": {"code": "content_filter", "message": "filtered", "status": 400}}
    line = json.dumps({"custom_id": "a", "response": {"status_code": 400, "body": error}, "error": None})
    assert providers.load_format("azure").decode(line.encode()).outcome is Outcome.refused


# Addresses and keys.


@pytest.mark.parametrize(
    ("profile", "url", "address"),
    [
        (GROQ, "", "https://api.groq.com/openai/v1"),
        (GROQ, "https://proxy.example/groq/", "https://proxy.example/groq/openai/v1"),
        (GROQ, "https://api.groq.com/openai/v1", "https://api.groq.com/openai/v1"),
        (AZURE, "https://acme.openai.azure.com/", "https://acme.openai.azure.com"),
        (COMPATIBLE, "http://127.0.0.1:8000/v1", "http://127.0.0.1:8000/v1"),
    ],
)
def test_the_address_is_what_the_servers_own_variable_says(
    profile: Any, url: str, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(profile.url_variable, url)
    assert Server(profile).address() == address


@pytest.mark.parametrize("profile", [AZURE, COMPATIBLE], ids=lambda one: str(one.name))
def test_without_an_address_nothing_is_asked(profile: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A compatible server's requests must never go to OpenAI because a variable is missing."""
    monkeypatch.delenv(profile.url_variable, raising=False)
    with pytest.raises(ValueError, match=f"set {profile.url_variable}"):
        providers.served_by(profile.name)


@pytest.mark.parametrize(
    ("endpoint", "version", "base", "query"),
    [
        ("https://acme.example", "2025-04-01-preview", "https://acme.example/openai/", "2025-04-01-preview"),
        ("https://acme.example/openai/v1/", "", "https://acme.example/openai/v1/", "preview"),
        ("https://acme.example/openai/v1", "v1", "https://acme.example/openai/v1/", "v1"),
    ],
)
def test_azure_is_asked_by_a_dated_version_or_by_the_newer_one(
    endpoint: str, version: str, base: str, query: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PROVIDERS §6"""
    for name, value in {"ENDPOINT": endpoint, "API_KEY": "k"}.items():
        monkeypatch.setenv(f"AZURE_OPENAI_{name}", value)
    monkeypatch.setenv("OPENAI_API_VERSION", version)
    connected: Any = providers.connect("azure")
    assert str(connected.client.base_url) == base
    assert connected.client.default_query == {"api-version": query}
    assert connected.client.max_retries == 0


def test_azure_without_a_version_needs_a_person(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://acme.example")
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "k")
    monkeypatch.delenv("OPENAI_API_VERSION", raising=False)
    with pytest.raises(Unavailable, match="set OPENAI_API_VERSION") as caught:
        providers.connect("azure")
    assert caught.value.kind == "blocked"


def test_a_compatible_servers_variables_can_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOGETHER_BASE_URL", "https://together.example/v1")
    monkeypatch.setenv("TOGETHER_API_KEY", "tk")
    switches = {"url_variable": "TOGETHER_BASE_URL", "key_variable": "TOGETHER_API_KEY", "key_header": "api-key"}
    connected: Any = providers.connect("compatible", switches=switches)
    assert connected.client.api_key == connected.client.default_headers["api-key"] == "tk"
    assert providers.served_by("compatible", switches) == "together.example"
