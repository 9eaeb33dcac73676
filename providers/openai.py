"""The Batch API of OpenAI and of servers that speak like it, over the network: upload, buy, look, fetch, stop.

PROVIDERS §1, §6, §7: what sets a server apart is in its profile, which the format carries.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import msgspec
from msgspec import Struct

from providers.contract import Connection, Found, Gone, RawFile, ShardFile, State, Status, Tag, Trace, Unavailable
from providers.failures import buying, patient, reading, retry_after_s
from providers.lines import known
from providers.openai_batches import Batch, Page, bought_id, carries, label, moment, page_of, status_of
from providers.openai_format import OpenAIFormat, endpoint_of, served
from providers.profiles import OPENAI, Profile

T = TypeVar("T")
if TYPE_CHECKING:
    import openai
    import tenacity

ENDPOINT = "chat"
CHUNK_BYTES = 1_048_576
READ_TIMEOUT_S = 60.0
CLOCK_SKEW = timedelta(minutes=10)  # between our clock and the provider's, when looking for a purchase
AZURE_V1 = "/openai/v1"
AZURE_V1_VERSION = "preview"


class _File(Struct):
    id: str
    status: str | None = "processed"
    filename: str | None = None


class _Deleted(Struct):
    deleted: bool


known(_File, _Deleted)


@dataclass(frozen=True, slots=True)
class Server:
    """One server, as the registry needs it."""

    profile: Profile = OPENAI

    def address(self) -> str:
        """The effective base URL. Raises ValueError where a variable must name it and does not."""
        profile = self.profile
        url = os.environ.get(profile.url_variable) or profile.url
        if not url:
            raise ValueError(f"There is no address for {profile.name}: set {profile.url_variable}.")
        url = url.rstrip("/")
        return url if url.endswith(profile.url_tail) else url + profile.url_tail

    def endpoints(self) -> tuple[str, ...]:
        """The ways of asking, the default first."""
        return tuple(served(self.profile))

    def load_format(self, endpoint: str | None = None) -> OpenAIFormat:
        """The pure half, for "chat" (the default) or "responses". Raises ValueError."""
        return OpenAIFormat(endpoint_of(self.profile, endpoint or ENDPOINT), self.profile)

    def connect(self, endpoint: str | None, connection: Connection) -> "OpenAI":
        """The provider with the account that the environment names. Raises ValueError, Unavailable without a key."""
        made_for = self.load_format(endpoint)
        client = _client(self, connection.timeout_s)
        return OpenAI(made_for, client, patient(connection.sleep), connection.expires_after_s)


_OPENAI = Server()
address, endpoints = _OPENAI.address, _OPENAI.endpoints
load_format, connect = _OPENAI.load_format, _OPENAI.connect


def _client(server: Server, timeout_s: float) -> "openai.OpenAI":
    import openai

    profile, url = server.profile, server.address()
    # The SDK's own retries are off: they would buy twice (RELIABILITY E1) and sleep where no clock of ours sees it.
    more: dict[str, Any] = {"max_retries": 0, "timeout": timeout_s}
    try:
        if profile.azure:
            return _azure_client(profile, url, more)
        if profile.key_variable == OPENAI.key_variable and profile.key_header == OPENAI.key_header:
            return openai.OpenAI(base_url=url, **more)
        return _keyed_client(profile, url, more)
    except openai.OpenAIError:
        raise Unavailable(f"There is no {profile.title} key: set {profile.key_variable}.", kind="blocked") from None


def _azure_client(profile: Profile, url: str, more: dict[str, Any]) -> "openai.OpenAI":
    """By a dated version of the API, or by the newer one whose addresses end in /openai/v1 (PROVIDERS §6).

    Which key or token is used the SDK reads from its own variables.
    """
    import openai

    version = os.environ.get(profile.version_variable)
    if url.endswith(AZURE_V1):
        return openai.AzureOpenAI(base_url=url, api_version=version or AZURE_V1_VERSION, **more)
    if not version:
        text = f"There is no version of the Azure API: set {profile.version_variable}, such as 2025-04-01-preview"
        raise Unavailable(f"{text}, or let {profile.url_variable} end in {AZURE_V1}.", kind="blocked")
    return openai.AzureOpenAI(azure_endpoint=url, api_version=version, **more)


def _keyed_client(profile: Profile, url: str, more: dict[str, Any]) -> "openai.OpenAI":
    """With a key of the server's own, and nothing of an OpenAI account that the environment may name as well."""
    import openai

    key = os.environ.get(profile.key_variable)
    if not key:
        raise openai.OpenAIError
    headers: dict[str, Any] = {name: openai.Omit() for name in ("OpenAI-Organization", "OpenAI-Project")}
    if profile.key_header != OPENAI.key_header:
        headers[profile.key_header] = key  # beside the Bearer token, without which the SDK sends nothing
    return openai.OpenAI(base_url=url, api_key=key, default_headers=headers, **more)


