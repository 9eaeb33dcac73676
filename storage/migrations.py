"""The tables of the results store, as numbered migrations; each ends in CHECKPOINT (RELIABILITY §1 E4)."""

from collections.abc import Sequence
from dataclasses import dataclass

from duckdb import DuckDBPyConnection


@dataclass(frozen=True, slots=True)
class Migration:
    """One step from version n-1 to version n: statements run in one transaction, never edited once released."""

    version: int
    name: str
    statements: str


_TABLES = """
CREATE TABLE jobs (
    job_id VARCHAR PRIMARY KEY, created_at TIMESTAMP NOT NULL, task VARCHAR NOT NULL, task_version VARCHAR NOT NULL,
    provider VARCHAR NOT NULL, model VARCHAR NOT NULL, endpoint VARCHAR, source VARCHAR, input_sha256 VARCHAR,
    lines BIGINT NOT NULL, items BIGINT NOT NULL, rejected BIGINT NOT NULL, duplicates BIGINT NOT NULL,
    reused BIGINT NOT NULL, requests BIGINT NOT NULL,
    estimated_cost_usd DECIMAL(18, 9), ceiling_cost_usd DECIMAL(18, 9), state VARCHAR NOT NULL);
COMMENT ON TABLE jobs IS 'One submission: a task over a set of items. Times are UTC, money is US dollars.';

CREATE TABLE shards (
    job_id VARCHAR NOT NULL, shard_id VARCHAR NOT NULL, parent_shard VARCHAR, attempt INTEGER NOT NULL,
    requests BIGINT NOT NULL, bytes BIGINT NOT NULL, state VARCHAR NOT NULL, "open" BOOLEAN NOT NULL,
    batch_id VARCHAR, estimated_cost_usd DECIMAL(18, 9), cost_usd DECIMAL(18, 9),
    sent_at TIMESTAMP, ended_at TIMESTAMP, settled_at TIMESTAMP, detail VARCHAR,
    PRIMARY KEY (job_id, shard_id));
COMMENT ON TABLE shards IS 'One file of requests: one provider batch; "open" while it may still bring answers.';

CREATE TABLE requests (
    job_id VARCHAR NOT NULL, shard_id VARCHAR NOT NULL, custom_id VARCHAR NOT NULL, request_key VARCHAR NOT NULL,
    item_id VARCHAR NOT NULL, line BIGINT NOT NULL, estimated_input_tokens BIGINT NOT NULL);
COMMENT ON TABLE requests IS 'Every request of every shard, retries included.';

CREATE TABLE items (
    job_id VARCHAR NOT NULL, item_id VARCHAR NOT NULL, request_key VARCHAR NOT NULL, how VARCHAR NOT NULL,
    summary JSON NOT NULL);
COMMENT ON TABLE items IS 'Every item of every job; how: new (bought for it), shared, reused or in_flight.';

CREATE TABLE attempts (
    job_id VARCHAR NOT NULL, shard_id VARCHAR NOT NULL, attempt INTEGER NOT NULL, request_key VARCHAR NOT NULL,
    outcome VARCHAR NOT NULL, code VARCHAR, message VARCHAR, repaired BOOLEAN NOT NULL,
    input_tokens BIGINT NOT NULL, output_tokens BIGINT NOT NULL,
    cache_read_tokens BIGINT NOT NULL, cache_write_tokens BIGINT NOT NULL,
    cost_usd DECIMAL(18, 9) NOT NULL, sync_cost_usd DECIMAL(18, 9) NOT NULL, raw_key VARCHAR, raw_line BIGINT);
COMMENT ON TABLE attempts IS 'How every request ended, every time it was bought; the times are those of its shard.';

CREATE TABLE results (
    request_key VARCHAR NOT NULL, job_id VARCHAR NOT NULL, shard_id VARCHAR NOT NULL, attempt INTEGER NOT NULL,
    model VARCHAR NOT NULL, answer JSON NOT NULL, cost_usd DECIMAL(18, 9) NOT NULL);
COMMENT ON TABLE results IS 'The one accepted answer per request; the time of the answer is that of its shard.';

CREATE TABLE rejects (
    job_id VARCHAR NOT NULL, source VARCHAR NOT NULL, line BIGINT NOT NULL, item_id VARCHAR,
    reason VARCHAR NOT NULL, detail VARCHAR);
COMMENT ON TABLE rejects IS 'Input lines that became no item, and why.';

CREATE TABLE strays (
    job_id VARCHAR NOT NULL, shard_id VARCHAR NOT NULL, custom_id VARCHAR, kind VARCHAR NOT NULL,
    raw_key VARCHAR NOT NULL, raw_line BIGINT);
COMMENT ON TABLE strays IS 'Result lines that belong to no request of their shard; the bytes are kept under raw_key.';

CREATE TABLE loaded (object_key VARCHAR PRIMARY KEY, kind VARCHAR NOT NULL, job_id VARCHAR NOT NULL, shard_id VARCHAR);
COMMENT ON TABLE loaded IS 'The immutable objects whose rows are in this file.';
"""

# Tables that a large store fills by the million have no primary key: a row of `loaded`, written in the same
# transaction, is what keeps a shard from being loaded twice. `results` needs its own: equal keys come from many shards.
MIGRATIONS: tuple[Migration, ...] = (Migration(1, "tables", _TABLES),)

_LEDGER = "CREATE TABLE IF NOT EXISTS schema_migrations (version INTEGER PRIMARY KEY, name VARCHAR NOT NULL)"


def schema_version(connection: DuckDBPyConnection) -> int | None:
    """The newest migration the file has seen; 0 for an empty file, None for a database that is not ours."""
    tables = {name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
    if "schema_migrations" not in tables:
        return None if tables else 0
    row = connection.execute("SELECT coalesce(max(version), 0) FROM schema_migrations").fetchone()
    return int(row[0]) if row else 0


def migrate(connection: DuckDBPyConnection, migrations: Sequence[Migration] = MIGRATIONS) -> None:
    """Bring the file to the newest version, one transaction and one CHECKPOINT per step."""
    connection.execute(_LEDGER)
    seen = schema_version(connection) or 0
    for migration in migrations:
        if migration.version > seen:
            _apply(connection, migration)


def _apply(connection: DuckDBPyConnection, migration: Migration) -> None:
    connection.execute("BEGIN")
    connection.execute(migration.statements)
    connection.execute("INSERT INTO schema_migrations VALUES (?, ?)", [migration.version, migration.name])
    connection.execute("COMMIT")
    connection.execute("CHECKPOINT")
