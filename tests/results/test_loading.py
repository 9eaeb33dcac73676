"""Loading: whole or not at all, once however often it is repeated, in whatever order the objects come."""

import sys
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storage.contract import Conflict, Damaged, Missing
from storage.results import Results
from tests.results.kit import (
    Night,
    custom_id,
    job_row,
    shard_row,
    write_outcomes,
    write_rejects,
    write_requests,
    write_strays,
)


def test_a_settled_shard_brings_attempts_and_answers(night: Night) -> None:
    night.job("j1", 2)
    night.settle("j1", "1-00001", {"a": "succeeded", "b": "refused"})
    assert night.ask("SELECT request_key, attempt, outcome, code FROM attempts ORDER BY 1") == [
        ("a", 1, "succeeded", None),
        ("b", 1, "refused", "why"),
    ]
    assert night.ask("SELECT request_key, job_id, shard_id, attempt, model, answer, cost_usd FROM results") == [
        ("a", "j1", "1-00001", 1, "gpt-5-mini", '{"risk_level": "high"}', Decimal("0.000400000"))
    ]


def test_everything_can_be_loaded_again(night: Night) -> None:
    def load() -> None:
        night.job("j1", 3, [("shared deal", "a", "shared")])
        night.settle("j1", "1-00001", {"a": "succeeded", "b": "errored"})
        night.settle("j1", "2-00001", {"b": "succeeded"})

    load()
    once = night.contents()
    load()
    assert night.contents() == once
    assert night.results.violations() == []


def test_loaded_answers_for_every_object(night: Night) -> None:
    keys = ["jobs/j1/plan.json", "jobs/j1/1-00001.items", "jobs/j1/outcomes/1-00001"]
    assert [night.results.loaded(key) for key in keys] == [False, False, False]
    night.job("j1", 1)
    night.settle("j1", "1-00001", {"a": "succeeded"})
    assert [night.results.loaded(key) for key in keys] == [True, True, True]


def test_a_retry_shard_has_requests_but_no_items(night: Night) -> None:
    night.job("j1", 1)
    night.settle("j1", "1-00001", {"a": "errored"})
    night.settle("j1", "2-00001", {"a": "succeeded"})
    assert night.ask("SELECT count(*) FROM requests") == [(2,)]
    assert night.ask("SELECT item_id, how FROM items") == [("deal a", "new")]


def test_rejects_and_strays_are_kept(night: Night) -> None:
    rejects = write_rejects(night.folder / "rejects", [("in.jsonl", 7, None, "invalid_json", "line 7\u2028is = bad")])
    night.results.add_job(job_row("j1", 1), None, rejects)
    night.shard("j1", "1-00001", ["a"])
    outcomes = write_outcomes(night.folder / "outcomes", "j1", "1-00001", {"a": "succeeded"})
    strays = write_strays(night.folder / "strays", [("x", "stranger", "raw", 3), (None, "undecodable", "raw", 4)])
    night.results.add_outcomes("j1", "1-00001", "key", outcomes, strays)
    assert night.ask("SELECT line, reason, detail FROM rejects") == [(7, "invalid_json", "line 7\u2028is = bad")]
    assert night.ask("SELECT custom_id, kind, raw_line FROM strays ORDER BY raw_line") == [
        ("x", "stranger", 3),
        (None, "undecodable", 4),
    ]


def test_a_job_and_its_shards_take_their_new_states(night: Night) -> None:
    night.job("j1", 1)
    night.shard("j1", "1-00001", ["a"])
    night.results.add_job(job_row("j1", 1, state="done"), None, None)
    night.results.add_shard(shard_row("j1", "1-00001", 1, state="ended", batch_id="b"), Path("never read"))
    assert night.ask("SELECT jobs.state, shards.state, batch_id FROM jobs JOIN shards USING (job_id)") == [
        ("done", "ended", "b")
    ]


def test_states_of_many_shards_are_set_at_once(night: Night) -> None:
    night.job("j1", 2)
    night.shard("j1", "1-00001", ["a"])
    night.shard("j1", "1-00002", ["b"])
    rows = [shard_row("j1", f"1-0000{n}", 1, state="settled", open=False, cost_usd=Decimal(n)) for n in (1, 2, 3)]
    night.results.set_shards(rows)
    assert night.ask('SELECT shard_id, state, "open", cost_usd FROM shards ORDER BY 1') == [
        ("1-00001", "settled", False, Decimal(1)),
        ("1-00002", "settled", False, Decimal(2)),
    ]


def test_times_are_kept_in_utc(night: Night) -> None:
    row = job_row("j1", 1)
    eastern = datetime.fromisoformat("2026-11-20T23:30:00-05:00")
    night.results.add_job(replace(row, created_at=eastern), None, None)
    assert night.ask("SELECT CAST(created_at AS VARCHAR) FROM jobs") == [("2026-11-21 04:30:00",)]


IDS = [custom_id("j1", "1-00001", name) for name in "ab"]
FAILED, DONE = dict.fromkeys("ab", "errored"), dict.fromkeys("ab", "succeeded")
SPOILED: dict[str, tuple[dict[str, str], dict[str, list[Any]]]] = {
    "a stranger": (dict.fromkeys("abc", "errored"), {}),
    "one missing": ({"a": "succeeded"}, {}),
    "none at all": ({}, {}),
    "a twin": (FAILED, {"custom_id": [IDS[0], IDS[0]]}),
    "a twin besides": (dict.fromkeys("abc", "errored"), {"custom_id": [*IDS, IDS[0]], "request_key": ["a", "b", "a"]}),
    "keys exchanged": (FAILED, {"request_key": ["b", "a"]}),
    "success without an answer": (DONE, {"answer": ["{}", None]}),
    "an answer of a failure": (FAILED, {"answer": ["{}", None]}),
    "an answer that is no JSON": (DONE, {"answer": ["{}", "{secret"]}),
}


