"""What the deal views show, over a table shaped like the typed view of the answers."""

import re
from collections.abc import Iterator
from typing import Any

import duckdb
import pytest

from batchjobs.deal_intelligence import TASK

SUMMARY_TYPES = {"text": "VARCHAR", "integer": "BIGINT", "number": "DOUBLE", "boolean": "BOOLEAN", "date": "DATE"}
ANSWER_TYPES = {"string": "VARCHAR", "integer": "BIGINT", "boolean": "BOOLEAN", "array": "VARCHAR[]"}


def columns() -> dict[str, str]:
    """Every column of the typed view, and its type."""
    summary = {name: SUMMARY_TYPES[field.type] for name, field in TASK.summary_fields.items()}
    properties = TASK.result.model_json_schema()["properties"]
    answer = {name: ANSWER_TYPES[_kind(schema)] for name, schema in properties.items()}
    return {TASK.id_column: "VARCHAR", **summary, **answer}


def _kind(schema: dict[str, Any]) -> str:
    return str(schema["type"] if "type" in schema else schema["anyOf"][0]["type"])


@pytest.fixture
def answers() -> Iterator[duckdb.DuckDBPyConnection]:
    """An in-memory database with an empty table of answers and the views over it."""
    with duckdb.connect(":memory:") as connection:
        shape = ", ".join(f"{name} {kind}" for name, kind in columns().items())
        connection.execute(f"CREATE TABLE deal_intelligence ({shape})")
        for name, select in TASK.views.items():
            connection.execute(f"CREATE VIEW {name} AS {select}")
        yield connection


def add(connection: duckdb.DuckDBPyConnection, deal_id: str, **values: Any) -> None:
    row = {"deal_id": deal_id, "is_open": True, "risk_level": "low", "risk_signals": [], **values}
    marks = ", ".join("?" for _ in row)
    connection.execute(f"INSERT INTO deal_intelligence ({', '.join(row)}) VALUES ({marks})", list(row.values()))


def rows(connection: duckdb.DuckDBPyConnection, select: str) -> list[tuple[Any, ...]]:
    return connection.execute(select).fetchall()


def test_no_answers_no_rows(answers: duckdb.DuckDBPyConnection) -> None:
    assert [rows(answers, f"SELECT * FROM {name}") for name in TASK.views] == [[], [], []]


@pytest.mark.parametrize("name", TASK.views)
def test_every_column_a_view_adds_is_documented(answers: duckdb.DuckDBPyConnection, name: str) -> None:
    shown = [row[0] for row in rows(answers, f"DESCRIBE {name}")]
    about, *documented = re.findall(r"^-- (.+)$", TASK.views[name], re.MULTILINE)
    added = [column for column in shown if column not in columns()]
    assert [line.partition(": ")[0] for line in documented] == added
    assert len(about) > 40


def test_deals_at_risk_are_open_and_the_worst_come_first(answers: duckdb.DuckDBPyConnection) -> None:
    add(answers, "calm", risk_level="medium", amount=9e9)
    add(answers, "lost", risk_level="critical", is_open=False)
    add(answers, "small", risk_level="high", amount=5)
    add(answers, "unpriced", risk_level="high")
    add(answers, "large", risk_level="high", list_price=50, amount=0)
    add(answers, "burning", risk_level="critical", amount=1)
    found = rows(answers, "SELECT deal_id, deal_value FROM deals_at_risk")
    assert found == [("burning", 1.0), ("large", 50.0), ("small", 5.0), ("unpriced", None)]


def test_a_deal_at_risk_says_how_long_it_has_been_quiet(answers: duckdb.DuckDBPyConnection) -> None:
    today = rows(answers, "SELECT current_date - 12")[0][0]
    add(answers, "quiet", risk_level="high", last_contact_on=today)
    add(answers, "never", risk_level="high")
    assert rows(answers, "SELECT days_since_contact FROM deals_at_risk ORDER BY deal_id") == [(None,), (12,)]


def test_priority_is_value_times_chance_times_urgency(answers: duckdb.DuckDBPyConnection) -> None:
    add(answers, "safe", amount=1000, close_probability=80, risk_level="low")
    add(answers, "wobbly", amount=1000, close_probability=50, risk_level="high")
    add(answers, "unpriced", close_probability=50, risk_level="critical")
    add(answers, "tiny", list_price=10, close_probability=90, risk_level="critical")
    add(answers, "won", amount=1e6, close_probability=100, is_open=False)
    found = rows(answers, "SELECT priority, deal_id, priority_score FROM deal_priorities")
    assert found == [(1, "wobbly", 1500.0), (2, "safe", 800.0), (3, "tiny", 36.0), (4, "unpriced", None)]


def test_clusters_are_deals_that_share_one_signal_or_two(answers: duckdb.DuckDBPyConnection) -> None:
    add(answers, "a", risk_signals=["budget", "price", "other"], amount=10, close_probability=40)
    add(answers, "b", risk_signals=["price", "budget", "price"], list_price=30, close_probability=60)
    add(answers, "c", risk_signals=["price", "competitor", "other"], amount=500, is_open=False, close_probability=0)
    found = rows(
        answers, "SELECT signals, deals, open_deals, open_value, average_close_probability, deal_ids FROM deal_clusters"
    )
    assert found == [
        (["price"], 3, 2, 40.0, 50.0, ["b", "a", "c"]),
        (["budget"], 2, 2, 40.0, 50.0, ["b", "a"]),
        (["budget", "price"], 2, 2, 40.0, 50.0, ["b", "a"]),
    ]


def test_clusters_of_closed_deals_have_no_open_value(answers: duckdb.DuckDBPyConnection) -> None:
    add(answers, "a", risk_signals=["price"], amount=10, is_open=False)
    add(answers, "b", risk_signals=["price"], amount=20, is_open=False)
    found = rows(answers, "SELECT open_value, average_close_probability, deal_ids FROM deal_clusters")
    assert found == [(0.0, None, ["b", "a"])]
