"""Comparing: whether the rows that came from an object are still exactly the rows of that object."""

from dataclasses import dataclass

import pyarrow as pa
from duckdb import DuckDBPyConnection

from storage.tables import CARRIED, OUTCOMES, REJECTS, REQUESTS, STRAYS


@dataclass(frozen=True, slots=True)
class Pair:
    """What an object's rows, staged, must be equal to; the first column of both queries names a row."""

    schema: pa.Schema
    columns: str
    rows: str  # of the tables, from the FROM on
    staged: str = "FROM staged"


_JOB = "job_id = $job_id"
_SHARD = f"{_JOB} AND shard_id = $shard_id"
_ATTEMPT = ", ".join(name for name in OUTCOMES.names[1:] if name != "answer")

PAIRS = {
    "requests": Pair(
        REQUESTS, "request_key, custom_id, item_id, line, estimated_input_tokens", f"FROM requests WHERE {_SHARD}"
    ),
    "items": Pair(
        REQUESTS,
        "request_key, item_id, CAST(summary AS VARCHAR)",
        f"FROM items SEMI JOIN staged USING (request_key) WHERE {_JOB} AND how = 'new'",
    ),
    "carried": Pair(
        CARRIED, "item_id, request_key, how, CAST(summary AS VARCHAR)", f"FROM items WHERE {_JOB} AND how <> 'new'"
    ),
    "rejects": Pair(REJECTS, "line, source, item_id, reason, detail", f"FROM rejects WHERE {_JOB}"),
    "outcomes": Pair(OUTCOMES, _ATTEMPT, f"FROM attempts WHERE {_SHARD}"),
    "answers": Pair(  # of a request that two shards answered one answer was accepted, perhaps the other's
        OUTCOMES,
        "request_key, CAST(answer AS VARCHAR), cost_usd",
        f"FROM results WHERE {_SHARD}",
        f"FROM staged SEMI JOIN (SELECT request_key FROM results WHERE {_SHARD}) AS kept USING (request_key)",  # noqa: S608
    ),
    "strays": Pair(STRAYS, "raw_line, raw_key, custom_id, kind", f"FROM strays WHERE {_SHARD}"),
}


def difference(connection: DuckDBPyConnection, pair: Pair, ids: dict[str, str]) -> tuple[int, str]:
    """How many rows are not the same in both, counted by their names, and one of the names."""
    rows, staged = f"(SELECT {pair.columns} {pair.rows})", f"(SELECT {pair.columns} {pair.staged})"
    either = f"({rows} EXCEPT ALL {staged}) UNION ALL ({staged} EXCEPT ALL {rows})"
    query = f"SELECT count(DISTINCT name), min(name) FROM ({either}) AS odd(name)"  # noqa: S608 (our own names)
    wanted = {name: value for name, value in ids.items() if f"${name}" in query}
    [(count, name)] = connection.execute(query, wanted).fetchall()
    return int(count), str(name)
