"""A results store, the hand-off files that fill it, and the analyst who reads what it publishes."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb

from storage.results import JobRow, Results, ShardRow
from storage.tables import CARRIED, OUTCOMES, REJECTS, REQUESTS, STRAYS, write_parquet

ROOT = Path(__file__).parents[2]
NIGHT = datetime(2026, 11, 20, 22, tzinfo=UTC)
COST, SYNC_COST = Decimal("0.000400000"), Decimal("0.000800000")
TABLES = ("jobs", "shards", "requests", "items", "attempts", "results", "rejects", "strays", "loaded")


def job_row(job_id: str, items: int = 0, day: int = 0, **changes: Any) -> JobRow:
    row = JobRow(
        job_id=job_id,
        created_at=NIGHT + timedelta(days=day),
        task="deal-intelligence",
        task_version="1",
        provider="openai",
        model="gpt-5-mini",
        endpoint="/v1/responses",
        source="deals.jsonl",
        input_sha256="0" * 64,
        lines=items,
        items=items,
        rejected=0,
        duplicates=0,
        reused=0,
        requests=items,
        estimated_cost_usd=Decimal("1.5"),
        ceiling_cost_usd=Decimal(2),
        state="running",
    )
    return replace(row, **changes)


def shard_row(job_id: str, shard_id: str, requests: int, **changes: Any) -> ShardRow:
    attempt = int(shard_id.split("-")[0])
    parent = None if attempt == 1 else f"{attempt - 1}-{shard_id.split('-')[1]}"
    row = ShardRow(job_id, shard_id, parent, attempt, requests, 1000, "sent", open=True)
    return replace(row, **changes)


def custom_id(job_id: str, shard_id: str, key: str) -> str:
    return f"{job_id}-{shard_id}-{key}"


def write_requests(path: Path, job_id: str, shard_id: str, keys: Sequence[str], **changes: list[Any]) -> Path:
    columns: dict[str, list[Any]] = {
        "request_key": list(keys),
        "custom_id": [custom_id(job_id, shard_id, key) for key in keys],
        "item_id": [f"deal {key}" for key in keys],
        "line": list(range(1, len(keys) + 1)),
        "estimated_input_tokens": [100] * len(keys),
        "summary": ['{"emails": 3}'] * len(keys),
    }
    write_parquet(path, REQUESTS, {**columns, **changes})
    return path


def write_outcomes(path: Path, job_id: str, shard_id: str, outcomes: Mapping[str, str], **changes: list[Any]) -> Path:
    count = len(outcomes)
    good = [outcome == "succeeded" for outcome in outcomes.values()]
    columns: dict[str, list[Any]] = {
        "custom_id": [custom_id(job_id, shard_id, key) for key in outcomes],
        "request_key": list(outcomes),
        "outcome": list(outcomes.values()),
        "code": [None if ok else "why" for ok in good],
        "message": [None if ok else f"what {shard_id} said" for ok in good],
        "answer": ['{"risk_level": "high"}' if ok else None for ok in good],
        "repaired": [False] * count,
        "input_tokens": [100] * count,
        "output_tokens": [10] * count,
        "cache_read_tokens": [20] * count,
        "cache_write_tokens": [0] * count,
        "cost_usd": [COST] * count,
        "sync_cost_usd": [SYNC_COST] * count,
        "raw_key": [f"jobs/{job_id}/raw/{shard_id}"] * count,
        "raw_line": list(range(1, count + 1)),
    }
    write_parquet(path, OUTCOMES, {**columns, **changes})
    return path


class Night:
    """What the pipeline does to its results store, with as few words as possible."""

    def __init__(self, folder: Path, results: Results | None = None) -> None:
        self.folder = folder
        self.results = results or Results(folder / "private.duckdb")

    def job(self, job_id: str, items: int, carried: Sequence[tuple[str, str, str]] = (), **changes: Any) -> None:
        """`carried` are (item id, request key, how)."""
        path = self.folder / f"{job_id}.carried.parquet"
        ids, keys, hows = (list(column) for column in zip(*carried, strict=True)) if carried else ([], [], [])
        columns = {"item_id": ids, "request_key": keys, "how": hows, "summary": ['{"emails": 3}'] * len(ids)}
        write_parquet(path, CARRIED, columns)
        self.results.add_job(job_row(job_id, items, **changes), path, None, f"jobs/{job_id}/plan.json")

    def shard(self, job_id: str, shard_id: str, keys: Sequence[str], **changes: list[Any]) -> None:
        path = self.folder / f"{job_id}.{shard_id}.items.parquet"
        write_requests(path, job_id, shard_id, keys, **changes)
        self.results.add_shard(shard_row(job_id, shard_id, len(keys)), path, f"jobs/{job_id}/{shard_id}.items")

    def merge(self, job_id: str, shard_id: str, outcomes: Mapping[str, str], **changes: list[Any]) -> None:
        path = self.folder / f"{job_id}.{shard_id}.outcomes.parquet"
        write_outcomes(path, job_id, shard_id, outcomes, **changes)
        self.results.add_outcomes(job_id, shard_id, f"jobs/{job_id}/outcomes/{shard_id}", path, None)

    def close_shard(self, job_id: str, shard_id: str, requests: int, **changes: Any) -> None:
        row = shard_row(job_id, shard_id, requests, state="settled", open=False, ended_at=NIGHT + timedelta(hours=3))
        self.results.set_shards([replace(row, **changes)])

    def settle(self, job_id: str, shard_id: str, outcomes: Mapping[str, str], **changes: list[Any]) -> None:
        """A whole shard at once: its requests, its outcomes, and nothing more to come."""
        self.shard(job_id, shard_id, list(outcomes))
        self.merge(job_id, shard_id, outcomes, **changes)
        self.close_shard(job_id, shard_id, len(outcomes))

    def publish(self) -> Path:
        target = self.folder / "results.duckdb"
        self.results.publish(target)
        return target

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        """What an analyst sees who opens the published file now."""
        return ask(self.publish(), query)

    def contents(self) -> dict[str, list[tuple[Any, ...]]]:
        with reader(self.publish()) as connection:
            return {table: connection.execute(f"SELECT * FROM {table} ORDER BY ALL").fetchall() for table in TABLES}


def ask(path: Path, query: str) -> list[tuple[Any, ...]]:
    with reader(path) as connection:
        return connection.execute(query).fetchall()


def reader(path: Path) -> duckdb.DuckDBPyConnection:
    return duckdb.connect(str(path), read_only=True, config={"threads": 1})


def write_rejects(path: Path, rows: Sequence[tuple[str, int, str | None, str, str]]) -> Path:
    write_parquet(path, REJECTS, dict(zip(REJECTS.names, map(list, zip(*rows, strict=True)), strict=True)))
    return path


def write_strays(path: Path, rows: Sequence[tuple[str | None, str, str, int]]) -> Path:
    write_parquet(path, STRAYS, dict(zip(STRAYS.names, map(list, zip(*rows, strict=True)), strict=True)))
    return path


def python(script: str, *arguments: str) -> subprocess.Popen[str]:
    """Another process that may import what the tests import; it talks over its standard input and output."""
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def answer_of(script: str, *arguments: str) -> str:
    """What another process prints; its error where it fails."""
    with python(script, *arguments) as process:
        out, error = process.communicate(timeout=60)
    return out.strip() or error.strip().splitlines()[-1]
