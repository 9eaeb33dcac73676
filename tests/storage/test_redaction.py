"""Tables without their texts: what identifies, counts and costs stays, to the row."""

import json
from decimal import Decimal
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from storage.redaction import KINDS, redact
from storage.tables import OUTCOMES, write_parquet

SECRET = "Mrs Canary of Acme"
VALUES: dict[str, dict[str, list[object]]] = {
    "requests": {"request_key": ["k"], "custom_id": ["c"], "item_id": ["i"], "line": [1]}
    | {"estimated_input_tokens": [9], "summary": [json.dumps({"people": SECRET})]},
    "carried": {"item_id": ["i"], "request_key": ["k"], "how": ["reused"], "summary": [json.dumps({"people": SECRET})]},
    "rejects": {"source": ["s"], "line": [1], "item_id": ["i"], "reason": ["bad_id"], "detail": [SECRET]},
}


@pytest.mark.parametrize("kind", VALUES)
def test_a_table_loses_its_texts_and_nothing_else(tmp_path: Path, kind: str):
    schema, changes = KINDS[kind]
    write_parquet(tmp_path / "table", schema, VALUES[kind])
    redact(kind, tmp_path / "table", tmp_path / "without")
    [row] = pq.read_table(tmp_path / "without").to_pylist()
    assert SECRET not in str(row)
    assert {name: row[name] for name in row.keys() - changes.keys()} == {
        name: value for name, [value] in VALUES[kind].items() if name not in changes
    }


@pytest.mark.parametrize(("code", "kept"), [("http_400", "http_400"), (f"bad {SECRET}", "unreadable"), (None, None)])
def test_an_outcome_keeps_counts_and_money_and_no_words(tmp_path: Path, code: str | None, kept: str | None):
    numbers = {name: [7] for name in ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens")}
    money = {name: [Decimal(1)] for name in ("cost_usd", "sync_cost_usd")}
    words = {"answer": ['"Mrs Canary"'], "message": [SECRET], "code": [code], "raw_key": ["raw"], "raw_line": [3]}
    ids = {"custom_id": ["c"], "request_key": ["k"], "outcome": ["succeeded"], "repaired": [False]}
    write_parquet(tmp_path / "table", OUTCOMES, ids | words | numbers | money)
    redact("outcomes", tmp_path / "table", tmp_path / "without")
    [row] = pq.read_table(tmp_path / "without").to_pylist()
    assert {name: row[name] for name in words} == {
        "answer": "null", "message": None, "code": kept, "raw_key": None, "raw_line": None,
    }  # fmt: skip
    assert all(row[name] == value for name, [value] in (ids | numbers | money).items())
