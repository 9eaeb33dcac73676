"""OpenAI's Batch API over the network: upload, buy, look, fetch, stop (PROVIDERS §1)."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Struct

from providers.contract import Connection, Found, Gone, LineError, RawFile, ShardFile, State, Status, Tag, Unavailable
from providers.failures import buying, patient, reading, retry_after_s
from providers.openai_format import ENDPOINTS, OpenAIFormat

if TYPE_CHECKING:
    import openai
    import tenacity

ENDPOINT = "chat"
CHUNK_BYTES = 1_048_576
READ_TIMEOUT_S = 60.0
CLOCK_SKEW = timedelta(minutes=10)  # between our clock and the provider's, when looking for a purchase
MESSAGE_LENGTH = 500

_STATES = {
    "validating": State.queued,
    "pre_schedule": State.queued,  # said by compatible servers (PROVIDERS §1.3)
    "in_progress": State.running,
    "finalizing": State.running,
    "cancelling": State.stopping,
    "completed": State.ended,
    "cancelled": State.ended,
    "expired": State.ended,
    "failed": State.rejected,
}


class _Counts(Struct):
    total: int | None = None
    completed: int | None = None
    failed: int | None = None


class _Batch(Struct):
    id: str
    status: str = ""
    created_at: float = 0.0
    input_file_id: str | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    request_counts: _Counts | None = None
    errors: Any = None
    metadata: dict[str, Any] | None = None


class _Bought(Struct):
    id: Annotated[str, msgspec.Meta(min_length=1)]


class _Page(Struct):
    data: list[_Batch] = []
    has_more: bool = False


class _File(Struct):
    id: str
    status: str = "processed"


class _Deleted(Struct):
    deleted: bool


def address() -> str:
    """The effective base URL."""
    return os.environ.get("OPENAI_BASE_URL") or "https://api.openai.com/v1"


def load_format(endpoint: str | None = None) -> OpenAIFormat:
    """The pure half, for "chat" (the default) or "responses". Raises ValueError."""
    name = endpoint or ENDPOINT
    if name not in ENDPOINTS:
        raise ValueError(f"OpenAI has no endpoint {name!r}: choose {' or '.join(ENDPOINTS)}.")
    return OpenAIFormat(ENDPOINTS[name])


def connect(endpoint: str | None, connection: Connection) -> "OpenAI":
    """The provider with the account that the environment names. Raises ValueError, Unavailable without a key."""
    client = _client(connection.timeout_s)
    return OpenAI(load_format(endpoint), client, patient(connection.sleep), connection.expires_after_s)


def _client(timeout_s: float) -> "openai.OpenAI":
    import openai

    try:
        # The SDK's own retries are off: they would buy twice (RELIABILITY E1) and sleep where no clock of ours sees it.
        return openai.OpenAI(base_url=address(), max_retries=0, timeout=timeout_s)
    except openai.OpenAIError:
        raise Unavailable("There is no OpenAI key: set OPENAI_API_KEY.", kind="blocked") from None


@dataclass(frozen=True, slots=True)
class OpenAI:
    """The talking half."""

    format: OpenAIFormat
    client: "openai.OpenAI" = field(repr=False)
    patiently: "tenacity.Retrying" = field(repr=False)
    expires_after_s: int | None

    def close(self) -> None:
        self.client.close()

    def stage(self, shard: ShardFile) -> str:
        file_id = self.patiently(self._upload, shard)
        self.patiently(self._seen, file_id)
        return file_id

    def create(self, shard: ShardFile, staged: str, tag: Tag) -> str:  # noqa: ARG002 -- the staged file says it all
        purchase = {
            "input_file_id": staged,
            "endpoint": self.format.endpoint.url,
            "completion_window": "24h",
            "metadata": _label(tag),
            **self._expiry("output_expires_after"),
        }
        with buying(f"Shard {tag}"):
            # A redirected POST would be a second one, so neither retries nor redirects.
            answer = self.client.post(
                "/batches", body=purchase, cast_to=object, options={"max_retries": 0, "follow_redirects": False}
            )
            return msgspec.convert(answer, _Bought).id

    def find(self, shard: ShardFile, tag: Tag, since: datetime) -> list[Found]:  # noqa: ARG002 -- the tag says it all
        """By the metadata that comes back with every batch; the list cannot be filtered by it (PROVIDERS §1.1)."""
        label = _label(tag)
        ours = {batch.id: batch for batch in self._listed(since - CLOCK_SKEW) if _carries(batch, label)}
        return [Found(batch.id, _moment(batch), certain=True) for batch in ours.values()]

    def status(self, ref: str) -> Status:
        batch, _, pause_s = self._batch(ref)
        return status_of(batch, pause_s)

    def raw(self, ref: str) -> Iterator[RawFile]:
        batch, document, _ = self._batch(ref)
        state = status_of(batch).state
        if state is State.rejected:
            yield RawFile("batch", iter([document]))
            return
        if state is not State.ended:
            raise Unavailable(f"Batch {ref} has not ended: its results cannot be read yet.")
        files: list[tuple[Literal["output", "error"], str | None]] = [
            ("output", batch.output_file_id),
            ("error", batch.error_file_id),
        ]
        for kind, file_id in files:
            if file_id:  # "" stands for none (PROVIDERS §1.3)
                yield RawFile(kind, self._content(file_id, f"Result file {file_id} of batch {ref}"))

    def cancel(self, ref: str) -> None:
        self.patiently(self._cancel, ref)

    def forget(self, ref: str, staged: str) -> None:
        """The files; the batch's own record, which holds no request, cannot be deleted (PROVIDERS §1.1)."""
        for file_id in sorted({staged, *self._files_of(ref)} - {""}):
            self.patiently(self._delete, file_id)

    def _files_of(self, ref: str) -> set[str]:
        """Input, output and error file of a batch that is over; none of one that is unknown."""
        batch = (self._known(ref) or self._known(ref)) if ref else None  # one 404 alone proves little
        if batch is None:
            return set()
        if status_of(batch).state not in (State.ended, State.rejected):
            raise Unavailable(f"Batch {ref} has not ended: its files cannot be deleted yet.")
        return {file_id or "" for file_id in (batch.input_file_id, batch.output_file_id, batch.error_file_id)}

    def _known(self, ref: str) -> _Batch | None:
        try:
            return self._batch(ref)[0]
        except Gone:
            return None
        except Unavailable as error:
            if error.kind != "absent":
                raise
            return None

    def _delete(self, file_id: str) -> None:
        what = f"The deletion of file {file_id}"
        try:
            with reading(what):
                answer = self.client.files.with_raw_response.delete(file_id, timeout=READ_TIMEOUT_S)
                deleted = msgspec.json.decode(answer.content, type=_Deleted).deleted
        except Gone:
            return
        except Unavailable as error:
            if error.kind == "absent" and self._deleted(file_id):
                return
            raise
        if not deleted:
            raise Unavailable(f"{what} was not confirmed: ask again.")

    def _upload(self, shard: ShardFile) -> str:
        """OpenAI takes only names that end in .jsonl (PROVIDERS §1.1); ours tells people whose file it is."""
        name = shard.id_prefix.strip("-_") or "shard"
        with reading(f"The upload of shard {name}", "made"), shard.path.open("rb") as file:
            answer = self.client.files.with_raw_response.create(
                file=(f"{name}.jsonl", file), purpose="batch", extra_body=self._expiry("expires_after")
            )
            return msgspec.json.decode(answer.content, type=_File).id

    def _seen(self, file_id: str) -> None:
        """An uploaded file may take a moment to be seen (PROVIDERS §1.9), and a batch of an unseen one fails."""
        what = f"Uploaded file {file_id}"
        try:
            with reading(what):
                answer = self.client.files.with_raw_response.retrieve(file_id, timeout=READ_TIMEOUT_S)
                status = msgspec.json.decode(answer.content, type=_File).status
        except Unavailable as error:
            if error.kind != "absent":
                raise
            status = "unseen"
        if status == "error":
            raise Unavailable(
                f"{what} was refused by OpenAI: look at its first line.", kind="blocked", code="file_error"
            )
        if status != "processed":
            raise Unavailable(f"{what} is not ready yet.", code="file_not_ready")

    def _expiry(self, name: str) -> dict[str, Any]:
        if self.expires_after_s is None:
            return {}
        return {name: {"anchor": "created_at", "seconds": self.expires_after_s}}

    def _batch(self, ref: str) -> tuple[_Batch, bytes, float | None]:
        """The batch, the document it came as, and the pause that OpenAI asks for."""
        return self.patiently(self._read_batch, ref)

    def _read_batch(self, ref: str) -> tuple[_Batch, bytes, float | None]:
        with reading(f"Batch {ref}"):
            answer = self.client.batches.with_raw_response.retrieve(ref, timeout=READ_TIMEOUT_S)
            return msgspec.json.decode(answer.content, type=_Batch), answer.content, retry_after_s(answer.headers)

    def _listed(self, since: datetime) -> Iterator[_Batch]:
        """The account's batches back to `since`, newest first."""
        after: str | None = None
        while True:
            page = self.patiently(self._read_page, after)
            yield from (batch for batch in page.data if _moment(batch) >= since)
            if not page.has_more or not page.data or _moment(page.data[-1]) < since:
                return
            after = page.data[-1].id

    def _read_page(self, after: str | None) -> _Page:
        cursor = {} if after is None else {"after": after}
        with reading("The list of batches"):
            answer = self.client.batches.with_raw_response.list(limit=100, extra_query=cursor, timeout=READ_TIMEOUT_S)
            return msgspec.json.decode(answer.content, type=_Page)

    def _content(self, file_id: str, what: str) -> Iterator[bytes]:
        try:
            with reading(what), self.client.files.with_streaming_response.content(file_id) as answer:
                yield from answer.iter_bytes(CHUNK_BYTES)
        except Unavailable as error:
            if error.kind == "absent" and self._deleted(file_id):
                raise Gone(f"{what} is deleted or expired: OpenAI keeps it no longer.") from None
            raise

    def _deleted(self, file_id: str) -> bool:
        """Whether the file's record is gone too: one 404 alone proves little."""
        try:
            with reading(f"File {file_id}"):
                self.client.files.with_raw_response.retrieve(file_id, timeout=READ_TIMEOUT_S)
        except Unavailable as error:
            return error.kind == "absent"
        return False

    def _cancel(self, ref: str) -> None:
        """A batch that is over refuses with 409 (PROVIDERS §1.3); looking tells that from every other refusal."""
        try:
            with reading(f"The cancellation of batch {ref}", "made"):
                answer = self.client.batches.with_raw_response.cancel(ref, timeout=READ_TIMEOUT_S)
                msgspec.json.decode(answer.content, type=_Batch)  # a gateway's page is no promise to stop
        except Unavailable as error:
            if error.kind == "absent" or status_of(self._read_batch(ref)[0]).state not in (State.ended, State.rejected):
                raise


