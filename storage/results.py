"""The results store: a DuckDB projection of the object store, written by one process, published for readers."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from storage import screening
from storage.audit import violations
from storage.comparison import PAIRS, difference
from storage.contract import Conflict, Damaged, Missing
from storage.duckfile import DuckFile, meaning, move_aside, remove
from storage.reports import general_views
from storage.rows import PURGED, CarriedCounts, Failure, JobRow, ShardRow
from storage.screening import Verdict
from storage.tables import CARRIED, OUTCOMES, REJECTS, REQUESTS, SHARDS, STRAYS, arrow_table, content_bytes
from storage.views import View, ViewSpec, comment_statements, create_statement, quoted, task_views

__all__ = ["PURGED", "CarriedCounts", "Failure", "JobRow", "Results", "ShardRow", "Verdict", "ViewSpec", "move_aside"]

MEMORY_MB = 48  # that the database may take; a pass over a million items needs no more
MEMORY_ALL_MB = 512  # for questions about everything there is, which then go to the disk
COPIES = 4  # of a hand-off file's content, which is a shard's, in the working memory of a statement at most

# Every request of the shard has exactly one outcome, and an answer exactly when it succeeded.
_IDENTITY = """
SELECT count(*) FILTER (WHERE asked.custom_id IS NULL), count(*) FILTER (WHERE staged.custom_id IS NULL),
    (SELECT count(*) - count(DISTINCT custom_id) FROM staged),
    count(*) FILTER (WHERE asked.request_key <> staged.request_key
        OR (staged.outcome = 'succeeded') <> (staged.answer IS NOT NULL))
FROM (SELECT custom_id, request_key FROM requests WHERE job_id = $job_id AND shard_id = $shard_id) AS asked
FULL JOIN staged USING (custom_id)
"""

# Two shards may both bring an answer to one request; which is kept must not depend on the order they are loaded in.
# What a purged job bought (its answers are a JSON null) gives way to an answer that is there.
# MERGE and no primary key: DuckDB holds an index in memory, 115 bytes a row, which would set a limit to the store.
_ADD_RESULTS = """
MERGE INTO results USING (
    SELECT request_key, $job_id AS job_id, $shard_id AS shard_id, $attempt AS attempt, $model AS model, answer, cost_usd
    FROM staged WHERE outcome = 'succeeded'
    QUALIFY row_number() OVER (PARTITION BY request_key ORDER BY custom_id) = 1
) AS fresh ON fresh.request_key = results.request_key
WHEN MATCHED AND (fresh.job_id IN (SELECT job_id FROM jobs WHERE state = 'purged'), fresh.job_id, fresh.shard_id)
    < (results.job_id IN (SELECT job_id FROM jobs WHERE state = 'purged'), results.job_id, results.shard_id)
    THEN UPDATE BY NAME
WHEN NOT MATCHED THEN INSERT BY NAME
"""

# Items of other jobs that live on answers which this job bought, and the jobs that bought answers for items of it.
_LENT = """
SELECT count(*) FROM items JOIN results USING (request_key)
WHERE results.job_id = $job_id AND items.job_id <> $job_id AND how <> 'new'
"""
_BORROWED = """
SELECT DISTINCT results.job_id FROM items JOIN results USING (request_key)
WHERE items.job_id = $job_id AND results.job_id <> $job_id
    AND results.job_id NOT IN (SELECT job_id FROM jobs WHERE state = 'purged') ORDER BY ALL
