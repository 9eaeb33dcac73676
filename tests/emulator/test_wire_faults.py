"""Faults on the wire, seen by the real SDKs and by bare sockets."""

import gzip
import json
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection, IncompleteRead
from typing import Any

import anthropic
import openai
import pytest
import zstandard
from anthropic import Anthropic
from openai import OpenAI

from providers.emulator import Emulator, Fault
from tests.emulator.support import deals, entries, fetch, message, submit

Clients = Callable[..., Any]
CREATES = [("openai", "POST /v1/batches"), ("anthropic", "POST /v1/messages/batches")]
KEY = {"authorization": "Bearer test"}


@pytest.fixture
def buy(openai_for: Clients, anthropic_for: Clients) -> Callable[..., Any]:
    """Creates a batch at either provider."""

    def create(provider: str, emulator: Emulator, **options: Any) -> Any:
        if provider == "openai":
            return submit(openai_for(emulator, **options), deals(3))
        return anthropic_for(emulator, **options).messages.batches.create(requests=entries(3))

    return create


LOST = (openai.APIConnectionError, anthropic.APIConnectionError)


@pytest.mark.parametrize(("provider", "route"), CREATES)
def test_a_dropped_answer_leaves_a_batch_behind(emulator: Emulator, buy: Any, provider: str, route: str) -> None:
    emulator.add_fault(Fault(route=route, action="accept_then_drop"))
    with pytest.raises(LOST):
        buy(provider, emulator)
    emulator.advance(600)
    assert (len(emulator.batches), len(emulator.charges)) == (1, 3)
    assert emulator.requests[-1].status is None


@pytest.mark.parametrize(("provider", "route"), CREATES)
def test_a_timeout_leaves_a_batch_behind(emulator: Emulator, buy: Any, provider: str, route: str) -> None:
    emulator.add_fault(Fault(route=route, action="accept_then_timeout"))
    with pytest.raises((openai.APITimeoutError, anthropic.APITimeoutError)):
        buy(provider, emulator, timeout=0.75)
    assert len(emulator.batches) == 1


def test_holding_the_line_is_bounded(emulator: Emulator, oa: OpenAI) -> None:
    emulator.add_fault(Fault(action="accept_then_timeout", seconds=0.05))
    with pytest.raises(openai.APIConnectionError):
        oa.batches.list()


@pytest.mark.parametrize(("provider", "route"), CREATES)
def test_a_reset_before_leaves_nothing_behind(emulator: Emulator, buy: Any, provider: str, route: str) -> None:
    emulator.add_fault(Fault(route=route, action="drop_before"))
    with pytest.raises(LOST):
        buy(provider, emulator)
    assert emulator.batches == []


@pytest.mark.parametrize(("provider", "route"), CREATES)
def test_a_client_that_retries_buys_twice(emulator: Emulator, buy: Any, provider: str, route: str) -> None:
    emulator.add_fault(Fault(route=route, action="accept_then_drop"))
    buy(provider, emulator, max_retries=2)
    posts = [one for one in emulator.requests if f"{one.method} {one.path}" == route]
    assert [one.headers["x-stainless-retry-count"] for one in posts] == ["0", "1"]
    assert not any("idempotency-key" in one.headers for one in posts)
    assert len(emulator.batches) == 2


@pytest.mark.parametrize(("provider", "route"), CREATES)
@pytest.mark.parametrize(("work", "batches"), [(False, 0), (True, 1)])
def test_an_ordered_error_comes_with_or_without_the_work(
    emulator: Emulator, buy: Any, provider: str, route: str, work: bool, batches: int
) -> None:
    emulator.add_fault(Fault(route=route, action="status", status=503, work=work))
    with pytest.raises((openai.InternalServerError, anthropic.InternalServerError)):
        buy(provider, emulator)
    assert len(emulator.batches) == batches


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 409, 413, 422, 429, 500, 502, 503, 529])
def test_any_status_can_be_ordered(emulator: Emulator, status: int) -> None:
    emulator.add_fault(Fault(action="status", status=status))
    assert fetch(emulator, "/v1/batches", KEY)[0] == status


