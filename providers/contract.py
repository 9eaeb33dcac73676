"""The contract every provider keeps: pure line formats on one side, calls over the network on the other.

Errors, by what the caller must do:

    ProviderError
    ├─ Refused          the provider certainly bought nothing
    ├─ OutcomeUnknown   the provider may have bought it: look for the tag, never send again blindly
    ├─ Unavailable      a read failed: ask again later
    ├─ Gone             the provider no longer keeps what was asked for
    └─ Undecodable      a line of a result file is not what the provider promises
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, Protocol

from msgspec import Struct


class Outcome(StrEnum):
    """How one request ended in one attempt. `invalid` and `missing` are the collector's to decide."""

    succeeded = "succeeded"
    truncated = "truncated"  # the output limit cut the answer
    refused = "refused"  # the model or a filter declined
    invalid = "invalid"  # the answer does not fit the result schema
    failed = "failed"  # permanent: the same request would fail again
    errored = "errored"  # transient: the same request may succeed next time
    expired = "expired"  # not executed within the provider's window
    cancelled = "cancelled"
    missing = "missing"  # in none of the result files


@dataclass(frozen=True, slots=True)
class RequestTemplate:
    """What all requests of one job have in common. `schema` is the pydantic model's JSON schema, unconverted."""

    model: str
    max_output_tokens: int
    schema_name: str | None = None
    schema: Mapping[str, Any] | None = None
    temperature: float | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)  # merged into the body as is


class Prompt(Struct, frozen=True):
    """The rendered messages of one item."""

    system: str
    user: str


@dataclass(frozen=True, slots=True)
class Revision:
    """What attempt n+1 changes in a request: a larger output limit, or what was wrong with the last answer."""

    max_output_tokens: int | None = None
    feedback: str | None = None


class Usage(Struct, frozen=True):
    """Billed tokens of one request. `input_tokens` is the total; the cache figures are parts of it."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0


class Reply(Struct, frozen=True):
    """One decoded result line: the model's own words in `text`, or why there are none in `code` and `message`."""

    custom_id: str
    outcome: Outcome
    text: str = ""
    code: str = ""
    message: str = ""
    usage: Usage = Usage()


@dataclass(frozen=True, slots=True)
class Limits:
    """The provider's limits for one batch (PROVIDERS §8) and how long it keeps what."""

    requests: int
    bytes: int
    line_bytes: int
    window_s: int
    retention_s: int
    grace_s: int  # how long a bought batch may stay out of `find`, with a wide margin
    requests_min: int = 1  # a smaller batch is refused


@dataclass(frozen=True, slots=True)
class Measured:
    """The limits of this very account, as far as they can be known, and in `source` where they are from."""

    limits: Limits
    source: str


class State(StrEnum):
    """Where a batch stands, in our words (PROVIDERS §8)."""

    queued = "queued"
    running = "running"
    stopping = "stopping"
    ended = "ended"  # results can be read, possibly partial
    rejected = "rejected"  # as a whole; nothing ran, nothing was billed


class Trace(StrEnum):
    """What a purchase is looked for by when the answer to it was lost (PROVIDERS §8)."""

    metadata = "our tag in its metadata"
    file_name = "the name of its input file"
    circumstances = "its time and size, then the ids of its results"
    token = "our token, with which it can be bought only once"  # noqa: S105 -- no password
    nothing = "nothing: a person must look"


class Carriage(StrEnum):
    """How requests reach the provider."""

    upload = "uploaded as a file"
    body = "in the purchase itself"
    bucket = "read from our own bucket, where answers are written too"


class Enforcement(StrEnum):
    """What holds an answer to its schema."""

    strict = "strict JSON schema"
    json_object = "JSON of any shape, the schema told in words"
    words = "told in words alone"
    by_model = "strict JSON schema, a forced tool, or told in words, by model"