@pytest.mark.parametrize("how", SPOILED)
def test_outcomes_that_do_not_fit_the_requests_leave_nothing_behind(night: Night, how: str) -> None:
    outcomes, changes = SPOILED[how]
    night.job("j1", 2)
    night.shard("j1", "1-00001", ["a", "b"])
    before = night.contents()
    with pytest.raises(Damaged) as caught:
        night.merge("j1", "1-00001", outcomes, **changes)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert night.contents() == before
    night.merge("j1", "1-00001", {"a": "succeeded", "b": "succeeded"})


def test_a_shard_waits_for_its_job(night: Night) -> None:
    with pytest.raises(Missing, match="job j1 is not loaded"):
        night.shard("j1", "1-00001", ["a"])


def test_outcomes_wait_for_their_requests(night: Night) -> None:
    night.job("j1", 1)
    with pytest.raises(Missing, match=r"j1/1-00001"):
        night.merge("j1", "1-00001", {"a": "succeeded"})


def test_a_shard_has_outcomes_from_one_object_only(night: Night) -> None:
    night.job("j1", 1)
    night.settle("j1", "1-00001", {"a": "succeeded"})
    other = write_outcomes(night.folder / "other", "j1", "1-00001", {"a": "refused"})
    with pytest.raises(Conflict, match="jobs/j1/outcomes/1-00001"):
        night.results.add_outcomes("j1", "1-00001", "another key", other, None)


@pytest.mark.parametrize("columns", [{"request_key": ["a", "b"]}, {"custom_id": ["x", "x", "y"]}])
def test_a_shard_of_another_size_is_refused(night: Night, columns: dict[str, list[str]]) -> None:
    keys = columns.get("request_key", ["a", "b", "c"])
    path = write_requests(night.folder / "requests", "j1", "1-00001", keys, **columns)
    night.job("j1", 3)
    with pytest.raises(Damaged, match="instead of 3"):
        night.results.add_shard(shard_row("j1", "1-00001", 3), path)
    assert night.ask("SELECT (SELECT count(*) FROM shards), (SELECT count(*) FROM items)") == [(0, 0)]


@pytest.mark.parametrize("content", [b"", b"not a table " * 100])
def test_a_file_that_is_no_parquet_is_named(night: Night, content: bytes) -> None:
    path = night.folder / "requests"
    path.write_bytes(content)
    night.job("j1", 1)
    with pytest.raises(Damaged, match=r"j1/1-00001"):
        night.results.add_shard(shard_row("j1", "1-00001", 1), path)


def test_a_file_without_the_columns_is_named(night: Night) -> None:
    path = night.folder / "requests"
    pq.write_table(pa.table({"custom_id": ["a"]}), path)
    night.job("j1", 1)
    with pytest.raises(Damaged, match=r"j1/1-00001"):
        night.results.add_shard(shard_row("j1", "1-00001", 1), path)


def test_signs_in_a_folder_s_name_are_no_pattern(night: Night) -> None:
    folder = night.folder / "it's [all] *really?* {a,b} day=1"
    folder.mkdir()
    path = write_requests(folder / "é.parquet", "j1", "1-00001", ["a"])
    night.job("j1", 1)
    night.results.add_shard(shard_row("j1", "1-00001", 1), path)
    assert night.ask("SELECT item_id FROM items") == [("deal a",)]


def test_which_of_two_answers_is_accepted_does_not_depend_on_the_order(tmp_path: Path) -> None:
    contents = []
    for name, order in (("forward", ["j1", "j2"]), ("backward", ["j2", "j1"])):
        (tmp_path / name).mkdir()
        with Results(tmp_path / name / "private.duckdb") as results:
            night = Night(tmp_path / name, results)
            for job in order:
                night.job(job, 2)
                night.settle(job, "1-00001", {"a": "succeeded", job: "succeeded"}, answer=[f'"{job}"', "1"])
            contents.append(night.contents())
    assert contents[0] == contents[1]
    assert [row[1] for row in contents[0]["results"] if row[0] == "a"] == ["j1"]


def calls(night: Night, job: str, count: int) -> int:
    """How many Python calls a merge of so many rows takes."""
    keys = [f"{job}-{number}" for number in range(count)]
    night.job(job, count)
    night.shard(job, "1-00001", keys)
    outcomes = write_outcomes(night.folder / job, job, "1-00001", dict.fromkeys(keys, "succeeded"))
    seen = 0

    def note(*_: object) -> None:
        nonlocal seen
        seen += 1

    sys.setprofile(note)
    try:
        night.results.add_outcomes(job, "1-00001", job, outcomes, None)
    finally:
        sys.setprofile(None)
    return seen


def test_merging_fifty_thousand_rows_takes_no_python_per_row(night: Night) -> None:
    assert calls(night, "large", 50_000) <= calls(night, "small", 5) + 10
    assert night.ask("SELECT count(*) FROM results") == [(50_005,)]


def test_a_shard_larger_than_the_cache_is_merged_and_compared(tmp_path: Path) -> None:
    """Memory depends on the size of a shard, and only on that."""
    answers = [f'{{"risk_level": "{number:01500}"}}' for number in range(20_000)]
    with Results(tmp_path / "private.duckdb", memory_mb=20) as results:
        night = Night(tmp_path, results)
        night.job("j1", 20_000)
        night.settle("j1", "1-00001", {f"{number:064}": "succeeded" for number in range(20_000)}, answer=answers)
        path = tmp_path / "j1.1-00001.outcomes.parquet"
        assert results.differing("answers", path, "j1", "1-00001")[0] == 0
