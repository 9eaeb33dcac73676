"""The hand-off files: what is written comes back, and what cannot be written is named."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storage.tables import CARRIED, MONEY, ROW_GROUP_ROWS, STRAYS, TableWriter, write_parquet

BILL = pa.schema([pa.field("who", pa.string()), pa.field("cost_usd", MONEY, nullable=False)])


def test_a_file_comes_back_as_it_was_written(tmp_path: Path) -> None:
    columns = {
        "custom_id": ["a\u2028b", None],
        "kind": ["twin", "undecodable"],
        "raw_key": ["k", ""],
        "raw_line": [1, 2],
    }
    write_parquet(tmp_path / "file", STRAYS, columns)
    assert pq.read_table(tmp_path / "file").to_pydict() == columns
    assert pq.read_schema(tmp_path / "file").equals(STRAYS)


def test_a_file_without_rows_has_its_columns(tmp_path: Path) -> None:
    write_parquet(tmp_path / "file", CARRIED, {name: [] for name in CARRIED.names})
    assert pq.read_table(tmp_path / "file").column_names == CARRIED.names


def test_a_large_file_is_written_in_row_groups_with_zstd(tmp_path: Path) -> None:
    rows = 2 * ROW_GROUP_ROWS + 1
    write_parquet(tmp_path / "file", BILL, {"who": ["a"] * rows, "cost_usd": [Decimal(1)] * rows})
    metadata = pq.read_metadata(tmp_path / "file")
    assert [metadata.row_group(n).num_rows for n in range(3)] == [ROW_GROUP_ROWS, ROW_GROUP_ROWS, 1]
    assert metadata.row_group(0).column(0).compression == "ZSTD"


def test_money_is_rounded_to_the_nano_dollar(tmp_path: Path) -> None:
    write_parquet(tmp_path / "file", BILL, {"who": ["a"], "cost_usd": [Decimal("0.0000000016")]})
    assert pq.read_table(tmp_path / "file")["cost_usd"].to_pylist() == [Decimal("0.000000002")]


def test_half_a_character_becomes_a_replacement_sign(tmp_path: Path) -> None:
    who = ["\ud800", "a\udc00b", "\ud83d\ude00", "fine", None]
    write_parquet(tmp_path / "file", BILL, {"who": who, "cost_usd": [Decimal(0)] * 5})
    assert pq.read_table(tmp_path / "file")["who"].to_pylist() == ["\ufffd", "a\ufffdb", "\U0001f600", "fine", None]


@pytest.mark.parametrize(
    ("columns", "fact"),
    [
        ({"who": ["a"]}, "do not fit the schema"),
        ({"who": ["a"], "cost_usd": [Decimal(1)], "more": [1]}, "do not fit the schema"),
        ({"who": ["a", "b"], "cost_usd": [Decimal(1)]}, "unequal length"),
        ({"who": ["a"], "cost_usd": [None]}, "cost_usd must have a value"),
    ],
)
def test_columns_that_make_no_table_are_refused(tmp_path: Path, columns: dict[str, list[Any]], fact: str) -> None:
    with pytest.raises(ValueError, match=fact):
        write_parquet(tmp_path / "file", BILL, columns)


def test_rows_that_come_one_by_one_are_the_same_file_as_columns(tmp_path: Path) -> None:
    rows = [(f"item {n}", f"key {n}", "reused", "{}") for n in range(ROW_GROUP_ROWS + 3)]
    writer = TableWriter(tmp_path / "rows.parquet", CARRIED)
    for row in rows:
        writer.add(row)
    writer.close()
    assert pq.read_table(writer.path).to_pylist() == [dict(zip(CARRIED.names, row, strict=True)) for row in rows]


def test_a_writer_without_rows_makes_no_file(tmp_path: Path) -> None:
    writer = TableWriter(tmp_path / "none.parquet", CARRIED)
    writer.close()
    assert not writer.path.exists()
