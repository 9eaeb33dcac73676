"""Parquet files and DuckDB queries as JSON lines, read by a DuckDB that can reach nothing else."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import duckdb
import msgspec

from storage.contract import InputError
from storage.lines import CutOff, Line, json_line

_ROWS = 512
_ZONED = "TIMESTAMP WITH TIME ZONE"
_SEALED: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "python_enable_replacements": "false",
    "memory_limit": "1GB",
    "threads": "1",  # so that rows come in the same order each time, and the same command is the same job
}


def parquet_lines(path: Path, name: str, scratch: Path) -> Iterator[Line]:
    """One object a row. Raises InputError, and CutOff where the file breaks off."""
    with closing(duckdb.connect(config=_SEALED | {"temp_directory": str(scratch)})) as connection:
        connection.execute(f"SET allowed_paths = [{_quoted(str(path.absolute()))}]")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        try:
            lines = _lines(connection, f"FROM read_parquet({_quoted(str(path.absolute()))})")
        except duckdb.Error as error:
            raise InputError(f"{name} cannot be read as Parquet: {_said(error)}") from error
        yield from lines


def query_lines(database: Path, name: str, query: str, scratch: Path) -> Iterator[Line]:
    """One object a row of one SELECT over a DuckDB file, opened read-only. Raises InputError, CutOff."""
    config = _SEALED | {
        "temp_directory": str(scratch), "enable_external_access": "false", "lock_configuration": "true",
    }  # fmt: skip
    try:
        connection = duckdb.connect(str(database), read_only=True, config=config)
    except duckdb.Error as error:
        raise InputError(f"{name} cannot be opened: {_said(error)}") from error
    with closing(connection):
        try:
            lines = _lines(connection, query.strip().rstrip(";"))
        except duckdb.Error as error:
            raise InputError(f"the query over {name} cannot be run: {_said(error)}") from error
        yield from lines


def _lines(connection: duckdb.DuckDBPyConnection, query: str) -> Iterator[Line]:
    """Runs the query before it returns; the rows then stream."""
    rows = f"(\n{query}\n) AS input"  # the person's own query, against a database that it cannot change or leave
    columns = connection.execute(f"SELECT * FROM {rows} LIMIT 0").description or []  # noqa: S608
    wanted = ", ".join(_expression(name, str(kind)) for name, kind, *_ in columns)
    connection.execute(f"SELECT {wanted} FROM {rows}")  # noqa: S608
    return _rows(connection, [name for name, *_ in columns], [str(kind) == "JSON" for _, kind, *_ in columns])


def _rows(connection: duckdb.DuckDBPyConnection, names: list[str], is_json: list[bool]) -> Iterator[Line]:
    number = 0
    try:
        while rows := connection.fetchmany(_ROWS):
            for number, row in enumerate(rows, start=number + 1):  # noqa: B020 - goes on counting
                values = (msgspec.Raw(v.encode()) if j and v else v for v, j in zip(row, is_json, strict=True))
                yield json_line(number, dict(zip(names, values, strict=True)))
    except duckdb.Error as error:
        raise CutOff(_said(error)) from error


def _expression(name: str, kind: str) -> str:
    """The column in a type that Python can take without pytz: instants as ISO text in UTC, nested ones without a Z."""
    column = '"' + name.replace('"', '""') + '"'
    if kind == _ZONED:
        return f"strftime({column} AT TIME ZONE 'UTC', '%Y-%m-%dT%H:%M:%S.%fZ') AS {column}"
    if _ZONED in kind:
        return f"CAST({column} AS {kind.replace(_ZONED, 'TIMESTAMP')}) AS {column}"
    return column


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _said(error: duckdb.Error) -> str:
    """DuckDB's first line where it speaks of names and syntax; only the kind of error where it may quote a value."""
    if isinstance(error, duckdb.ConversionException | duckdb.InvalidInputException | duckdb.OutOfRangeException):
        return type(error).__name__
    return str(error).partition("\n")[0][:300]
