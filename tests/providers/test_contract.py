"""The contract, buying: one attempt on the wire; nothing bought is told from perhaps bought (RELIABILITY §4.1, §5)."""

import json
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from providers.anthropic import RequestList
from providers.contract import OutcomeUnknown, Refused, ShardFile, Unavailable
from tests.providers.bench import Bench
from tests.providers.kit import AZURE, CASES, GROQ, OPENAI_LIKE, WIRED, format_of

pytestmark = pytest.mark.contract("refused told from unknown")

ANTHROPIC = CASES[2]
anthropic_only = pytest.mark.parametrize("case", [ANTHROPIC], ids="-".join)
sent_only = pytest.mark.parametrize("case", WIRED, ids="-".join)
openai_only = pytest.mark.parametrize("case", CASES[:2], ids="-".join)
like_openai = pytest.mark.parametrize("case", OPENAI_LIKE, ids="-".join)


def refusal(bench: Bench) -> Refused:
    with pytest.raises(Refused) as caught:
        bench.buy()
    return caught.value


@pytest.mark.contract("requests arrive as they are")
def test_a_bought_batch_holds_every_request(bench: Bench) -> None:
    ref = bench.buy(bench.shard(requests=7))
    (batch,) = bench.batches
    assert (bench.ref_of(batch), batch.requests) == (ref, 7)
    assert batch.custom_id_prefix.startswith("job8aaaa-1-00001-")


@pytest.mark.contract("one POST per create")
@sent_only
def test_a_purchase_is_one_post_without_an_idempotency_header(bench: Bench) -> None:
    """RELIABILITY E1; PROVIDERS §0.2: the SDKs make a key and never send it, so it protects nobody.

    PROVIDERS §1.9
    """
    bench.buy()
    (post,) = bench.purchases
    assert "idempotency-key" not in post.headers
    assert post.headers["x-stainless-retry-count"] == "0"


@pytest.mark.parametrize("status", [408, 409, 500, 502, 529])
@pytest.mark.parametrize("work", [False, True], ids=["not bought", "bought"])
def test_an_answer_that_proves_nothing_is_unknown_after_one_post(bench: Bench, status: int, work: bool) -> None:
    """RELIABILITY §5, fault 5: whether it was bought cannot be told, and is not tried out by buying again."""
    bench.fault("status", status=status, work=work)
    with pytest.raises(OutcomeUnknown, match=f"HTTP {status}"):
        bench.buy()
    assert (len(bench.purchases), len(bench.batches)) == (1, int(work))


@pytest.mark.parametrize("action", ["accept_then_drop", "drop_before"])
def test_a_lost_connection_is_unknown_after_one_post(bench: Bench, action: str) -> None:
    bench.fault(action)
    with pytest.raises(OutcomeUnknown):
        bench.buy()
    assert (len(bench.purchases), len(bench.batches)) == (1, int(action == "accept_then_drop"))


def test_a_timeout_is_unknown_after_one_post(bench: Bench) -> None:
    bench.provider = bench.connect(timeout_s=0.3)
    bench.fault("accept_then_timeout", seconds=5.0)
    with pytest.raises(OutcomeUnknown, match="TimeoutError"):
        bench.buy()
    assert (len(bench.purchases), len(bench.batches)) == (1, 1)


@pytest.mark.parametrize("body", ["", "<html>fine</html>", "{}", "[]", '{"id":null}', '{"id":""}', '{"id":'])
def test_a_success_that_cannot_be_read_is_unknown(bench: Bench, body: str) -> None:
    bench.fault("status", status=200, body=body, work=True)
    with pytest.raises(OutcomeUnknown):
        bench.buy()
    assert (len(bench.purchases), len(bench.batches)) == (1, 1)


@pytest.mark.parametrize(("framing", "after"), [("chunked", 20), ("length", 20), ("close", 20), ("close", 0)])
def test_a_success_cut_short_is_unknown(bench: Bench, framing: str, after: int) -> None:
    """PROVIDERS §0.3"""
    bench.fault("cut", framing=framing, after=after)
    with pytest.raises(OutcomeUnknown):
        bench.buy()
    assert (len(bench.purchases), len(bench.batches)) == (1, 1)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, "never"), (401, "blocked"), (402, "blocked"), (403, "blocked"), (404, "blocked"), (413, "never")],
)
def test_a_refusal_is_told_by_what_to_do(bench: Bench, status: int, kind: str) -> None:
    bench.fault("status", status=status)
    assert refusal(bench).kind == kind
    assert (len(bench.purchases), len(bench.batches)) == (1, 0)