"""

# What has not changed is not written again: a pass over a thousand quiet shards costs nothing.
_SET_SHARDS = """
UPDATE shards SET {settings} FROM fresh
WHERE shards.job_id = fresh.job_id AND shards.shard_id = fresh.shard_id AND ({stored}) IS DISTINCT FROM ({fresh})
""".format(
    settings=", ".join(f'"{name}" = fresh."{name}"' for name in SHARDS.names[2:]),
    stored=", ".join(f'shards."{name}"' for name in SHARDS.names),
    fresh=", ".join(f'fresh."{name}"' for name in SHARDS.names),
)


class Results:
    """The pipeline's private database: one process, one writer; every load is one transaction and can be repeated.

    An unreadable or newer file is moved aside (`set_aside`) and an empty one is made: all of it can be loaded again.
    Raises StoreUnavailable naming the process that has the file open, or saying what the machine lacks.
    """

    def __init__(self, path: Path, memory_mb: int = MEMORY_MB, threads: int = 2) -> None:
        self._memory_mb = memory_mb
        self._settings = {"memory_limit": f"{memory_mb}MB", "threads": str(threads)}
        self._open(path)

    def __enter__(self) -> "Results":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()

    def start_anew(self) -> None:
        """Forget every row by removing the file, and those set aside before: a deleted row lingers in its file."""
        path = self._file.path
        self._file.close()
        remove(path)
        self._open(path)

    def _open(self, path: Path) -> None:
        self._file = DuckFile(path, self._settings)
        self.set_aside = self._file.set_aside
        self._db = self._file.connection
        self._define(general_views())

    def loaded(self, object_key: str) -> bool:
        """Have the rows of this immutable object been loaded?"""
        return bool(self._rows("SELECT 1 FROM loaded WHERE object_key = $key", key=object_key))

    def add_job(self, job: JobRow, carried: Path | None, rejects: Path | None, object_key: str = "") -> None:
        """Load a job, its carried items and its rejects; a job that is there already only takes the new state.

        `object_key` (the plan's) is what `loaded` will answer to. Raises Damaged.
        """
        with self._transaction(f"the plan of job {job.job_id}"):
            if self._rows("SELECT 1 FROM jobs WHERE job_id = $job_id", job_id=job.job_id):
                self._db.execute(
                    "UPDATE jobs SET state = $1 WHERE job_id = $2 AND state <> $1", [job.state, job.job_id]
                )
                return
            self._insert("jobs", dataclasses.asdict(job))
            for table, schema, path in (("items", CARRIED, carried), ("rejects", REJECTS, rejects)):
                if path is not None:
                    self._stage(schema, path)
                    self._allow(MEMORY_ALL_MB)  # a whole job's, which may be more than any memory
                    self._insert_staged(table, "*", job_id=job.job_id)
            self._note(object_key, "job", job.job_id, None)

    def add_shard(self, shard: ShardRow, requests: Path, object_key: str = "") -> None:
        """Load a shard's requests, and unless it was made of another its items; one that is there takes the new state.

        Raises Missing when its job is not loaded; Damaged, also for a file that does not hold `shard.requests` requests
        under as many custom_ids.
        """
        what = f"the requests of shard {shard.job_id}/{shard.shard_id}"
        with self._transaction(what):
            if self._shard(shard.job_id, shard.shard_id):
                self._update_shards([shard])
                return
            if not self._rows("SELECT 1 FROM jobs WHERE job_id = $job_id", job_id=shard.job_id):
                raise Missing(f"job {shard.job_id} is not loaded: load it before its shards")
            self._stage(REQUESTS, requests)
            [(rows, ids)] = self._rows("SELECT count(*), count(DISTINCT custom_id) FROM staged")
            if not rows == ids == shard.requests:
                raise Damaged(f"{what}: {rows} rows and {ids} custom_ids instead of {shard.requests}")
            self._insert("shards", dataclasses.asdict(shard))
            self._insert_staged("requests", "* EXCLUDE (summary)", job_id=shard.job_id, shard_id=shard.shard_id)
            if shard.parent_shard is None:  # a shard made of another holds items that are there already
                self._insert_staged("items", "item_id, request_key, summary", job_id=shard.job_id, how="new")
            self._note(object_key, "requests", shard.job_id, shard.shard_id)

    def set_shards(self, rows: Sequence[ShardRow]) -> None:
        """Refresh what changes about shards that are loaded; others are left out."""
        with self._transaction("the state of shards"):
            self._update_shards(rows)

    def add_outcomes(self, job_id: str, shard_id: str, object_key: str, outcomes: Path, strays: Path | None) -> None:
        """Merge a settled shard: attempts, accepted answers, strays. Merging it again changes nothing.

        Raises Damaged where outcomes and requests of the shard are not one to one, Missing when its requests are not
        loaded, Conflict when its outcomes came from another object; nothing is merged then.
        """
        with self._transaction(object_key):
            if self.loaded(object_key):
                return
            attempt, model = self._mergeable(job_id, shard_id)
            self._stage(OUTCOMES, outcomes)
            self._require_identity(job_id, shard_id)
            ids = {"job_id": job_id, "shard_id": shard_id}
            self._insert_staged("attempts", "* EXCLUDE (custom_id, answer)", **ids, attempt=attempt)
            self._db.execute(_ADD_RESULTS, {**ids, "attempt": attempt, "model": model})
            if strays is not None:
                self._stage(STRAYS, strays)
                self._insert_staged("strays", "*", **ids)
            self._note(object_key, "outcomes", job_id, shard_id)

    def forget_outcomes(self, job_id: str, shard_id: str, object_key: str) -> None:
        """Take out what came from an object that another one has replaced."""
        with self._transaction(object_key):
            for table in ("attempts", "results", "strays"):
                where = "WHERE job_id = $job_id AND shard_id = $shard_id"
                self._db.execute(f"DELETE FROM {table} {where}", {"job_id": job_id, "shard_id": shard_id})  # noqa: S608
            self._db.execute("DELETE FROM loaded WHERE object_key = $1", [object_key])

    def start_screening(self) -> None:
        """Begin to screen the items of one new job: forget the last screening, note what is in flight now."""
        with self._explained("screening"):
            screening.start(self._db)

    def screen(self, item_ids: list[str], request_keys: list[str]) -> list[Verdict]:
        """One verdict per item, in the order given, which counts across the chunks of one screening."""
        with self._explained("screening"):
            return screening.judge(self._db, item_ids, request_keys)

    def screened_elsewhere(self) -> bool:
        """Whether requests that this screening called new have come into the results since, by another job."""
        with self._explained("screening"):
            return screening.overtaken(self._db)

    def carried(self, job_id: str) -> CarriedCounts:
        """How the items of a job stand that need no purchase of their own; reused ones have succeeded."""
        hows = (
            "SELECT count(*) FILTER (WHERE how = 'reused'), count(*) FROM items WHERE job_id = $job_id AND how <> 'new'"
        )
        [(reused, carried)] = self._rows(hows, job_id=job_id)
        if reused == carried:  # the common case, which need not look through every answer there is
            return CarriedCounts(reused, 0, 0)
        states = "SELECT state, count(*) FROM item_states WHERE job_id = $job_id AND how <> 'new' GROUP BY state"
        counts = dict(self._rows(states, job_id=job_id))
        return CarriedCounts(counts.get("succeeded", 0), counts.get("failed", 0), counts.get("in_flight", 0))

    def failures(self, job_id: str) -> list[Failure]:
        """The items of a job that have no result and nothing in flight, each with its latest attempt."""
        query = """
            SELECT item_id, request_key, bought_by, shard_id, attempt, reason, code, message, raw_key, raw_line
            FROM dead_letters WHERE job_id = $job_id ORDER BY item_id"""
        return [Failure(*row) for row in self._rows(query, job_id=job_id)]

    def define_task_view(self, spec: ViewSpec) -> None:
        """Define the typed view of a task and the views over it, replacing what they were.

        Raises ValueError for a name that is taken or is no name, and for a view that the database does not accept.
        """
        views = task_views(spec)
        taken = {name for (name,) in self._rows("SELECT table_name FROM duckdb_tables()")}
        for name in sorted({view.name for view in views} & (taken | {view.name for view in general_views()})):
            raise ValueError(f"task {spec.task} cannot define the view {name}: every results store has one")
        self._define(views)

    def violations(self) -> list[str]:
        """Every promised identity that does not hold, one sentence each; empty when nothing is lost or doubled."""
        with self._explained("the audit"):
            self._allow(MEMORY_ALL_MB)
            return list(violations(self._db))

    def loaded_objects(self, job_id: str) -> set[str]:
        """The keys of a job's objects whose rows are here."""
        return {key for (key,) in self._rows("SELECT object_key FROM loaded WHERE job_id = $job_id", job_id=job_id)}

    def job_ids(self) -> set[str]:
        """Every job that is loaded."""
        return {job for (job,) in self._rows("SELECT job_id FROM jobs")}

    def lent(self, job_id: str) -> int:
        """How many items of other jobs live on answers that this job bought."""
        [(count,)] = self._rows(_LENT, job_id=job_id)
        return int(count)

    def borrowed(self, job_id: str) -> list[str]:
        """The other jobs that hold answers to items of this one."""
        return [job for (job,) in self._rows(_BORROWED, job_id=job_id)]

    def holds_job(self, job: JobRow) -> bool:
        """Whether a job's row is still what was loaded, its state apart."""
        with self._transaction(f"job {job.job_id}"):
            self._db.execute("CREATE OR REPLACE TEMP TABLE expected AS FROM jobs LIMIT 0")
            self._insert("expected", dataclasses.asdict(job))
            both = "SELECT * EXCLUDE (state) FROM expected INTERSECT SELECT * EXCLUDE (state) FROM jobs"
            return bool(self._db.execute(both).fetchall())

    def differing(self, kind: str, path: Path, job_id: str, shard_id: str | None = None) -> tuple[int, str]:
        """How many rows of an object and of the tables it was loaded into are not the same, and the name of one.

        `kind`: requests, items, outcomes, answers or strays of a shard, carried or rejects of a job.
        """
        with self._explained(f"the comparison of {path.name}"):
            self._stage(PAIRS[kind].schema, path)
            self._allow(MEMORY_ALL_MB)
            ids = {"job_id": job_id} | ({"shard_id": shard_id} if shard_id else {})
            return difference(self._db, PAIRS[kind], ids)

    def publish(self, target: Path) -> None:
        """Replace the analysts' file by what is merged now, in one step; readers keep the file they opened.

        Raises StoreUnavailable.
        """
        with self._explained("publishing"):
            self._file.copy_to(target)

    def _mergeable(self, job_id: str, shard_id: str) -> tuple[int, str]:
        """The shard's attempt and model, if its requests are here and its outcomes are not."""
        shard = self._shard(job_id, shard_id)
        if not shard:
            raise Missing(f"shard {job_id}/{shard_id} is not loaded: load its job and its requests first")
        other = "SELECT object_key FROM loaded WHERE kind = 'outcomes' AND job_id = $job_id AND shard_id = $shard_id"
        for (key,) in self._rows(other, job_id=job_id, shard_id=shard_id):
            raise Conflict(f"shard {job_id}/{shard_id} already has its outcomes from {key}")
        return shard[0]

    def _shard(self, job_id: str, shard_id: str) -> list[tuple[int, str]]:
        query = """
            SELECT attempt, model FROM shards JOIN jobs USING (job_id)
            WHERE job_id = $job_id AND shard_id = $shard_id"""
        return self._rows(query, job_id=job_id, shard_id=shard_id)

    def _require_identity(self, job_id: str, shard_id: str) -> None:
        [(strangers, missing, twins, wrong)] = self._rows(_IDENTITY, job_id=job_id, shard_id=shard_id)
        if strangers or missing or twins or wrong:
            raise Damaged(
                f"the outcomes of shard {job_id}/{shard_id} do not fit its requests: {strangers} strangers, "
                f"{missing} missing, {twins} twins, {wrong} at odds with themselves; nothing was merged"
            )

    def _update_shards(self, rows: Sequence[ShardRow]) -> None:
        columns = {name: [_stored(getattr(row, name)) for row in rows] for name in SHARDS.names}
        self._db.register("fresh", arrow_table(SHARDS, columns))
        try:
            self._db.execute(_SET_SHARDS)
        finally:
            self._db.unregister("fresh")

    def _stage(self, schema: pa.Schema, path: Path) -> None:
        """The hand-off file as the temporary table `staged`, read by DuckDB itself, which may need several copies."""
        self._allow(content_bytes(path) * COPIES // 1_000_000)
        names = ", ".join(schema.names)
        # glob signs in a directory's name are ordinary characters here
        pattern = "".join(f"[{sign}]" if sign in "*?[" else sign for sign in str(path))
        source = f"SELECT {names} FROM read_parquet($1, hive_partitioning = false)"  # noqa: S608 (our own names)
        self._db.execute(f"CREATE OR REPLACE TEMP TABLE staged AS {source}", [pattern])

    def _insert_staged(self, table: str, columns: str, **same: Any) -> None:
        """The staged rows into a table, with the values that are the same in all of them."""
        given = ", ".join(f"${name} AS {name}" for name in same)
        insert = f"INSERT INTO {table} BY NAME SELECT {given}, {columns} FROM staged"  # noqa: S608 (our own names)
        self._db.execute(insert, same)

    def _insert(self, table: str, row: Mapping[str, Any]) -> None:
        given = ", ".join(f'${name} AS "{name}"' for name in row)
        values = {name: _stored(value) for name, value in row.items()}
        self._db.execute(f"INSERT INTO {table} BY NAME SELECT {given}", values)

    def _note(self, object_key: str, kind: str, job_id: str, shard_id: str | None) -> None:
        if object_key:
            self._db.execute("INSERT INTO loaded VALUES (?, ?, ?, ?)", [object_key, kind, job_id, shard_id])

    def _define(self, views: Sequence[View]) -> None:
        with self._transaction("the views"):
            for view in views:
                try:
                    self._db.execute(create_statement(view))
                except (duckdb.ParserException, duckdb.BinderException, duckdb.CatalogException) as error:
                    raise ValueError(f"view {view.name} cannot be defined: {error}") from None
                described = self._db.execute(f"DESCRIBE {quoted(view.name)}").fetchall()
                for statement in comment_statements(view, [name for name, *_ in described]):
                    self._db.execute(statement)

    def _rows(self, query: str, **values: Any) -> list[Any]:
        with self._explained("the results store"):
            try:
                return self._db.execute(query, values).fetchall()
            except duckdb.OutOfMemoryException:
                with suppress(duckdb.TransactionException):  # in a transaction it is too late
                    self._allow(MEMORY_ALL_MB)
                    return self._db.execute(query, values).fetchall()
                raise

    def _allow(self, memory_mb: int) -> None:
        self._db.execute(f"SET memory_limit = '{max(self._memory_mb, memory_mb)}MB'")

    @contextmanager
    def _transaction(self, what: str) -> Iterator[None]:
        with self._explained(what):
            self._db.execute("BEGIN")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                with suppress(duckdb.Error):  # a failed COMMIT has ended the transaction itself
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        """DuckDB's errors in the words of the store's contract; never its text, which may quote data."""
        try:
            yield
        except duckdb.Error as error:
            raise meaning(error, what, self._file.path) from None


def _stored(value: Any) -> Any:
    """Times as UTC without a zone, so that every reader sees the same day."""
    return value.astimezone(UTC).replace(tzinfo=None) if isinstance(value, datetime) else value
