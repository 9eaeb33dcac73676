"""Which items of a new job need a purchase: decided in bulk, in the order given, in flat memory."""

from enum import StrEnum

import pyarrow as pa
from duckdb import DuckDBPyConnection

CHUNK = pa.schema([("ordinal", pa.int64()), ("item_id", pa.string()), ("request_key", pa.string())])


class Verdict(StrEnum):
    """What screening says of an item."""

    duplicate = "duplicate"  # its item id came earlier in this screening
    reused = "reused"  # its request has been answered
    in_flight = "in_flight"  # an open shard will bring its answer
    shared = "shared"  # an earlier new item of this screening has the same request
    new = "new"


_VERDICTS = {verdict.value: verdict for verdict in Verdict}

# What is open is written out once: it cannot change while this process, the only writer, is screening.
_START = """
CREATE OR REPLACE TEMP TABLE screened_items (item_id VARCHAR);
CREATE OR REPLACE TEMP TABLE screened_keys (request_key VARCHAR);
CREATE OR REPLACE TEMP TABLE open_keys AS
    SELECT DISTINCT request_key FROM requests
    SEMI JOIN (SELECT job_id, shard_id FROM shards WHERE "open") AS open_shards USING (job_id, shard_id)
"""

# What a purged job bought is not kept, and must be bought anew.
# The big tables are filtered by the chunk first, so that hash tables are built on the chunk alone.
_JUDGE = """
CREATE OR REPLACE TEMP TABLE judged AS
WITH earlier_items AS (
    SELECT item_id FROM screened_items WHERE item_id IN (SELECT item_id FROM chunk)),
known AS (
    SELECT request_key, min(rank) AS rank FROM (
        SELECT request_key, 1 AS rank FROM results
        WHERE request_key IN (SELECT request_key FROM chunk)
            AND job_id NOT IN (SELECT job_id FROM jobs WHERE state = 'purged')
        UNION ALL
        SELECT request_key, 2 AS rank FROM open_keys WHERE request_key IN (SELECT request_key FROM chunk)
        UNION ALL
        SELECT request_key, 3 AS rank FROM screened_keys WHERE request_key IN (SELECT request_key FROM chunk))
    GROUP BY request_key),
once AS (
    SELECT chunk.*, earlier_items.item_id IS NOT NULL
        OR row_number() OVER (PARTITION BY chunk.item_id ORDER BY ordinal) > 1 AS twin
    FROM chunk LEFT JOIN earlier_items USING (item_id))
SELECT ordinal, item_id, request_key, CASE
    WHEN twin THEN 'duplicate'
    WHEN rank = 1 THEN 'reused'
    WHEN rank = 2 THEN 'in_flight'
    WHEN rank = 3 OR row_number() OVER (PARTITION BY twin, request_key ORDER BY ordinal) > 1 THEN 'shared'
    ELSE 'new' END AS verdict
FROM once LEFT JOIN known USING (request_key)
"""


def start(connection: DuckDBPyConnection) -> None:
    """Forget the last screening and note what is in flight now."""
    connection.execute(_START)


def judge(connection: DuckDBPyConnection, item_ids: list[str], request_keys: list[str]) -> list[Verdict]:
    """One verdict per item, in the order given; remembers the chunk for those that follow."""
    chunk = pa.table([list(range(len(item_ids))), item_ids, request_keys], schema=CHUNK)
    connection.register("chunk", chunk)
    try:
        connection.execute(_JUDGE)
    finally:
        connection.unregister("chunk")
    connection.execute("INSERT INTO screened_items SELECT item_id FROM judged WHERE verdict <> 'duplicate'")
    connection.execute("INSERT INTO screened_keys SELECT request_key FROM judged WHERE verdict = 'new'")
    verdicts = [Verdict.new] * len(item_ids)
    others = connection.execute("SELECT ordinal, verdict FROM judged WHERE verdict <> 'new'").fetchall()
    for ordinal, verdict in others:
        verdicts[ordinal] = _VERDICTS[verdict]
    return verdicts


def overtaken(connection: DuckDBPyConnection) -> bool:
    """Whether a request that this screening called new is in the results by now."""
    found = connection.execute("SELECT 1 FROM screened_keys SEMI JOIN requests USING (request_key) LIMIT 1").fetchone()
    return found is not None
