"""What servers that speak OpenAI's protocol do in their own way, end to end (PROVIDERS §6, §7, §10)."""

import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest

import providers
from providers.contract import Refused, State, Unavailable
from providers.openai_batches import label
from tests.providers.bench import DAY_S, LIST, Bench
from tests.providers.kit import AZURE, COMPATIBLE, GROQ, TOGETHER

pytestmark = pytest.mark.contract("the provider's own ways")

MakeBench = Callable[..., Bench]
on_azure = pytest.mark.parametrize("case", [AZURE], ids="-".join)
on_compatible = pytest.mark.parametrize("case", [COMPATIBLE], ids="-".join)


def paths(bench: Bench) -> list[str]:
    return [f"{one.method} {one.path}" for one in bench.requests]


# Azure (§6)


@on_azure
def test_azure_is_asked_without_the_deployment_in_the_path(bench: Bench) -> None:
    """§6: /files and /batches are the resource's; the version is in the query, the key in a header of its own."""
    bench.finished()
    assert {one.query for one in bench.requests} == {"api-version=2025-04-01-preview"}
    assert all("api-key" in one.headers and "authorization" not in one.headers for one in bench.requests)
    (post,) = bench.purchases
    assert (post.path, post.headers["x-stainless-retry-count"]) == ("/openai/batches", "0")