@dataclass(frozen=True, slots=True)
class OpenAI:
    """The talking half."""

    format: OpenAIFormat
    client: "openai.OpenAI" = field(repr=False)
    patiently: "tenacity.Retrying" = field(repr=False)
    expires_after_s: int | None

    @property
    def profile(self) -> Profile:
        return self.format.profile

    def close(self) -> None:
        self.client.close()

    def stage(self, shard: ShardFile) -> str:
        file_id = self.patiently(self._upload, shard)
        if self.profile.file_status:
            self.patiently(self._seen, file_id)
        return file_id

    def create(self, shard: ShardFile, staged: str, tag: Tag) -> str:  # noqa: ARG002 -- the staged file says it all
        purchase = {
            "input_file_id": staged,
            "endpoint": self.format.endpoint.url,
            "completion_window": self.profile.window,
            **({"metadata": label(tag)} if self.profile.metadata else {}),
            **self._expiry("output_expires_after"),
        }
        with buying(f"Shard {tag}"):
            # A redirected POST would be a second one, so neither retries nor redirects.
            answer = self.client.post(
                "/batches", body=purchase, cast_to=object, options={"max_retries": 0, "follow_redirects": False}
            )
            return bought_id(answer)

    def find(self, shard: ShardFile, tag: Tag, since: datetime) -> list[Found]:
        """By the metadata that comes back with every batch; the list cannot be filtered by it (PROVIDERS §1.1)."""
        traced_by = self.profile.traced_by
        if traced_by is Trace.nothing:
            return []
        marks = label(tag)
        listed = self._listed(since - CLOCK_SKEW)
        if traced_by is Trace.metadata:
            ours = {batch.id: batch for batch in listed if carries(batch, marks)}
        else:
            ours = {batch.id: batch for batch in listed if self._is_of(batch, shard)}
        return [Found(batch.id, moment(batch) or since, certain=True) for batch in ours.values()]

    def _is_of(self, batch: Batch, shard: ShardFile) -> bool:
        """Whether a batch without marks is one of this shard, by the name of the file it was made from.

        One that was rejected can be an earlier send of the shard: taking it for this one could buy that again.
        """
        rejected = status_of(batch, None, self.profile).state is State.rejected
        if rejected or not batch.input_file_id:
            return False
        return self.patiently(self._filename, batch.input_file_id) == _filename(shard)

    def _filename(self, file_id: str) -> str | None:
        return _if_there(lambda: self._file(file_id).filename)

    def status(self, ref: str) -> Status:
        batch, _, pause_s = self._batch(ref)
        return status_of(batch, pause_s, self.profile)

    def raw(self, ref: str) -> Iterator[RawFile]:
        batch, document, _ = self._batch(ref)
        state = status_of(batch, None, self.profile).state
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
        if not self.profile.cancels:
            text = f"{self.profile.title} cannot cancel: batch {ref} runs to its end, and what it answers is billed."
            raise Unavailable(text, kind="blocked", code="no_cancel")
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
        if status_of(batch, None, self.profile).state not in (State.ended, State.rejected):
            raise Unavailable(f"Batch {ref} has not ended: its files cannot be deleted yet.")
        return {file_id or "" for file_id in (batch.input_file_id, batch.output_file_id, batch.error_file_id)}

    def _known(self, ref: str) -> Batch | None:
        return _if_there(lambda: self._batch(ref)[0])

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
        name = _filename(shard)
        what = f"The upload of shard {name.removesuffix('.jsonl')}"
        with reading(what, "made"), shard.path.open("rb") as file:
            answer = self.client.files.with_raw_response.create(
                file=(name, file), purpose="batch", extra_body=self._expiry("expires_after")
            )
            return msgspec.json.decode(answer.content, type=_File).id

    def _seen(self, file_id: str) -> None:
        """An uploaded file may take a moment to be seen (PROVIDERS §1.9), and a batch of an unseen one fails."""
        what = f"Uploaded file {file_id}"
        try:
            status = (self._file(file_id, what).status or "processed").lower()
        except Unavailable as error:
            if error.kind != "absent":
                raise
            status = "unseen"
        if status == "error":
            raise Unavailable(
                f"{what} was refused by {self.profile.title}: look at its first line.",
                kind="blocked",
                code="file_error",
            )
        if status != "processed":
            raise Unavailable(f"{what} is not ready yet.", code="file_not_ready")

    def _file(self, file_id: str, what: str = "") -> _File:
        with reading(what or f"File {file_id}"):
            answer = self.client.files.with_raw_response.retrieve(file_id, timeout=READ_TIMEOUT_S)
            return msgspec.json.decode(answer.content, type=_File)

    def _expiry(self, name: str) -> dict[str, Any]:
        """How long files are kept, within what the server takes; nothing where it takes nothing."""
        bounds, wanted = self.profile.files_expire_s, self.expires_after_s or self.profile.files_expire_always_s
        if bounds is None or wanted is None:
            return {}
        return {name: {"anchor": "created_at", "seconds": min(max(wanted, bounds[0]), bounds[1])}}

    def _batch(self, ref: str) -> tuple[Batch, bytes, float | None]:
        """The batch, the document it came as, and the pause that the server asks for."""
        return self.patiently(self._read_batch, ref)

    def _read_batch(self, ref: str) -> tuple[Batch, bytes, float | None]:
        with reading(f"Batch {ref}"):
            answer = self.client.batches.with_raw_response.retrieve(ref, timeout=READ_TIMEOUT_S)
            return msgspec.json.decode(answer.content, type=Batch), answer.content, retry_after_s(answer.headers)

    def _listed(self, since: datetime) -> Iterator[Batch]:
        """The account's batches back to `since`; where they do not come newest first, every page is read."""
        after: str | None = None
        seen: set[str] = set()
        while True:
            page = self.patiently(self._read_page, after)
            batches = page.data or []
            yield from (batch for batch in batches if not _before(batch, since))
            if not page.has_more or not batches or (self.profile.newest_first and _before(batches[-1], since)):
                return
            after = batches[-1].id
            if after in seen:  # a server that knows no cursor gives the same page for ever
                raise Unavailable("The list of batches has more pages than can be had: it comes back to its beginning.")
            seen.add(after)

    def _read_page(self, after: str | None) -> Page:
        cursor = {} if after is None else {"after": after}
        with reading("The list of batches"):
            answer = self.client.batches.with_raw_response.list(limit=100, extra_query=cursor, timeout=READ_TIMEOUT_S)
            return page_of(answer.content)

    def _content(self, file_id: str, what: str) -> Iterator[bytes]:
        try:
            with reading(what), self.client.files.with_streaming_response.content(file_id) as answer:
                yield from answer.iter_bytes(CHUNK_BYTES)
        except Unavailable as error:
            if error.kind == "absent" and self._deleted(file_id):
                raise Gone(f"{what} is deleted or expired: {self.profile.title} keeps it no longer.") from None
            raise

    def _deleted(self, file_id: str) -> bool:
        """Whether the file's record is gone too: one 404 alone proves little."""
        if not self.profile.file_status:
            return False
        try:
            self._file(file_id)
        except Unavailable as error:
            return error.kind == "absent"
        return False

    def _cancel(self, ref: str) -> None:
        """A batch that is over refuses with 409 (PROVIDERS §1.3); looking tells that from every other refusal."""
        try:
            with reading(f"The cancellation of batch {ref}", "made"):
                answer = self.client.batches.with_raw_response.cancel(ref, timeout=READ_TIMEOUT_S)
                msgspec.json.decode(answer.content, type=Batch)  # a gateway's page is no promise to stop
        except Unavailable as error:
            batch = None if error.kind == "absent" else self._read_batch(ref)[0]
            if batch is None or status_of(batch, None, self.profile).state not in (State.ended, State.rejected):
                raise


def _if_there(look: Callable[[], T]) -> T | None:
    """What a look brings, or None where the provider says that there is no such thing."""
    try:
        return look()
    except Gone:
        return None
    except Unavailable as error:
        if error.kind != "absent":
            raise
        return None


def _filename(shard: ShardFile) -> str:
    """OpenAI takes only names that end in .jsonl (PROVIDERS §1.1); ours tells whose file it is."""
    return f"{shard.id_prefix.strip('-_') or 'shard'}.jsonl"


def _before(batch: Batch, since: datetime) -> bool:
    """Whether a batch is too old to be looked at; one that does not tell its time never is."""
    at = moment(batch)
    return at is not None and at < since
