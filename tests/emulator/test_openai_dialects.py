"""Servers that speak OpenAI's protocol, seen without our client (PROVIDERS §6, §7, §10)."""

import json
from collections.abc import Callable
from typing import Any

import openai
import pytest

from providers.emulator import Emulator
from tests.emulator.support import chat, deals, fetch, line, submit, upload

SHORT = "/chat/completions"


def lines(count: int, url: str = SHORT, **more: Any) -> bytes:
    return b"".join(line(f"a-{n}", chat(f"deal {n}", model="nightly", **more), url) for n in range(count))


def rejected(client: Any, emulator: Emulator, content: bytes) -> Any:
    batch = submit(client, content, endpoint=SHORT)
    emulator.advance(700)
    return client.batches.retrieve(batch.id)


@pytest.fixture
def at_azure(emulate: Callable[..., Emulator], clients: list[Any]) -> tuple[Any, Emulator]:
    emulator = emulate()
    plain = openai.DefaultHttpxClient(verify=False)
    clients.append(
        openai.AzureOpenAI(
            azure_endpoint=emulator.url, api_key="k", api_version="2024-10-21", max_retries=0, http_client=plain
        )
    )
    return clients[-1], emulator


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (lines(1, "/v1/chat/completions"), "url_mismatch"),
        (lines(1) + line("b", chat("x", model="other"), SHORT), "model_mismatch"),
        (lines(1) + lines(1), "duplicate_custom_id"),
        (lines(1) + b"{\n", "invalid_json_line"),
        (lines(1, stream=True), "invalid_request"),
        (b"\xef\xbb\xbf" + lines(1), "invalid_request"),
    ],
)
def test_azure_rejects_in_its_own_words(at_azure: tuple[Any, Emulator], content: bytes, code: str):
    """§6, with result files that hold nothing and counts that are null."""
    batch = rejected(*at_azure, content)
    assert (batch.status, batch.errors.data[0].code) == ("failed", code)
    assert at_azure[0].files.content(batch.output_file_id).content == b""
    assert batch.request_counts.completed is None


def test_azure_names_ids_in_its_own_way(at_azure: tuple[Any, Emulator]):
    """§6"""
    client, _ = at_azure
    batch = submit(client, lines(1), endpoint=SHORT)
    assert len(batch.id.removeprefix("batch_").split("-")) == 5
    assert len(batch.input_file_id) == len("file-") + 32
    assert (batch.output_file_id, batch.error_file_id) == ("", "")


@pytest.mark.parametrize(("query", "key", "status"), [("", "k", 404), ("?api-version=x", "", 401)])
def test_azure_wants_a_version_and_a_key(emulate: Callable[..., Emulator], query: str, key: str, status: int):
    answer, _, body = fetch(emulate(), f"/openai/batches{query}", {"api-key": key} if key else {})
    assert answer == status
    assert set(json.loads(body)["error"]) == {"code", "message"}


def test_azures_newer_addresses_want_no_version(emulate: Callable[..., Emulator]):
    assert fetch(emulate(), "/openai/v1/batches", {"authorization": "Bearer k"})[0] == 200


def test_keys_are_masked_in_the_log(emulate: Callable[..., Emulator]):
    emulator = emulate()
    fetch(emulator, "/openai/v1/batches", {"api-key": "secret"})
    assert emulator.requests[0].headers["api-key"] == "***"


def test_a_resource_at_azure_holds_500_files_that_stay(at_azure: tuple[Any, Emulator]):
    """§6"""
    client, _ = at_azure
    for _ in range(500):
        upload(client, b"{}\n")
    with pytest.raises(openai.BadRequestError, match="takes no more"):
        upload(client, b"{}\n")
    client.files.create(
        file=("a.jsonl", b"{}"), purpose="batch", expires_after={"anchor": "created_at", "seconds": 1_209_600}
    )


def test_one_servers_batches_are_not_anothers(at_azure: tuple[Any, Emulator], openai_for: Callable[..., Any]):
    client, emulator = at_azure
    batch = submit(client, lines(1), endpoint=SHORT)
    with pytest.raises(openai.NotFoundError):
        openai_for(emulator).batches.retrieve(batch.id)


@pytest.mark.parametrize(
    ("window", "taken"), [("24h", True), ("7d", True), ("36h", True), ("8d", False), ("1h", False)]
)
def test_groq_takes_windows_up_to_a_week(
    emulate: Callable[..., Emulator], openai_for: Callable[..., Any], window: str, taken: bool
):
    """§7"""
    client = openai_for(emulate()).with_options(base_url=f"{emulate().url}/groq/openai/v1")
    content = deals(1, model="openai/gpt-oss-20b")
    if taken:
        assert submit(client, content, completion_window=window).completion_window == window
    else:
        with pytest.raises(openai.BadRequestError, match="completion_window"):
            submit(client, content, completion_window=window)


def test_together_shouts_wraps_and_counts_nothing(emulate: Callable[..., Emulator], openai_for: Callable[..., Any]):
    """§7"""
    emulator = emulate()
    client = openai_for(emulator).with_options(base_url=f"{emulator.url}/together/v1")
    created = submit(client, deals(1, model="meta-llama/any")).model_extra["job"]
    assert (created["status"], created["created_at"][-1]) == ("VALIDATING", "Z")
    assert not {"request_counts", "metadata"} & set(created)
    with pytest.raises(openai.NotFoundError):
        client.batches.cancel(created["id"])
