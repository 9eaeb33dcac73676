"""Anthropic's Message Batches API over the network: buy, look, fetch, stop (PROVIDERS §2)."""

import os
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast
from urllib.parse import quote

import msgspec
from msgspec import Struct

from providers.anthropic_format import ADDRESS_VARIABLE, KEY_VARIABLE, STATES, AnthropicFormat
from providers.contract import Connection, Found, Gone, RawFile, Refused, ShardFile, State, Status, Tag, Unavailable
from providers.failures import buying, patient, reading, retry_after_s
from providers.lines import known, split

if TYPE_CHECKING:
    import anthropic
    import httpx2
    import tenacity

VERSION = "2023-06-01"  # the newer one the SDK sends by itself fails every item with a temperature (PROVIDERS §2.1)
CHUNK_BYTES = 1_048_576
READ_TIMEOUT_S = 60.0
CLOCK_SKEW = timedelta(minutes=10)  # between our clock and the provider's, when looking for a purchase
LINES_LOOKED_AT = 20  # of the results of a batch that may be ours
LOOK_BYTES = 65_536

_HEAD, _TAIL = b'{"requests":[', b"]}"


class _Counts(Struct):
    processing: int | None = None
    succeeded: int | None = None
    errored: int | None = None
    canceled: int | None = None
    expired: int | None = None


class _Batch(Struct):
    id: str
    created_at: datetime
    processing_status: str = ""
    archived_at: datetime | None = None
    request_counts: _Counts | None = None


class _Bought(Struct):
    id: Annotated[str, msgspec.Meta(min_length=1)]


class _Page(Struct):
    data: list[_Batch] = []
    has_more: bool = False


class _Owner(Struct):
    custom_id: str


known(_Batch, _Bought, _Page, _Owner)


def address() -> str:
    """The effective base URL."""
    return os.environ.get(ADDRESS_VARIABLE) or "https://api.anthropic.com"


def endpoints() -> tuple[str, ...]:
    """The ways of asking, the default first."""
    return ("messages",)


def load_format(endpoint: str | None = None) -> AnthropicFormat:
    """The pure half; there is one endpoint, "messages". Raises ValueError."""
    if endpoint not in (None, "", *endpoints()):
        raise ValueError(f"Anthropic has no endpoint {endpoint!r}: there is only messages.")
    return AnthropicFormat()


def connect(endpoint: str | None, connection: Connection) -> "Anthropic":
    """The provider with the account that the environment names. Raises ValueError, Unavailable without a key."""
    return Anthropic(load_format(endpoint), _client(connection.timeout_s), patient(connection.sleep))


def _client(timeout_s: float) -> "anthropic.Anthropic":
    import anthropic

    missing = Unavailable(f"There is no Anthropic key: set {KEY_VARIABLE}.", kind="blocked")
    try:
        client = anthropic.Anthropic(
            base_url=address(),
            max_retries=0,  # the SDK's own would buy twice (RELIABILITY E1) and sleep for hours (PROVIDERS §0.2)
            timeout=timeout_s,
            default_headers={"anthropic-version": VERSION},
            open_telemetry=False,  # its spans can hold prompts
        )
    except anthropic.AnthropicError:
        raise missing from None
    if client.api_key is None and client.auth_token is None and client.credentials is None:
        raise missing
    return client


