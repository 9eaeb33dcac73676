"""Tables without their texts: what `purge` puts in their place. Ids, counts, tokens, money and hashes stay."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from storage.tables import CARRIED, OUTCOMES, REJECTS, REQUESTS, ROW_GROUP_ROWS

NO_ANSWER = "null"  # in the place of an answer that was purged: it was given and paid, and is not kept
_NO_SUMMARY = "{}"
_CODE = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
Change = Callable[[Any], Any]


def _nothing(_value: Any) -> None:
    return None


def _summary(_value: Any) -> str:
    return _NO_SUMMARY


def _answer(value: str | None) -> str | None:
    return None if value is None else NO_ANSWER


def as_code(value: str) -> str:
    """A provider's code or status, if it is a word; what else stands in its place may quote a text."""
    return value if not value or _CODE.fullmatch(value) else "unreadable"


def _code(value: str | None) -> str | None:
    return None if value is None else as_code(value)


# What each kind of table loses; `raw_key` names an object that is gone.
KINDS: Mapping[str, tuple[pa.Schema, Mapping[str, Change]]] = {
    "requests": (REQUESTS, {"summary": _summary}),
    "carried": (CARRIED, {"summary": _summary}),
    "rejects": (REJECTS, {"detail": _nothing}),
    "outcomes": (
        OUTCOMES,
        {"answer": _answer, "message": _nothing, "code": _code, "raw_key": _nothing, "raw_line": _nothing},
    ),
}


def redact(kind: str, source: Path, target: Path) -> None:
    """Write the table at `source` to `target` without its texts; the same rows in the same order, a few at a time."""
    schema, changes = KINDS[kind]
    with pq.ParquetWriter(target, schema, compression="zstd") as writer:
        for batch in pq.ParquetFile(source).iter_batches(batch_size=ROW_GROUP_ROWS, columns=schema.names):
            writer.write_batch(_redacted(batch, schema, changes))


def _redacted(batch: pa.RecordBatch, schema: pa.Schema, changes: Mapping[str, Change]) -> pa.RecordBatch:
    columns = [
        pa.array([changes[field.name](value) for value in batch.column(field.name).to_pylist()], field.type)
        if field.name in changes
        else batch.column(field.name)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)
