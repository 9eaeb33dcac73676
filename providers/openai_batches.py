"""What a batch object of OpenAI's protocol says, in our words (PROVIDERS §1.3, §6, §7, §8); pure."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any

import msgspec
from msgspec import Struct

from providers.contract import LineError, State, Status, Tag
from providers.lines import known
from providers.profiles import OPENAI, Profile

MESSAGE_LENGTH = 500

Id = Annotated[str, msgspec.Meta(min_length=1)]


class Counts(Struct):
    """How many requests of a batch came to what."""

    total: int | None = None
    completed: int | None = None
    failed: int | None = None


class Batch(Struct):
    """A batch as the server tells it."""

    id: str
    status: str = ""
    created_at: float | str | None = None
    input_file_id: str | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    request_counts: Counts | None = None
    errors: Any = None
    metadata: dict[str, Any] | None = None


class _Job(Struct):
    id: Id


class Bought(Struct):
    """The answer to a purchase; some servers wrap the batch (PROVIDERS §7)."""

    id: Id | None = None
    job: _Job | None = None


class Page(Struct):
    """A part of the list of batches. Azure's documentation shows it under another name (PROVIDERS §6)."""

    data: list[Batch] | None = None
    has_more: bool | None = False
    value: list[Batch] | None = None


known(Batch, Bought, Page)


def bought_id(answer: object) -> str:
    """The id of the new batch. Raises msgspec.ValidationError where the answer names none."""
    bought = msgspec.convert(answer, Bought)
    found = bought.id or (bought.job.id if bought.job else None)
    if found is None:
        raise msgspec.ValidationError("the answer names no batch")
    return found


def page_of(content: bytes) -> Page:
    """A page of the list. Raises msgspec.DecodeError for what is no list: it must not pass for an empty one."""
    told = msgspec.json.decode(content, type=Page | list[Batch])
    page = Page(told) if isinstance(told, list) else told
    if page.data is None:
        page.data = page.value
    if page.data is None:
        raise msgspec.ValidationError("the answer is no list of batches")
    try:
        for batch in page.data:
            moment(batch)
    except (ValueError, OverflowError, OSError):
        raise msgspec.ValidationError("a batch in the list was made at no time there is") from None
    return page


def status_of(batch: Batch, pause_s: float | None = None, profile: Profile = OPENAI) -> Status:
    """What a batch object says, in our words."""
    word = batch.status.lower()  # compatible servers shout (PROVIDERS §7)
    state, warning = _state(batch, dict(profile.statuses).get(word, word), profile)
    counts = batch.request_counts or Counts()
    status = partial(Status, state, word, warning=warning, retry_after_s=pause_s)
    if state is State.rejected:
        return _rejected(batch, status)
    if not counts.total:  # all are 0 while validating (PROVIDERS §1.3)
        return status()
    return status(total=counts.total, done=(counts.completed or 0) + (counts.failed or 0), failed=counts.failed)


def _state(batch: Batch, word: str, profile: Profile) -> tuple[State, str]:
    state = profile.states.get(word)
    if state is None:
        return State.running, f"Batch {batch.id} has the unknown status {word[:40]!r}: taken as running."
    if state is State.ended and _output_owed(batch, word, profile):
        return State.running, f"Batch {batch.id} is {word} but names no output file yet: waiting for it."
    if state is State.rejected and batch.output_file_id and not _never_ran(batch, profile):
        return State.ended, f"Batch {batch.id} failed but has an output file: its answers are read."
    return state, ""


def _output_owed(batch: Batch, word: str, profile: Profile) -> bool:
    """Whether answers exist that no file holds yet: "completed" can come before its output id (RELIABILITY §4.2).

    Without one and with nothing succeeded it is over: all failed, and only the error file exists (PROVIDERS §1.3).
    """
    counts = batch.request_counts
    if batch.output_file_id:
        return False
    if counts is None or not counts.total:
        return word == "completed" and (profile.counts or not batch.error_file_id)
    return bool(counts.completed)


def _never_ran(batch: Batch, profile: Profile) -> bool:
    """Whether a failed batch's output file is one of those that hold nothing (PROVIDERS §6)."""
    completed = batch.request_counts.completed if batch.request_counts else None
    return profile.empty_files and bool(_listed_errors(batch.errors)) and not completed


def _rejected(batch: Batch, status: Callable[..., Status]) -> Status:
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


def label(tag: Tag) -> dict[str, str]:
    """The metadata that a purchase is marked with."""
    return {"batchjobs_job": tag.job, "batchjobs_shard": tag.shard, "batchjobs_send": str(tag.send)}


def carries(batch: Batch, marks: Mapping[str, str]) -> bool:
    """Whether a batch was marked so."""
    metadata = batch.metadata or {}
    return all(metadata.get(key) == value for key, value in marks.items())


def moment(batch: Batch) -> datetime | None:
    """When the batch was made: in Unix seconds, or by some servers as a date (PROVIDERS §7); None if it is not said."""
    told = batch.created_at
    if isinstance(told, str):
        at = datetime.fromisoformat(told)
        return at if at.tzinfo else at.replace(tzinfo=UTC)
    return None if told is None else datetime.fromtimestamp(told, UTC)