def status_of(batch: _Batch, pause_s: float | None = None) -> Status:
    """What a batch object says, in our words. Pure."""
    word = batch.status.lower()  # compatible servers shout (PROVIDERS §7)
    state, warning = _state(batch, word)
    counts = batch.request_counts or _Counts()
    status = partial(Status, state, word, warning=warning, retry_after_s=pause_s)
    if state is State.rejected:
        return _rejected(batch, status)
    if not counts.total:  # all are 0 while validating (PROVIDERS §1.3)
        return status()
    return status(total=counts.total, done=(counts.completed or 0) + (counts.failed or 0), failed=counts.failed)


def _state(batch: _Batch, word: str) -> tuple[State, str]:
    state = _STATES.get(word)
    if state is None:
        return State.running, f"Batch {batch.id} has the unknown status {word[:40]!r}: taken as running."
    if state is State.ended and _output_owed(batch, word):
        return State.running, f"Batch {batch.id} is {word} but names no output file yet: waiting for it."
    if state is State.rejected and batch.output_file_id:
        return State.ended, f"Batch {batch.id} failed but has an output file: its answers are read."
    return state, ""


def _output_owed(batch: _Batch, word: str) -> bool:
    """Whether answers exist that no file holds yet: "completed" can come before its output id (RELIABILITY §4.2).

    Without one and with nothing succeeded it is over: all failed, and only the error file exists (PROVIDERS §1.3).
    """
    counts = batch.request_counts
    if batch.output_file_id:
        return False
    if counts is None or not counts.total:
        return word == "completed"
    return bool(counts.completed)