@pytest.mark.parametrize(
    ("retry_after", "header", "value"),
    [("7", "retry-after", "7"), ("ms:1500", "retry-after-ms", "1500"), ("86400", "retry-after", "86400")],
)
def test_an_error_can_say_when_to_come_back(emulator: Emulator, retry_after: str, header: str, value: str) -> None:
    emulator.add_fault(Fault(action="status", status=429, retry_after=retry_after))
    assert fetch(emulator, "/v1/batches", KEY)[1][header] == value


def test_retry_after_can_be_a_date(emulator: Emulator) -> None:
    emulator.add_fault(Fault(action="status", status=429, retry_after="date:60"))
    when = parsedate_to_datetime(fetch(emulator, "/v1/batches", KEY)[1]["retry-after"])
    assert abs((when - emulator.now).total_seconds() - 60) <= 1


def test_a_quota_error_has_its_code(emulator: Emulator, oa: OpenAI) -> None:
    emulator.add_fault(Fault(action="status", status=429, code="insufficient_quota", kind="insufficient_quota"))
    with pytest.raises(openai.RateLimitError) as refused:
        oa.batches.list()
    assert refused.value.code == "insufficient_quota"


def test_a_spend_limit_has_its_error_code(emulator: Emulator, an: Anthropic) -> None:
    emulator.add_fault(Fault(action="status", status=429, code="enforced_spend_limit_reached"))
    with pytest.raises(anthropic.RateLimitError) as refused:
        an.messages.batches.list()
    assert (refused.value.type, refused.value.error_code) == ("rate_limit_error", "enforced_spend_limit_reached")


def test_an_overload_is_a_529(emulator: Emulator, an: Anthropic) -> None:
    emulator.add_fault(Fault(action="status", status=529))
    with pytest.raises(anthropic.APIStatusError) as refused:
        an.messages.batches.list()
    assert (refused.value.status_code, refused.value.type) == (529, "overloaded_error")


def test_a_proxy_may_answer_with_a_page(emulator: Emulator) -> None:
    emulator.add_fault(Fault(action="status", status=502, body="<html>Bad gateway</html>"))
    status, headers, body = fetch(emulator, "/v1/batches", KEY)
    assert (status, headers["content-type"], body) == (502, "text/html", b"<html>Bad gateway</html>")


def test_a_live_batch_may_not_be_found_for_a_while(emulator: Emulator, an: Anthropic, oa: OpenAI) -> None:
    message_batch, batch = an.messages.batches.create(requests=entries(1)), submit(oa, deals(1))
    emulator.add_fault(Fault(action="not_found", times=2))
    with pytest.raises(anthropic.NotFoundError):
        an.messages.batches.retrieve(message_batch.id)
    with pytest.raises(openai.NotFoundError, match=batch.id):
        oa.batches.retrieve(batch.id)
    assert an.messages.batches.retrieve(message_batch.id).id == message_batch.id


@pytest.fixture
def output(emulator: Emulator, oa: OpenAI) -> str:
    """The path of a result file."""
    batch = submit(oa, deals(5))
    emulator.advance(600)
    return f"/v1/files/{oa.batches.retrieve(batch.id).output_file_id}/content"


def test_a_chunked_body_can_be_cut(emulator: Emulator, output: str) -> None:
    emulator.add_fault(Fault(route="GET *content", action="cut", after=700))
    with pytest.raises(IncompleteRead) as cut:
        fetch(emulator, output, KEY)
    assert len(cut.value.partial) == 700


def test_a_body_of_known_length_can_be_cut(emulator: Emulator, output: str) -> None:
    whole = fetch(emulator, output, KEY)[2]
    emulator.add_fault(Fault(route="GET *content", action="cut", framing="length", after=700))
    with pytest.raises(IncompleteRead) as cut:
        fetch(emulator, output, KEY)
    assert (len(cut.value.partial), cut.value.expected) == (700, len(whole) - 700)