@pytest.mark.contract("rate limits and full queues")
@pytest.mark.parametrize(
    ("retry_after", "pause_s"),
    [("", None), ("7", 7.0), ("ms:1500", 1.5), ("date:60", 60.0), ("999999", 3600.0), ("date:90000", 3600.0)],
)
def test_a_rate_limit_passes_after_a_bounded_pause(bench: Bench, retry_after: str, pause_s: float | None) -> None:
    """PROVIDERS §0.2, §2.2: the SDKs would sleep for hours, or ignore it."""
    bench.fault("status", status=429, retry_after=retry_after)
    told = refusal(bench)
    assert (told.kind, told.retry_after_s, bench.slept) == ("later", pause_s, [])


@pytest.mark.parametrize("code", ["insufficient_quota", "billing_hard_limit_reached"])
@openai_only
def test_openais_money_troubles_block(bench: Bench, code: str) -> None:
    """PROVIDERS §1.3: a 429 that no waiting heals."""
    bench.fault("status", status=429, code=code)
    told = refusal(bench)
    assert (told.kind, told.code) == ("blocked", code)


@anthropic_only
def test_anthropics_spend_limit_blocks(bench: Bench) -> None:
    """PROVIDERS §2.5"""
    error = {"type": "rate_limit_error", "message": "m", "details": {"error_code": "enforced_spend_limit_reached"}}
    bench.fault("status", status=429, body=json.dumps({"type": "error", "error": error}))
    told = refusal(bench)
    assert (told.kind, told.code) == ("blocked", "enforced_spend_limit_reached")


@pytest.mark.contract("rate limits and full queues")
@pytest.mark.parametrize("status", [400, 429])
@like_openai
def test_a_full_queue_said_at_create_passes(bench: Bench, status: int) -> None:
    """PROVIDERS §1.2, §6: some regions say it at once."""
    bench.fault("status", status=status, code="token_limit_exceeded")
    told = refusal(bench)
    assert (told.kind, told.code) == ("later", "token_limit_exceeded")