class PriceSource(StrEnum):
    """Where the price of a batch is known from."""

    listed = "batch prices of the bundled list"
    halved = "half of the full price in the bundled list"
    told = "in no list: price_as says whose price it has"


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What sets a provider apart from others, but for its limits. The settings it needs are called by their names."""

    sdk: str  # the module it is talked to through
    extra: str  # the extra of this package that installs it
    states: Mapping[str, State]  # its status words in lower case; any other is taken as running
    traced_by: Trace
    carriage: Carriage
    enforces: Enforcement
    priced: PriceSource
    key_variables: tuple[str, ...]  # environment variables, any of which can hold the key
    address_variable: str
    more_variables: tuple[str, ...] = ()  # to be set beside the key
    address_needed: bool = False  # there is no address where the variable names none
    settings: tuple[str, ...] = ()
    names_model: bool = True  # a request body says which model it is for
    names_deployments: bool = False  # what it calls a model is the name of a deployment
    cancels: bool = True
    at_once: bool = False  # answers a single request at once, where a batch would be too small
    limits_vary: bool = False  # from account to account and model to model: those of the format are documented ones

    @property
    def reads_store(self) -> bool:
        """Reads shards in our object store itself, as they are, and writes its answers there."""
        return self.carriage is Carriage.bucket

    @property
    def idempotent(self) -> bool:
        """`create` with the same tag twice buys once."""
        return self.traced_by is Trace.token


@dataclass(frozen=True, slots=True)
class Tag:
    """The identity of one purchase; `send` counts a shard's intents, so that a second try has a tag of its own."""

    job: str
    shard: str
    send: int

    def __str__(self) -> str:
        return f"{self.job}/{self.shard}/{self.send}"


@dataclass(frozen=True, slots=True)
class ShardFile:
    """One packed shard on local disk, ready to be bought: `path` holds exactly the JSONL bytes the provider gets."""

    path: Path
    url: str  # where the object store keeps it, for providers that read it there themselves
    requests: int
    model: str
    id_prefix: str  # every custom_id in the shard begins with it, and no other shard's does
    output_url: str = ""  # the folder of our object store for what such a provider answers, with a slash at its end
    at_once: bool = False  # no batch: its one request is answered by `create` itself, at the full price


class Objects(Protocol):
    """What a provider that writes its answers into our object store needs of it; errors are the store's own."""

    @property
    def url(self) -> str:
        """An object's own address is this, a slash and its key."""
        ...

    def keys(self, prefix: str) -> Iterator[str]:
        """Every key that begins with `prefix`."""
        ...

    def local(self, key: str) -> AbstractContextManager[Path]:
        """The object as a local file inside a `with` block."""
        ...

    def create(self, key: str, data: bytes) -> None:
        """Keep an object, durably, unless there is another of its key."""
        ...


EMBEDDINGS = "embeddings"  # the endpoint that answers with vectors, at every provider that has one
TIMEOUT_S = 600.0  # of one wait on the network; a purchase may take its time


@dataclass(frozen=True, slots=True)
class Connection:
    """What a provider is connected with besides the account, which the environment names."""

    sleep: Callable[[float], None] = time.sleep  # between the tries of one read
    timeout_s: float = TIMEOUT_S
    expires_after_s: int | None = None  # how long OpenAI keeps files, 3,600 to 2,592,000; others have no such thing
    objects: Objects | None = None
    options: Mapping[str, str] = field(default_factory=dict)  # the provider's own, by name


@dataclass(frozen=True, slots=True)
class Found:
    """A batch that may be ours. `certain` is false where the provider offers nothing but circumstances to match."""

    ref: str
    created_at: datetime
    certain: bool


@dataclass(frozen=True, slots=True)
class LineError:
    """Why the provider rejected one line of a batch; `line` counts from 1."""

    line: int
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Status:
    """One look at a batch. Counts are None where the provider does not (yet) tell."""

    state: State
    word: str  # the provider's own status, for people
    total: int | None = None
    done: int | None = None  # have a line in the result files: answered, well or not (Anthropic: of every kind)
    failed: int | None = None
    code: str = ""  # why it was rejected as a whole
    message: str = ""
    no_room: bool = False  # rejected for queued tokens: wait, then send the same shard again
    line_errors: tuple[LineError, ...] = ()
    warning: str = ""  # e.g. a status word nobody has seen before
    retry_after_s: float | None = None  # the provider's polling hint


@dataclass(frozen=True, slots=True)
class RawFile:
    """One result file as the provider keeps it; `chunks` streams its bytes untouched."""

    kind: Literal["output", "error", "batch"]
    chunks: Iterator[bytes]


UNREACHED = "unreached"  # the `code` of a refusal without an answer: no connection could be made


class ProviderError(Exception):
    """Base of everything a provider module raises. The text holds ids and codes, never a prompt or a key."""


