"""The typed view of a task: one row per item with an answer, whatever the model wrote."""

import json
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from storage.views import ViewColumn, ViewSpec, columns_of
from tests.results.kit import COST, NIGHT, Night


class Risk(StrEnum):
    """How bad it is."""

    low = "low"
    high = "high"


class Signal(BaseModel):
    name: str
    weight: float


class Answer(BaseModel):
    risk_level: Risk
    status: Literal["open", "won"] | None = None
    score: int = Field(description="From 0 to 100; it's a guess.")
    chance: float | None = None
    urgent: bool = False
    close_on: date | None = None
    tags: list[str] = []
    levels: list[Risk] | None = None
    signals: list[Signal] = []
    main_signal: Signal | None = None
    anything: dict[str, Any] = {}
    either: int | str = 0
    bounded: Annotated[int, Field(ge=0)] | None = None


SUMMARY = (ViewColumn("emails", "BIGINT", "How many emails.", "summary"),)
SPEC = ViewSpec(
    "deal_intelligence",
    "deal-intelligence",
    "deal_id",
    SUMMARY + columns_of(Answer.model_json_schema()),
    {"at_risk": "-- Deals at risk.\n-- half: Half the score.\nSELECT deal_id, score, score / 2 AS half, 1 AS one\n"
     "FROM deal_intelligence WHERE risk_level = 'high'"},
)  # fmt: skip
GOOD = {"risk_level": "high", "score": 80, "chance": 0.5, "urgent": True, "close_on": "2026-12-24", "tags": ["a", "b"]}


def answered(night: Night, *answers: Any, job: str = "j1", keys: str = "abcdefgh", day: int = 0) -> Night:
    """A job with one item per answer; None is an item without one."""
    outcomes = {key: "refused" if answer is None else "succeeded" for key, answer in zip(keys, answers, strict=False)}
    texts = [None if answer is None else json.dumps(answer) for answer in answers]
    night.results.define_task_view(SPEC)
    night.job(job, len(answers), day=day)
    night.settle(job, "1-00001", outcomes, answer=texts)
    return night


def test_a_schema_becomes_typed_columns() -> None:
    assert {column.name: column.sql_type for column in columns_of(Answer.model_json_schema())} == {
        "risk_level": "VARCHAR",
        "status": "VARCHAR",
        "score": "BIGINT",
        "chance": "DOUBLE",
        "urgent": "BOOLEAN",
        "close_on": "DATE",
        "tags": "VARCHAR[]",
        "levels": "VARCHAR[]",
        "signals": "JSON",
        "main_signal": "JSON",
        "anything": "JSON",
        "either": "JSON",
        "bounded": "BIGINT",
    }


def test_a_column_says_what_the_schema_says_of_it() -> None:
    said = {column.name: column.description for column in columns_of(Answer.model_json_schema())}
    assert (said["score"], said["risk_level"]) == ("From 0 to 100; it's a guess.", "How bad it is.")
    assert all(said.values())


@pytest.mark.parametrize(
    "schema",
    [{"$ref": "#/$defs/loop"}, {"$ref": "#/$defs/nowhere"}, {}, {"type": ["string", "integer"]}, {"enum": [1, "a"]}],
)
def test_what_has_no_simple_type_is_json(schema: dict[str, Any]) -> None:
    whole = {"properties": {"field": schema}, "$defs": {"loop": {"$ref": "#/$defs/loop"}}}
    assert [column.sql_type for column in columns_of(whole)] == ["JSON"]


def test_the_row_of_an_answered_deal(night: Night) -> None:
    answered(night, GOOD)
    columns = "deal_id, job_id, emails, risk_level, score, chance, urgent, close_on, tags, status, signals"
    assert night.ask(f"SELECT {columns} FROM deal_intelligence") == [
        ("deal a", "j1", 3, "high", 80, 0.5, True, date(2026, 12, 24), ["a", "b"], None, None)
    ]
    ended = NIGHT.replace(tzinfo=None, day=21, hour=1)
    about = "SELECT model, attempt, cost_usd, answered_at, answered_by FROM deal_intelligence"
    assert night.ask(about) == [("gpt-5-mini", 1, COST, ended, "j1")]


def test_an_item_without_an_answer_has_no_row(night: Night) -> None:
    assert answered(night, GOOD, None).ask("SELECT deal_id FROM deal_intelligence") == [("deal a",)]


def test_the_newest_job_with_an_answer_gives_the_row(night: Night) -> None:
    answered(night, GOOD)
    night.job("j0", 1, [("deal a", "z", "shared")], day=1)
    night.settle("j0", "1-00001", {"z": "succeeded"}, answer=['{"score": 1}'])
    night.job("j2", 1, [("deal a", "unanswered", "shared")], day=2)
    assert night.ask("SELECT deal_id, job_id, score FROM deal_intelligence WHERE deal_id = 'deal a'") == [
        ("deal a", "j0", 1)
    ]


def test_a_reused_answer_names_the_job_that_bought_it(night: Night) -> None:
    answered(night, GOOD)
    night.job("j2", 1, [("deal a", "a", "reused")], day=1)
    assert night.ask("SELECT deal_id, job_id, answered_by FROM deal_intelligence") == [("deal a", "j2", "j1")]


def test_the_items_of_another_task_are_not_shown(night: Night) -> None:
    night.job("other", 1, task="other-task")
    night.settle("other", "1-00001", {"x": "succeeded"})
    assert answered(night, GOOD).ask("SELECT deal_id FROM deal_intelligence") == [("deal a",)]