def test_a_provider_that_is_not_there_bought_nothing(case: tuple[str, str], make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(case)
    shard = bench.shard()
    staged = bench.provider.stage(shard)
    bench.emulator.stop()
    with pytest.raises(Refused, match="not reached") as caught:
        bench.provider.create(shard, staged, bench.tag())
    assert caught.value.kind == "later"


@pytest.mark.contract("one POST per create")
@pytest.mark.parametrize("status", [307, 308])
def test_a_redirected_purchase_is_not_followed(bench: Bench, monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    """A followed redirect is a second POST."""
    shard = bench.shard()
    staged = bench.provider.stage(shard)
    with Elsewhere(status, bench.emulator.url) as url:
        monkeypatch.setenv("OPENAI_BASE_URL", f"{url}/v1")
        monkeypatch.setenv("ANTHROPIC_BASE_URL", url)
        monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK", url)
        monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", url)
        monkeypatch.setenv("GROQ_BASE_URL", f"{url}/groq")
        monkeypatch.setenv("TOGETHER_BASE_URL", f"{url}/together/v1")
        with pytest.raises(Refused) as caught:
            bench.connect().create(shard, staged, bench.tag())
    assert (caught.value.kind, bench.purchases) == ("blocked", [])


class Elsewhere:
    """A server that sends every POST on to another address."""

    def __init__(self, status: int, target: str) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                self.send_response(status)
                self.send_header("location", target + self.path)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Nothing on the screen."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)

    def __enter__(self) -> str:
        Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return f"http://127.0.0.1:{self.server.server_port}"

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.mark.contract("found by tag, also behind a lagging list")
@pytest.mark.parametrize("case", [*CASES[:2], AZURE, GROQ], ids="-".join)
def test_a_batch_carries_the_tag_where_it_can(bench: Bench) -> None:
    """PROVIDERS §1.1: metadata of at most 16 pairs, keys to 64, values to 512 characters."""
    bench.buy(tag=bench.tag(send=3))
    label = bench.batches[0].label
    assert set(label.values()) == {"2026-11-20-verdict-ab12cd34", "1-00001", "3"}
    assert len(label) <= 16
    assert all(len(key) <= 64 and len(value) <= 512 for key, value in label.items())


@pytest.mark.contract("the provider's own ways")
@anthropic_only
def test_anthropic_is_asked_by_the_version_that_takes_a_temperature(bench: Bench) -> None:
    """PROVIDERS §2.1: by the SDK's own newer version every item with a temperature would fail."""
    ref = bench.finished(bench.shard(temperature=0.2))
    assert bench.purchases[0].headers["anthropic-version"] == "2023-06-01"
    assert set(bench.outcomes(ref)) == {"succeeded"}


@pytest.mark.contract("requests arrive as they are")
@like_openai
def test_an_upload_has_a_jsonl_name_and_is_seen_before_it_is_used(bench: Bench) -> None:
    """PROVIDERS §1.1, §1.9: another ending is refused; a file may not be seen at once."""
    bench.fault("not_found", f"GET {bench.shelf}/*", times=2)
    assert bench.provider.stage(bench.shard()).startswith("file")
    assert len(bench.slept) == 2


@pytest.mark.contract("requests arrive as they are")
@like_openai
def test_a_file_that_stays_unseen_is_not_bought_from(bench: Bench) -> None:
    """PROVIDERS §1.9"""
    bench.fault("not_found", f"GET {bench.shelf}/*", times=0)
    with pytest.raises(Unavailable, match="not ready"):
        bench.buy()
    assert bench.purchases == []


@pytest.mark.contract("requests arrive as they are")
@like_openai
@pytest.mark.parametrize("how", [{"action": "status", "status": 503}, {"action": "drop_before"}])
def test_an_upload_is_tried_again(bench: Bench, how: dict[str, Any]) -> None:
    """It buys nothing."""
    bench.fault(route=f"POST {bench.shelf}", **how)
    bench.buy()
    assert len(bench.batches) == 1


@pytest.mark.contract("requests arrive as they are")
@like_openai
@pytest.mark.parametrize("status", [404, 503])
def test_an_upload_that_fails_is_told_as_one(bench: Bench, status: int) -> None:
    bench.fault("status", f"POST {bench.shelf}", status=status, times=0)
    with pytest.raises(Unavailable, match=r"The upload of shard \S+ cannot be made now \(HTTP"):
        bench.provider.stage(bench.shard())


@pytest.mark.contract("the provider's own ways")
@openai_only
def test_an_upload_can_be_told_when_to_expire(bench: Bench) -> None:
    """PROVIDERS §1.1: 3,600 to 2,592,000 seconds, for input and results."""
    bench.provider = bench.connect(expires_after_s=7_200)
    ref = bench.buy()
    bench.emulator.advance(700)
    assert len(bench.replies(ref)) == 5
    bench.emulator.advance(9_000)
    with pytest.raises(Exception, match="deleted or expired"):
        bench.files(ref)


@sent_only
def test_a_shard_file_that_is_not_there_bought_nothing(bench: Bench) -> None:
    missing = ShardFile(Path("/nonexistent/shard.jsonl"), "", 5, "m", "job8-1-")
    with pytest.raises((Refused, Unavailable), match="FileNotFoundError"):
        bench.buy(missing)
    assert bench.purchases == []


def test_anthropics_body_is_the_list_of_the_shards_lines(tmp_path: Path) -> None:
    """Streamed in pieces, with its length known beforehand, and not a byte parsed (PROVIDERS §2.1)."""
    shared = format_of(ANTHROPIC)
    lines = [shared.lines([f"a-{n}"], [b'{"text":"%b"}' % (b"x" * 700_000)]) for n in range(5)]
    path = tmp_path / "shard.jsonl"
    path.write_bytes(b"".join(lines))
    body = RequestList(path)
    pieces = list(body)
    assert json.loads(b"".join(pieces)) == {"requests": [json.loads(line) for line in lines]}
    assert body.size == sum(map(len, pieces))
    assert max(map(len, pieces)) <= 1_048_576


@pytest.mark.contract("requests arrive as they are")
@anthropic_only
def test_anthropics_body_is_sent_with_its_length(bench: Bench) -> None:
    bench.buy()
    headers = bench.purchases[0].headers
    assert int(headers["content-length"]) > 500
    assert "transfer-encoding" not in headers