class Refused(ProviderError):
    """Nothing was bought.

    `kind`: "later" (queue full, rate limit: the same shard may be sent after `retry_after_s`), "blocked" (account,
    key or billing: a person must act; the shard waits), "never" (the request itself is wrong).
    """

    def __init__(
        self,
        message: str,
        *,
        kind: Literal["later", "blocked", "never"],
        code: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.code = code
        self.retry_after_s = retry_after_s


class OutcomeUnknown(ProviderError):
    """The answer to a purchase was lost: it may or may not have been bought."""


class Unavailable(ProviderError):
    """A read failed or the provider cannot be reached; nothing changed, ask again later.

    `kind`: "later" (network, rate limit, overload: ask again after `retry_after_s`), "blocked" (account, key or
    address: a person must act), "absent" (the provider says it does not know the id, which is no proof: PROVIDERS §2.9;
    believe it once it has said nothing else for longer than `Limits.grace_s`).
    """

    def __init__(
        self,
        message: str,
        *,
        kind: Literal["later", "blocked", "absent"] = "later",
        code: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.code = code
        self.retry_after_s = retry_after_s


class Gone(ProviderError):
    """The provider says the batch or its results no longer exist."""


class Undecodable(ProviderError):
    """A result line that cannot be read; the raw bytes are kept elsewhere."""


class Format(Protocol):
    """The pure half: how requests and results are written. Deterministic, no network, no SDK import, no key needed."""

    limits: Limits
    traits: Traits

    def encode(self, template: RequestTemplate, prompt: Prompt) -> bytes:
        """The request body as JSON, without custom_id; equal arguments give equal bytes.

        Raises ValueError for a result schema the provider cannot enforce, for `extra` members that would replace the
        prompt, and for text that is not Unicode (lone surrogates).
        """
        ...

    def shortfall(self, template: RequestTemplate) -> str:
        """What of the result schema the provider or model cannot enforce, and what happens instead; "" where it can.

        One or two sentences for people. Raises ValueError as `encode` does.
        """
        ...

    def lines(self, custom_ids: Sequence[str], bodies: Sequence[bytes]) -> bytes:
        """Some lines of the shard, newlines included. Raises ValueError for a custom_id no provider takes."""
        ...

    def body(self, line: bytes) -> bytes:
        """The body that one of `lines` was made of, byte for byte."""
        ...

    def revise(self, body: bytes, revision: Revision) -> bytes:
        """The body of the next attempt."""
        ...

    def whose(self, block: bytes) -> list[str]:
        """The custom_ids of some whole lines of a result file, read without the rest; what is no JSON is nobody's."""
        ...

    def decode(self, line: bytes) -> Reply:
        """One line of a result file. Raises Undecodable."""
        ...


class Provider(Protocol):
    """The half that talks. Only `create` and `cancel` change anything at the provider that costs or saves money.

    Only `forget` deletes.
    """

    @property
    def format(self) -> Format: ...

    def close(self) -> None:
        """Let go of connections."""
        ...

    def stage(self, shard: ShardFile) -> str:
        """Make the shard's bytes available to `create` (upload); repeatable, buys nothing. Returns a handle, or "".

        Raises Unavailable.
        """
        ...

    def create(self, shard: ShardFile, staged: str, tag: Tag) -> str:
        """Buy the batch with exactly one attempt on the wire; returns its id.

        Raises only Refused or OutcomeUnknown, and the store's own errors where an answer could not be kept in it.
        """
        ...

    def find(self, shard: ShardFile, tag: Tag, since: datetime) -> list[Found]:
        """Batches that `create` with this tag may have made at or after `since`, newest first. Raises Unavailable.

        Where `certain` is false the caller drops those it knows to be other shards' batches.
        """
        ...

    def status(self, ref: str) -> Status:
        """Raises Unavailable (also for a 404 on a live id) or Gone."""
        ...

    def raw(self, ref: str) -> Iterator[RawFile]:
        """Every result file of an ended or rejected batch. Raises Unavailable or Gone, also while streaming."""
        ...

    def cancel(self, ref: str) -> None:
        """Ask the provider to stop; a batch that has ended already is no error. Raises Unavailable or Gone."""
        ...

    def forget(self, ref: str, staged: str) -> None:
        """Delete what the provider keeps of a batch, and of what was staged for it; either may be "".

        What is gone already is no error. Raises Unavailable, also for a batch that has not ended.
        """
        ...