def _rejected(batch: _Batch, status: Callable[..., Status]) -> Status:
    """The validation errors: all lines are told, not only the first (PROVIDERS §1.3)."""
    errors = [error for error in _listed_errors(batch.errors) if isinstance(error, dict)]
    whole = next((error for error in errors if error.get("line") is None), errors[0] if errors else {})
    return status(
        code=_text(whole.get("code")),
        message=_text(whole.get("message")),
        no_room=any(error.get("code") == "token_limit_exceeded" for error in errors),
        line_errors=tuple(
            LineError(error["line"], _text(error.get("code")), _text(error.get("message")))
            for error in errors
            if isinstance(error.get("line"), int)
        ),
    )


def _listed_errors(errors: Any) -> list[Any]:
    """OpenAI wraps the list in an object, some compatible servers do not (PROVIDERS §7)."""
    found = errors.get("data") if isinstance(errors, dict) else errors
    return found if isinstance(found, list) else []


def _text(value: Any) -> str:
    return str(value or "")[:MESSAGE_LENGTH]


def _label(tag: Tag) -> dict[str, str]:
    return {"batchjobs_job": tag.job, "batchjobs_shard": tag.shard, "batchjobs_send": str(tag.send)}


def _carries(batch: _Batch, label: dict[str, str]) -> bool:
    metadata = batch.metadata or {}
    return all(metadata.get(key) == value for key, value in label.items())


def _moment(batch: _Batch) -> datetime:
    return datetime.fromtimestamp(batch.created_at, UTC)