@dataclass(frozen=True, slots=True)
class Anthropic:
    """The talking half."""

    format: AnthropicFormat
    client: "anthropic.Anthropic" = field(repr=False)
    patiently: "tenacity.Retrying" = field(repr=False)

    def close(self) -> None:
        self.client.close()

    def stage(self, shard: ShardFile) -> str:  # noqa: ARG002 -- nothing to do: the purchase carries the requests
        return ""

    def create(self, shard: ShardFile, staged: str, tag: Tag) -> str:  # noqa: ARG002 -- see stage; nothing takes a tag
        body = _request_list(shard, tag)
        with buying(f"Shard {tag}"):
            # A redirected POST would be a second one, so neither retries nor redirects.
            answer = self.client.post(
                "/v1/messages/batches",
                content=body,
                cast_to=object,
                options={
                    "headers": {"Content-Type": "application/json", "Content-Length": str(body.size)},
                    "max_retries": 0,
                    "follow_redirects": False,
                },
            )
            return msgspec.convert(answer, _Bought).id

    def find(self, shard: ShardFile, tag: Tag, since: datetime) -> list[Found]:  # noqa: ARG002 -- no tag comes back
        """By time and size; for sure only when results exist, whose ids are ours or not (PROVIDERS §8).

        No upper bound in time: a batch wrongly left out could be bought again, one wrongly let in shows in the end.
        """
        batches = {batch.id: batch for batch in self._listed(since - CLOCK_SKEW) if _total(batch) == shard.requests}
        looked = [(batch, self._holds(batch, shard.id_prefix)) for batch in batches.values()]
        return [
            Found(batch.id, batch.created_at.astimezone(UTC), certain=ours is True)
            for batch, ours in looked
            if ours is not False
        ]

    def status(self, ref: str) -> Status:
        batch, pause_s = self.patiently(self._read_batch, ref)
        return status_of(batch, pause_s)

    def raw(self, ref: str) -> Iterator[RawFile]:
        batch, _ = self.patiently(self._read_batch, ref)
        _check_kept(batch)
        if status_of(batch).state is not State.ended:
            raise Unavailable(f"Batch {ref} has not ended: its results cannot be read yet.")
        yield RawFile("output", self._kept_results(ref))

    def cancel(self, ref: str) -> None:
        self.patiently(self._cancel, ref)

    def forget(self, ref: str, staged: str) -> None:  # noqa: ARG002 -- nothing is staged here
        if ref:
            self.patiently(self._delete, ref)

    def _delete(self, ref: str) -> None:
        """Requests and results go with the batch. One 404 proves little (PROVIDERS §2.9), so a second look decides."""
        what = f"The deletion of batch {ref}"
        try:
            with reading(what):
                answer = self.client.messages.batches.with_raw_response.delete(ref, timeout=READ_TIMEOUT_S)
                msgspec.json.decode(answer.http_response.content, type=_Bought)  # a gateway's page deletes nothing
        except Gone:
            return
        except Unavailable as error:
            if error.kind == "absent" and self._unknown(ref):
                return
            if error.kind == "absent" or status_of(self._read_batch(ref)[0]).state is State.ended:
                raise
            raise Unavailable(f"Batch {ref} has not ended: it cannot be deleted yet.") from None

    def _unknown(self, ref: str) -> bool:
        try:
            self._read_batch(ref)
        except Unavailable as error:
            if error.kind != "absent":
                raise
            return True
        return False

    def _read_batch(self, ref: str) -> tuple[_Batch, float | None]:
        """The batch and the pause that Anthropic asks for."""
        with reading(f"Batch {ref}"):
            answer = self.client.messages.batches.with_raw_response.retrieve(ref, timeout=READ_TIMEOUT_S)
            batch = msgspec.json.decode(answer.http_response.content, type=_Batch)
            return batch, retry_after_s(answer.headers)

    def _listed(self, since: datetime) -> Iterator[_Batch]:
        """The workspace's batches back to `since`, newest first."""
        after: str | None = None
        while True:
            page = self.patiently(self._read_page, after)
            yield from (batch for batch in page.data if batch.created_at >= since)
            if not page.has_more or not page.data or page.data[-1].created_at < since:
                return
            after = page.data[-1].id

    def _read_page(self, after: str | None) -> _Page:
        cursor = {} if after is None else {"after_id": after}
        with reading("The list of batches"):
            answer = self.client.messages.batches.with_raw_response.list(
                limit=100, extra_query=cursor, timeout=READ_TIMEOUT_S
            )
            return msgspec.json.decode(answer.http_response.content, type=_Page)

    def _holds(self, batch: _Batch, prefix: str) -> bool | None:
        """Whether the results are our requests'; None while there are none to look at."""
        if status_of(batch).state is not State.ended or batch.archived_at is not None:
            return None
        results = self._results(batch.id, LOOK_BYTES)
        try:
            owners = [_owner(line) for line in islice(split(results), LINES_LOOKED_AT)]
        except (Unavailable, Gone):
            return None
        finally:
            results.close()
        known = [owner for owner in owners if owner]
        return any(owner.startswith(prefix) for owner in known) if known else None

    def _kept_results(self, ref: str) -> Iterator[bytes]:
        """A 404 is no proof (PROVIDERS §2.9): only a batch that says it is archived has lost its results."""
        try:
            yield from self._results(ref)
        except Unavailable as error:
            if error.kind == "absent":
                _check_kept(self._read_batch(ref)[0])
            raise

    def _results(self, ref: str, chunk_bytes: int = CHUNK_BYTES) -> Generator[bytes, None, None]:
        """By path rather than by `results_url`, which would carry the key past a gateway to whatever host it names."""
        import anthropic
        import httpx2

        with reading(f"The results of batch {ref}"):
            answer = self.client.get(
                f"/v1/messages/batches/{quote(ref, safe='')}/results",
                cast_to=httpx2.Response,
                options={"headers": {"Accept": "application/binary"}},
                stream=True,
                stream_cls=anthropic.Stream[object],
            )
            response = cast("httpx2.Response", answer)
            try:
                yield from response.iter_bytes(chunk_bytes)
            finally:
                response.close()

    def _cancel(self, ref: str) -> None:
        """What a batch that is over answers is not known (PROVIDERS §2.3): looking tells it from other refusals."""
        try:
            with reading(f"The cancellation of batch {ref}", "made"):
                answer = self.client.messages.batches.with_raw_response.cancel(ref, timeout=READ_TIMEOUT_S)
                msgspec.json.decode(answer.http_response.content, type=_Batch)  # a gateway's page is no promise to stop
        except Unavailable as error:
            if error.kind == "absent" or status_of(self._read_batch(ref)[0]).state is not State.ended:
                raise