@on_azure
def test_azures_newer_addresses_serve_as_well(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """§6: /openai/v1/batches"""
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", f"{bench.emulator.url}/openai/v1")
    bench.provider = bench.connect()
    ref = bench.finished()
    assert bench.outcomes(ref) == ["succeeded"] * 5
    assert "POST /openai/v1/batches" in paths(bench)


@on_azure
def test_azure_takes_a_token_instead_of_a_key(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_OPENAI_AD_TOKEN", "token")
    bench.provider = bench.connect()
    bench.buy()
    assert "api-key" not in bench.purchases[0].headers


@on_azure
def test_azures_empty_ids_name_no_file(bench: Bench) -> None:
    """§6: "" before the end."""
    ref = bench.buy()
    client: Any = bench.provider
    assert client.client.batches.retrieve(ref).output_file_id == ""
    assert bench.provider.status(ref).state is State.queued


@on_azure
def test_azures_error_file_of_a_success_holds_nothing(bench: Bench) -> None:
    """§6"""
    ref = bench.finished()
    assert bench.files(ref)["error"] == b""
    assert bench.outcomes(ref) == ["succeeded"] * 5


@on_azure
def test_azures_full_queue_refuses_at_once_and_for_now(case: tuple[str, str], make_bench: MakeBench) -> None:
    """§6: a 400 whose message alone says why."""
    bench = make_bench(case, enqueued_token_limit=10)
    with pytest.raises(Refused) as caught:
        bench.buy()
    assert (caught.value.kind, caught.value.code) == ("later", "token_limit_exceeded")
    assert (len(bench.purchases), len(bench.batches)) == (1, 0)


@on_azure
def test_azures_full_queue_may_be_told_later(bench: Bench) -> None:
    """§6: elsewhere the batch fails after validation; the result files it names hold nothing."""
    bench.fault("reject", code="token_limit_exceeded")
    status = bench.provider.status(bench.finished())
    assert (status.state, status.no_room) == (State.rejected, True)


@on_azure
def test_azure_goes_on_after_a_day_until_it_is_stopped(bench: Bench) -> None:
    """§6: 24 hours are a target."""
    bench.fault("expire", fraction=0.5)
    ref = bench.finished(bench.shard(requests=10))
    assert bench.provider.status(ref).state is State.running
    bench.provider.cancel(ref)
    bench.emulator.advance(700)
    assert bench.outcomes(ref) == ["cancelled"] * 5 + ["succeeded"] * 5


@on_azure
def test_an_unknown_deployment_rejects_the_batch(case: tuple[str, str], make_bench: MakeBench) -> None:
    """§6: `body.model` is the deployment's name."""
    bench = make_bench(case, deployments={"another": "gpt-4.1"})
    status = bench.provider.status(bench.finished())
    assert (status.state, status.code, len(status.line_errors)) == (State.rejected, "model_not_found", 5)


@on_azure
def test_files_at_azure_are_told_to_go(bench: Bench) -> None:
    """§6: 500 files that stay for ever are all that a resource holds; 14 to 30 days are to be had."""
    provider: Any = bench.provider
    assert provider._expiry("expires_after")["expires_after"]["seconds"] == 2_592_000
    shorter: Any = bench.connect(expires_after_s=7_200)
    assert shorter._expiry("expires_after")["expires_after"]["seconds"] == 1_209_600


@on_azure
def test_a_resource_takes_more_than_500_files(bench: Bench) -> None:
    provider: Any = bench.provider
    shard = bench.shard(requests=1)
    for _ in range(501):
        provider._upload(shard)


# Groq (§7)


@pytest.mark.parametrize("case", [GROQ], ids="-".join)
def test_groq_takes_a_window_of_a_week(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """§7: 24h to 7d; what is not done by then expires."""
    monkeypatch.setenv("GROQ_BASE_URL", f"{bench.emulator.url}/groq")
    bench.provider = providers.connect("compatible", sleep=bench.sleep, switches={"like": "groq", "window": "7d"})
    bench.opened.append(bench.provider)
    bench.fault("expire", fraction=0.4)
    ref = bench.finished()
    assert bench.provider.status(ref).state is State.running
    bench.emulator.advance(6 * DAY_S)
    assert bench.outcomes(ref) == ["expired"] * 3 + ["succeeded"] * 2


# Servers that are unlike OpenAI in more (§7)


@on_compatible
def test_a_server_without_metadata_is_sent_none(bench: Bench) -> None:
    """§7: the emulated one refuses what it does not know."""
    ref = bench.finished()
    assert bench.provider.status(ref).word == "completed"
    assert bench.batches[0].label == {}


@on_compatible
def test_without_metadata_the_files_name_tells_shards_apart(bench: Bench) -> None:
    """§8: `input_file_id` is the other label that comes back."""
    shard, other = bench.shard(), bench.shard(name="1-00002")
    bench.buy(other)
    assert bench.find(shard) == []
    ref = bench.buy(shard)
    assert [(found.ref, found.certain) for found in bench.find(shard)] == [(ref, True)]


@on_compatible
def test_without_metadata_an_earlier_send_that_was_rejected_is_not_taken_for_this_one(bench: Bench) -> None:
    """It is of the same file. Adopted, it would be sent again, while this one may be running."""
    bench.fault("reject", code="token_limit_exceeded")
    shard = bench.shard()
    bench.buy(shard)
    bench.emulator.advance(60)
    assert bench.find(shard, send=2) == []


@on_compatible
def test_a_purchase_is_found_behind_a_page_of_old_ones(bench: Bench) -> None:
    """The emulated server lists the oldest first, so that the end of a page says nothing about the next."""
    for n in range(101):
        bench.provider.create(bench.shard(requests=1), "file-none", bench.tag(1, f"2-{n:05}"))
    bench.emulator.advance(DAY_S)
    shard = bench.shard()
    ref = bench.buy(shard)
    assert [found.ref for found in bench.find(shard, since=bench.later(days=1))] == [ref]


@on_compatible
def test_another_server_learns_nothing_of_an_account_at_openai(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", "org-ours")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-ours")
    bench.provider = bench.connect()
    bench.buy()
    assert not {"openai-organization", "openai-project"} & set(bench.purchases[0].headers)


@on_compatible
def test_a_name_that_cannot_be_asked_for_is_not_another_name(bench: Bench) -> None:
    shard = bench.shard()
    bench.buy(shard)
    bench.fault("status", f"GET {bench.shelf}/*", status=500, times=0)
    with pytest.raises(Unavailable):
        bench.find(shard)


@pytest.mark.contract("cancel in every state")
@on_compatible
def test_what_cannot_be_stopped_is_told(bench: Bench) -> None:
    ref = bench.buy()
    with pytest.raises(Unavailable, match="runs to its end") as caught:
        bench.provider.cancel(ref)
    assert caught.value.kind == "blocked"
    assert not [path for path in paths(bench) if path.endswith("/cancel")]


def other(bench: Bench, **switches: Any) -> Bench:
    """The same server, taken for one with other switches."""
    bench.provider = bench.connect(switches=TOGETHER | switches)
    return bench


@on_compatible
def test_a_server_that_cannot_list_is_not_asked_to(bench: Bench) -> None:
    blind = other(bench, lists=False)
    shard = blind.shard()
    blind.buy(shard)
    assert blind.find(shard) == []
    assert LIST["compatible"] not in paths(blind)


@on_compatible
def test_a_server_that_knows_no_single_file_is_not_asked_about_one(bench: Bench) -> None:
    """§7: nor does one 404 of a download mean that results are gone."""
    blind = other(bench, file_status=False)
    ref = blind.finished()
    blind.fault("not_found", f"GET {bench.shelf}/*")
    with pytest.raises(Unavailable) as caught:
        blind.files(ref)
    assert caught.value.kind == "absent"
    assert not [
        one
        for one in blind.requests
        if one.method == "GET" and one.path.startswith(f"{bench.shelf}/") and "content" not in one.path
    ]


@on_compatible
@pytest.mark.parametrize("kind", ["json_object", "none"])
def test_a_model_that_is_told_its_schema_answers_by_it(bench: Bench, kind: str) -> None:
    loose = other(bench, structured=kind)
    replies = loose.replies(loose.finished())
    assert all(json.loads(reply.text)["mood"] in ("good", "bad") for reply in replies)


@on_compatible
def test_a_list_that_never_ends_is_no_list(bench: Bench, serve: Callable[..., None]) -> None:
    """A server that knows no cursor gives its first page for ever."""
    serve(data=[{"id": "b", "status": "completed"}], has_more=True)
    blind = other(bench, metadata=True)
    with pytest.raises(Unavailable, match="comes back to its beginning"):
        blind.find(blind.shard())


@on_compatible
def test_a_listed_batch_without_a_time_is_looked_at(bench: Bench, serve: Callable[..., None]) -> None:
    """Leaving it out could buy it again."""
    serve(data=[{"id": "b", "status": "running", "metadata": label(bench.tag())}])
    blind = other(bench, metadata=True)
    assert [found.ref for found in blind.find(blind.shard(), since=blind.later(days=9))] == ["b"]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """A server that answers its first twenty questions with the same document."""
    documents: list[bytes] = []
    served: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.append(self.path)
            self.send_response(200 if len(served) <= 20 else 404)
            self.send_header("content-length", str(len(documents[0])))
            self.end_headers()
            self.wfile.write(documents[0])

        def log_message(self, *_: Any) -> None:
            """Nothing on the screen."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    monkeypatch.setenv("TOGETHER_BASE_URL", f"http://127.0.0.1:{server.server_port}")
    yield lambda **members: documents.append(json.dumps(members).encode())
    server.shutdown()
    server.server_close()
