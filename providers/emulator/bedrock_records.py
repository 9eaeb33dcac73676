"""A job's records: read from S3 and checked while validating, executed, written to S3 (PROVIDERS §3.1, §3.4)."""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Raw

from providers.emulator.bedrock_models import Models
from providers.emulator.bedrock_s3 import Buckets, Source
from providers.emulator.bedrock_settings import BedrockSettings
from providers.emulator.bedrock_words import Answer, Target
from providers.emulator.work import Done, Sheet, common_prefix
from providers.emulator.world import Fate, World

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
_EXPIRED = (408, "The record was not processed before the job ended.")


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    modelInput: dict[str, Raw]  # noqa: N815 -- AWS's name
    recordId: str | None = None  # noqa: N815


class _Stored(msgspec.Struct):
    file: int
    id: str
    input: Raw
    odd: bool = False  # whether the record has members that it must not have


_line = msgspec.json.Decoder(_Line).decode
_members = msgspec.json.Decoder(dict[str, Raw]).decode
_stored = msgspec.json.Decoder(_Stored).decode
_store = msgspec.json.Encoder().encode


class Complaint(Exception):
    """Why a job fails its validation; the message becomes the job's."""


def read(world: World, buckets: Buckets, uri: str, path: Path) -> tuple[list[Source], Sheet]:
    """Spool the input: the files, and their records in one sheet. Raises Complaint or Unreachable."""
    settings = world.settings.bedrock
    sources = buckets.sources(uri)
    _check_files(uri, sources, settings)
    offsets, ids = array("Q", [0]), set()
    with path.open("wb") as file:
        for number, source in enumerate(sources):
            before = len(offsets)
            for stored in _records(world, buckets, number, source):
                ids.add(stored.id)
                offsets.append(offsets[-1] + file.write(_store(stored) + b"\n"))
            _check_most(len(offsets) - before, settings.file_records, f"{source.key} has")
    total = len(offsets) - 1
    _check_most(total, settings.job_records, "The job has")
    if total < settings.min_records:
        raise Complaint(f"The job has {total} records, fewer than the required minimum of {settings.min_records}.")
    return sources, Sheet(path, offsets, prefix=common_prefix(ids))


def _check_files(uri: str, sources: Sequence[Source], settings: BedrockSettings) -> None:
    if not sources:
        raise Complaint(f"No input file was found at {uri}.")
    for source in sources:
        if source.size > settings.file_bytes:
            raise Complaint(f"{source.key} has {source.size} bytes; a file may have {settings.file_bytes}.")
    size = sum(source.size for source in sources)
    if size > settings.job_bytes:
        raise Complaint(f"The job's files have {size} bytes; together they may have {settings.job_bytes}.")


def _check_most(count: int, most: int, subject: str) -> None:
    if count > most:
        raise Complaint(f"{subject} {count} records, more than the allowed maximum of {most}.")


def _records(world: World, buckets: Buckets, number: int, source: Source) -> Iterator[_Stored]:
    for at, line in enumerate(buckets.lines(source), 1):
        if not line.strip():
            continue
        try:
            record = _line(line)
            odd = False
        except msgspec.DecodeError:
            record, odd = _odd(line, f"{source.key}, line {at}"), True
        inner = Raw(_store(record.modelInput))
        yield _Stored(number, record.recordId or world.new_id(11, _LETTERS), inner, odd)


def _odd(line: bytes, place: str) -> _Line:
    """A record with members of its own, which will fail; what is no record at all makes the job fail."""
    try:
        members = _members(line)
        known = {name: members[name] for name in ("modelInput", "recordId") if name in members}
        return _line(_store(known))
    except msgspec.DecodeError:
        raise Complaint(f"{place}: not a record with a modelInput object and a recordId text.") from None


def executed(models: Models, target: Target, chat: bool, forced: Fate | None, line: bytes) -> Done:
    """Execute one record. Its line begins with the number of the file it belongs to."""
    record = _stored(line)
    if record.odd:
        answer = Answer(400, "Malformed record: Extra inputs are not permitted.")
    else:
        answer = models.serve(target, bytes(record.input), chat=chat, batch=True, forced=forced)
    good = answer.status == 200
    outcome = {"modelOutput": answer.document} if good else {"error": _error(answer.status, answer.message)}
    return Done(
        line=_result(record, outcome),
        failed=not good,
        custom_id=record.id,
        prompt_hash=answer.digest.hex(),
        input_tokens=answer.input_tokens,
        output_tokens=answer.output_tokens,
        struck=answer.digest if answer.struck else b"",
    )


def unexecuted(line: bytes) -> bytes:
    """The line of a record that never ran."""
    return _result(_stored(line), {"error": _error(*_EXPIRED, expired=True)})


def _error(status: int, message: str, *, expired: bool = False) -> dict[str, Any]:
    retryable = expired or status == 429 or status >= 500
    return {"errorCode": status, "errorMessage": message, "expired": expired, "retryable": retryable}


def _result(record: _Stored, outcome: dict[str, Any]) -> bytes:
    whole = {"modelInput": record.input, **outcome, "recordId": record.id}
    return b"%d %b\n" % (record.file, _store(whole))


def of_file(path: Path, number: int, count: int) -> Iterator[bytes]:
    """The result lines of one input file among the first `count` of a job."""
    mark = b"%d " % number
    with path.open("rb") as file:
        for line in islice(file, count):
            if line.startswith(mark):
                yield line[len(mark) :]


def spool(path: Path, lines: Iterable[bytes]) -> Path:
    """Write lines to a file; the file."""
    with path.open("wb") as file:
        file.writelines(lines)
    return path
