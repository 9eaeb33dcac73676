"""An analyst: asks a published file again and again until told to stop, and checks that no look is half a merge.

python analyst.py FILE held|opened      (runs with any DuckDB client; needs nothing of ours)
"""

import json
import select
import sys
from pathlib import Path

import duckdb

# Of one shard: either nothing of it was merged, or as many attempts as it has requests, and every answer was accepted.
HALVES = """
WITH merged AS (
    SELECT job_id, shard_id, count(*) AS attempts, count(*) FILTER (WHERE outcome = 'succeeded') AS answers
    FROM attempts GROUP BY ALL),
accepted AS (SELECT job_id, shard_id, count(*) AS answers FROM results GROUP BY ALL)
SELECT shards.job_id, shards.shard_id, requests, merged.attempts, merged.answers, accepted.answers, state
FROM shards LEFT JOIN merged USING (job_id, shard_id) LEFT JOIN accepted USING (job_id, shard_id)
WHERE coalesce(merged.attempts, 0) NOT IN (0, requests)
   OR coalesce(merged.answers, 0) <> coalesce(accepted.answers, 0)
   OR (state = 'settled') <> (merged.attempts IS NOT NULL)
"""
ITEMS = "SELECT job_id FROM jobs WHERE items <> (SELECT count(*) FROM items WHERE items.job_id = jobs.job_id)"


def look(connection: duckdb.DuckDBPyConnection) -> list[str]:
    halves = connection.execute(HALVES).fetchall() + connection.execute(ITEMS).fetchall()
    connection.execute("SELECT * FROM job_progress").fetchall()
    connection.execute("SELECT * FROM dead_letters").fetchall()
    return [f"half a merge: {row}" for row in halves]


def told_to_stop() -> bool:
    return bool(select.select([sys.stdin], [], [], 0)[0])


def connected(path: str) -> tuple[duckdb.DuckDBPyConnection, int]:
    """A connection to one file, and how often the file was another one after connecting than before.

    DuckDB opens a file three times while it connects, and 2.0 goes by what it read at the second time: what was
    connected to while the file was replaced is to be thrown away.
    """
    replaced = 0
    while True:
        before, connection = identity(path), None
        try:
            connection = duckdb.connect(path, read_only=True)
        except duckdb.Error:
            if identity(path) == before:
                raise
        if connection is not None and identity(path) == before:
            return connection, replaced
        if connection is not None:
            connection.close()
        replaced += 1


def identity(path: str) -> tuple[int, int]:
    found = Path(path).stat()
    return found.st_ino, found.st_mtime_ns


def watch(path: str, held: bool) -> dict[str, object]:
    errors, looks, replaced = [], 0, 0
    kept = connected(path)[0] if held else None
    while not errors and (looks == 0 or not told_to_stop()):
        connection, times = (kept, 0) if kept else connected(path)
        errors += look(connection)
        looks, replaced = looks + 1, replaced + times
        if kept is None:
            connection.close()
    return {"errors": errors, "looks": looks, "replaced": replaced, "client": duckdb.__version__}


if __name__ == "__main__":
    sys.stdout.write("looking\n")
    sys.stdout.flush()
    sys.stdout.write(json.dumps(watch(sys.argv[1], sys.argv[2] == "held")))