@pytest.mark.parametrize(("at", "whole_lines"), [("line", True), ("mid", False)])
def test_a_body_without_length_ends_silently_short(emulator: Emulator, output: str, at: str, whole_lines: bool) -> None:
    whole = fetch(emulator, output, KEY)[2]
    after = whole.index(b"\n") + 1
    emulator.add_fault(Fault(route="GET *content", action="cut", framing="close", after=after, at=at))
    short = fetch(emulator, output, KEY)[2]
    assert whole.startswith(short)
    assert short.endswith(b"\n") is whole_lines


def test_the_sdk_sees_a_cut_as_a_broken_download(emulator: Emulator, an: Anthropic) -> None:
    batch = an.messages.batches.create(requests=entries(5))
    emulator.advance(600)
    emulator.add_fault(Fault(route="GET *results", action="cut", after=900))
    with pytest.raises(Exception, match="peer closed connection"):
        list(an.messages.batches.results(batch.id))


def test_json_is_compressed_for_those_who_take_it(emulator: Emulator, oa: OpenAI) -> None:
    submit(oa, deals(1))
    _, headers, body = fetch(emulator, "/v1/batches", {**KEY, "accept-encoding": "gzip"})
    assert headers["content-encoding"] == "gzip"
    assert gzip.decompress(body) == fetch(emulator, "/v1/batches", {"authorization": "x"})[2]


@pytest.mark.parametrize("coding", ["gzip", "zstd", "identity", "br"])
def test_requests_may_be_compressed(emulator: Emulator, coding: str) -> None:
    pack = {"gzip": gzip.compress, "zstd": zstandard.compress}.get(coding, bytes)
    body = pack(json.dumps(message("a deal")).encode())
    connection = HTTPConnection(emulator.url.removeprefix("http://"), timeout=10)
    connection.request(
        "POST", "/v1/messages", body, {**KEY, "anthropic-version": "2023-06-01", "content-encoding": coding}
    )
    assert connection.getresponse().status == (400 if coding == "br" else 200)
    connection.close()


def test_a_request_may_come_in_chunks(emulator: Emulator) -> None:
    connection = HTTPConnection(emulator.url.removeprefix("http://"), timeout=10)
    body = json.dumps(message("a deal")).encode()
    headers = {**KEY, "anthropic-version": "2023-06-01"}
    connection.request("POST", "/v1/messages", iter([body[:50], body[50:]]), headers, encode_chunked=True)
    assert json.loads(connection.getresponse().read())["stop_reason"] == "end_turn"
    connection.close()


def test_openai_replies_name_themselves(emulator: Emulator) -> None:
    headers = {name.lower() for name in fetch(emulator, "/v1/batches", KEY)[1]}
    assert {"x-request-id", "openai-version", "openai-organization", "openai-processing-ms"} <= headers


def test_anthropic_replies_name_themselves(emulator: Emulator) -> None:
    headers = fetch(emulator, "/v1/messages/batches", {**KEY, "anthropic-version": "2023-06-01"})[1]
    assert headers["request-id"].startswith("req_")
    assert headers["anthropic-organization-id"]


def test_a_connection_serves_many_requests(emulator: Emulator) -> None:
    connection = HTTPConnection(emulator.url.removeprefix("http://"), timeout=10)
    for _ in range(3):
        connection.request("GET", "/v1/batches", headers=KEY)
        assert connection.getresponse().read()
    socket = connection.sock
    connection.request("POST", "/v1/batches", body=b"{}" * 1_000, headers={**KEY, "authorization": ""})
    assert connection.getresponse().read()
    assert connection.sock is socket
    connection.close()


def test_stopping_lets_go_of_a_held_line(emulate: Callable[..., Emulator], openai_for: Clients) -> None:
    emulator = emulate(faults=[Fault(action="accept_then_timeout", seconds=60)])
    connection = HTTPConnection(emulator.url.removeprefix("http://"), timeout=10)
    connection.request("GET", "/v1/batches", headers=KEY)
    emulator.stop()  # the connection gives up after 10 s, the fault only after 60
    with pytest.raises(ConnectionError):
        connection.getresponse()
    connection.close()
