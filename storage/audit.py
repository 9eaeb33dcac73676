"""The identities a results store must keep: what was asked, answered and accepted, counted against itself."""

from collections.abc import Iterator

from duckdb import DuckDBPyConnection

# Each rule is a sentence and the query whose rows break it; the rows fill the sentence. What is distinct is found by
# grouping, for which DuckDB uses the disk where memory is short: a count(DISTINCT …) holds all of it.
_RULES = (
    (
        "job {} has {} items, {} of them distinct, instead of {}",
        """
        SELECT jobs.job_id, coalesce(sum(times), 0) AS rows, count(times) AS ids, jobs.items
        FROM jobs LEFT JOIN (SELECT job_id, item_id, count(*) AS times FROM items GROUP BY ALL) AS held USING (job_id)
        GROUP BY jobs.job_id, jobs.items HAVING rows <> jobs.items OR ids <> rows""",
    ),
    (
        "shard {}/{} has {} requests, {} of them distinct, instead of {}",
        """
        SELECT job_id, shard_id, coalesce(sum(times), 0) AS rows, count(times) AS keys, shards.requests
        FROM shards LEFT JOIN (
            SELECT job_id, shard_id, request_key, count(*) AS times FROM requests GROUP BY ALL) AS asked
        USING (job_id, shard_id) GROUP BY job_id, shard_id, shards.requests
        HAVING rows <> shards.requests OR keys <> rows""",
    ),
    (
        "shard {}/{} has {} requests without an outcome and {} outcomes without a request",
        """
        SELECT job_id, shard_id, count(*) FILTER (WHERE outcome IS NULL) AS missing,
            count(*) FILTER (WHERE custom_id IS NULL) AS strangers
        FROM (SELECT requests.* FROM requests SEMI JOIN settled USING (job_id, shard_id)) AS asked
        FULL JOIN attempts USING (job_id, shard_id, request_key)
        GROUP BY job_id, shard_id HAVING missing > 0 OR strangers > 0""",
    ),
    (
        "shard {}/{} has {} outcomes for {} requests",
        """
        SELECT job_id, shard_id, sum(times) AS outcomes, count(*) AS keys
        FROM (SELECT job_id, shard_id, request_key, count(*) AS times FROM attempts GROUP BY ALL) AS held
        GROUP BY job_id, shard_id HAVING outcomes <> keys""",
    ),
    (
        "request {} has {} accepted answers",
        "SELECT request_key, count(*) AS answers FROM results GROUP BY request_key HAVING answers > 1",
    ),
    (
        "shard {}/{} has {} usable answers of which none was accepted",
        """
        SELECT job_id, shard_id, count(*) FROM (SELECT * FROM attempts WHERE outcome = 'succeeded') AS usable
        ANTI JOIN results USING (request_key) GROUP BY job_id, shard_id""",
    ),
    (
        "shard {}/{} has {} accepted answers that it did not bring",
        """
        SELECT job_id, shard_id, count(*) FROM results
        ANTI JOIN (SELECT * FROM attempts WHERE outcome = 'succeeded') AS usable
            USING (job_id, shard_id, attempt, request_key) GROUP BY job_id, shard_id""",
    ),
)


def violations(connection: DuckDBPyConnection) -> Iterator[str]:
    """Every identity that does not hold, one sentence each; it takes that everything in the store has been loaded."""
    for sentence, query in _RULES:
        for row in connection.execute(f"{_SETTLED} {query} ORDER BY ALL").fetchall():
            yield sentence.format(*row)


_SETTLED = "WITH settled AS (SELECT job_id, shard_id FROM loaded WHERE kind = 'outcomes')"