UNFIT = [
    {"score": "many", "chance": [1], "urgent": "perhaps", "close_on": "2026-02-30", "tags": "a", "levels": {"a": 1}},
    {"score": 10**30, "chance": {"a": 1}, "urgent": [], "close_on": 5, "tags": 7, "levels": True},
    {"score": None, "chance": None, "urgent": None, "close_on": None, "tags": None, "levels": None},
    {"score": {}},
    {},
    [],
    "text",
    7,
]


def test_what_does_not_fit_is_null_and_harms_no_other_row(night: Night) -> None:
    answered(night, GOOD, *UNFIT, keys="abcdefghi")
    columns = "score, chance, urgent, close_on, tags, levels, signals, main_signal"
    good, *unfit = night.ask(f"SELECT {columns} FROM deal_intelligence ORDER BY deal_id")
    assert good == (80, 0.5, True, date(2026, 12, 24), ["a", "b"], None, None, None)
    assert unfit == [(None,) * 8] * len(UNFIT)


HOSTILE = [
    "'); DROP TABLE results; --",
    "=cmd|' /C calc'!A0",
    "\u2028\u2029\u0085",
    "a\x00b",
    "$1 {} %s ${x}",
    "🦆" * 99,
    "",
]


def test_hostile_text_comes_out_as_it_went_in(night: Night) -> None:
    night.results.define_task_view(SPEC)
    night.job("j1", len(HOSTILE))
    keys = "abcdefg"[: len(HOSTILE)]
    night.shard("j1", "1-00001", keys, item_id=HOSTILE)
    answers = [json.dumps({"risk_level": text, "tags": [text], "anything": {text: text}}) for text in HOSTILE]
    night.merge("j1", "1-00001", dict.fromkeys(keys, "succeeded"), answer=answers, message=HOSTILE)
    found = night.ask("SELECT deal_id, risk_level, tags, anything FROM deal_intelligence")
    assert sorted((deal, risk, tags, json.loads(anything)) for deal, risk, tags, anything in found) == sorted(
        (text, text, [text], {text: text}) for text in HOSTILE
    )
    assert night.ask("SELECT message FROM attempts ORDER BY 1") == [(text,) for text in sorted(HOSTILE)]


def test_views_over_the_typed_view_come_with_it_and_are_documented(night: Night) -> None:
    answered(night, GOOD, {**GOOD, "risk_level": "low"})
    assert night.ask("FROM at_risk") == [("deal a", 80, Decimal(40), 1)]
    assert night.ask("SELECT comment FROM duckdb_views() WHERE view_name = 'at_risk'") == [("Deals at risk.",)]
    assert dict(night.ask("SELECT column_name, comment FROM duckdb_columns() WHERE table_name = 'at_risk'")) == {
        "deal_id": "The item's own id, as in the input.",
        "score": "From 0 to 100; it's a guess.",
        "half": "Half the score.",
        "one": "Computed by at_risk.",
    }


def test_every_column_of_the_typed_view_is_documented(night: Night) -> None:
    answered(night, GOOD)
    comments = night.ask("SELECT comment FROM duckdb_columns() WHERE table_name = 'deal_intelligence'")
    assert len(comments) == 1 + len(SPEC.columns) + 6
    assert all(comment for (comment,) in comments)


def test_a_task_without_columns_has_a_view_too(night: Night) -> None:
    night.results.define_task_view(ViewSpec("bare", "deal-intelligence", "item_id", ()))
    night.job("j1", 1)
    night.settle("j1", "1-00001", {"a": "succeeded"})
    assert night.ask("SELECT item_id, attempt FROM bare") == [("deal a", 1)]


def test_a_column_whose_name_is_taken_says_where_it_comes_from(night: Night) -> None:
    columns = [ViewColumn("model", "VARCHAR", "", "answer"), ViewColumn("note", "VARCHAR", "", "answer")]
    columns.append(ViewColumn("Note", "VARCHAR", "", "summary"))
    night.results.define_task_view(ViewSpec("notes", "deal-intelligence", "item_id", tuple(columns)))
    found = night.ask("SELECT column_name FROM duckdb_columns() WHERE table_name = 'notes' ORDER BY column_index")
    assert [name for (name,) in found[:5]] == ["item_id", "job_id", "summary_Note", "answer_model", "note"]


def spec(**changes: Any) -> ViewSpec:
    given = {"name": "fine", "task": "t", "id_column": "id", "columns": (), **changes}
    return ViewSpec(**given)


@pytest.mark.parametrize(
    "refused",
    [
        spec(name="results"),
        spec(name="dead_letters"),
        spec(name='x"; DROP TABLE jobs; --'),
        spec(id_column="deal id"),
        spec(columns=(ViewColumn("a b", "VARCHAR", "", "answer"),)),
        spec(columns=(ViewColumn("a", "VARCHAR); DROP TABLE jobs", "", "answer"),)),
        spec(columns=(ViewColumn("A", "VARCHAR", "", "answer"), ViewColumn("a", "VARCHAR", "", "answer"))),
        spec(extra={"broken": "SELEC 1"}),
        spec(extra={"blind": "SELECT no_such_column FROM fine"}),
        spec(extra={"jobs": "SELECT 1 AS one"}),
    ],
)
def test_names_and_views_that_cannot_be_are_refused_whole(night: Night, refused: ViewSpec) -> None:
    before = night.ask("SELECT view_name, sql FROM duckdb_views() ORDER BY ALL")
    with pytest.raises(ValueError, match=r"view|column"):
        night.results.define_task_view(refused)
    assert night.ask("SELECT view_name, sql FROM duckdb_views() ORDER BY ALL") == before


def test_a_newer_definition_replaces_the_older(night: Night) -> None:
    answered(night, GOOD)
    night.results.define_task_view(ViewSpec("deal_intelligence", "deal-intelligence", "deal", SUMMARY))
    assert night.ask("SELECT deal, emails FROM deal_intelligence") == [("deal a", 3)]