class RequestList:
    """The HTTP body `{"requests":[…]}` made of a shard's lines, streamed from its file; not parsed, not held."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines_size = path.stat().st_size - 1  # every newline becomes a comma except the last, which goes
        self.size = len(_HEAD) + self._lines_size + len(_TAIL)

    def __repr__(self) -> str:
        return f"RequestList({self.size} bytes)"

    def __iter__(self) -> Iterator[bytes]:
        left = self._lines_size
        yield _HEAD
        with self._path.open("rb") as file:
            while left > 0 and (chunk := file.read(min(CHUNK_BYTES, left))):
                left -= len(chunk)
                yield chunk.replace(b"\n", b",")
        yield _TAIL


def _request_list(shard: ShardFile, tag: Tag) -> RequestList:
    try:
        return RequestList(shard.path)
    except OSError as error:
        text = f"Shard {tag}: its file cannot be read ({type(error).__name__}); nothing was bought."
        raise Refused(text, kind="later") from None


def status_of(batch: _Batch, pause_s: float | None = None) -> Status:
    """What a batch object says, in our words. Pure.

    Counts are frozen until the end, and then every request has a result line, run or not (PROVIDERS §2.3, §2.4).
    """
    word = batch.processing_status.lower()
    state = STATES.get(word, State.running)
    warning = "" if word in STATES else f"Batch {batch.id} has the unknown status {word[:40]!r}: taken as running."
    total, counts = _total(batch), batch.request_counts
    if state is not State.ended or counts is None:
        return Status(state, word, total=total, warning=warning, retry_after_s=pause_s)
    return Status(state, word, total=total, done=total, failed=counts.errored, retry_after_s=pause_s)


def _total(batch: _Batch) -> int | None:
    """The counts always add up to the number of requests (PROVIDERS §2.3)."""
    counts = batch.request_counts
    return None if counts is None else sum(value or 0 for value in msgspec.structs.astuple(counts))


def _check_kept(batch: _Batch) -> None:
    """Raise Gone for a batch whose 29 days are over (PROVIDERS §2.2)."""
    if batch.archived_at is not None:
        raise Gone(f"The results of batch {batch.id} are archived: Anthropic keeps them 29 days.")


def _owner(line: bytes) -> str:
    try:
        return msgspec.json.decode(line, type=_Owner).custom_id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
