"""A kit for tests of inputs: files made on the spot, and what comes out of them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from storage.inputs import Input, Line, open_input

Opener = Callable[..., Input]

VALUES = """
    SELECT i AS id, 'deal ' || i AS name, 1.50::DECIMAL(9,2) AS amount, [{'date': DATE '2026-01-02', 'n': i}] AS emails,
    NULL AS nothing, 'nan'::DOUBLE AS odd, TIMESTAMPTZ '2026-01-02 03:04:05+01' AS seen,
    [TIMESTAMPTZ '2026-01-02 03:04:05+01'] AS times, TIMESTAMP '2026-01-02 03:04:05' AS "the time", true AS won
    FROM range(1, 3) AS r(i)
"""


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    (tmp_path / "spool").mkdir()
    return tmp_path / "spool"


@pytest.fixture
def given(tmp_path: Path, spool: Path) -> Opener:
    """Opens a file of this name with these bytes."""

    def open_file(name: str, data: bytes, **options: Any) -> Input:
        (tmp_path / name).write_bytes(data)
        return open_input(str(tmp_path / name), spool_dir=spool, **options)

    return open_file


def lines(source: Input) -> list[Line]:
    return [line for chunk in source.chunks() for line in chunk]


def items(source: Input) -> list[Any]:
    return [json.loads(line.data or b"null") for line in lines(source)]


def problems(source: Input) -> list[tuple[int, str]]:
    return [(line.number, line.problem) for line in lines(source) if line.data is None]


def made_parquet(path: Path, query: str = VALUES) -> bytes:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"COPY ({query}) TO '{path}' (FORMAT parquet)")
    return path.read_bytes()
