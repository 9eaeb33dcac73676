"""Which answers about a deal are accepted."""

from typing import Any

import jsonschema
import pytest
from pydantic import ValidationError

from batchjobs.deal_intelligence import DealAssessment

GOOD: dict[str, Any] = {
    "pain_points_identified": ["Two pickers quit a month"],
    "buying_signals": [],
    "objections_raised": ["Too expensive"],
    "competitors_mentioned": ["Stackweasel"],
    "decision_maker_engaged": True,
    "champion_strength": "strong",
    "engagement_quality": "high",
    "qualification_gaps": ["Who signs above 100,000?"],
    "qualification_score": 68,
    "risk_evidence": ["2026-03-04: asks for 20% off"],
    "risk_signals": ["price", "single_threaded"],
    "risk_level": "medium",
    "close_probability": 55,
    "days_to_close_estimate": 30,
    "confidence_level": "medium",
    "deal_health_summary": "On course.",
    "recommended_next_action": "Call Ada on Monday.",
    "recommended_intervention": None,
}


def read(**changes: Any) -> DealAssessment:
    return DealAssessment.model_validate({**GOOD, **changes})


def test_a_good_answer_round_trips_and_fits_its_own_schema() -> None:
    answer = read()
    assert answer.model_dump(mode="json") == GOOD
    assert DealAssessment.model_validate_json(answer.model_dump_json()) == answer
    jsonschema.validate(answer.model_dump(mode="json"), DealAssessment.model_json_schema())


def test_every_field_is_asked_for_and_explained() -> None:
    schema = DealAssessment.model_json_schema()
    assert schema["required"] == list(schema["properties"]) == list(GOOD)
    assert schema["additionalProperties"] is False
    assert all(len(field["description"]) > 40 for field in schema["properties"].values())


def test_every_kind_of_risk_is_explained_to_the_model() -> None:
    from batchjobs.deal_intelligence import TASK

    kinds = DealAssessment.model_json_schema()["properties"]["risk_signals"]["items"]["enum"]
    assert [kind for kind in kinds if f"- `{kind}`: " not in TASK.prompt_text] == []


@pytest.mark.parametrize(
    ("field", "written", "read_as"),
    [
        ("risk_level", "High", "high"),
        ("risk_level", " critical ", "critical"),
        ("risk_signals", ["Single-threaded", "single threaded", "GONE_SILENT"], ["single_threaded", "gone_silent"]),
        ("risk_signals", None, []),
        ("close_probability", "40", 40),
        ("close_probability", "40 %", 40),
        ("close_probability", 40.0, 40),
        ("decision_maker_engaged", "false", False),
        ("competitors_mentioned", "Stackweasel", ["Stackweasel"]),
        ("competitors_mentioned", ["Stackweasel", "", "Stackweasel"], ["Stackweasel"]),
        ("days_to_close_estimate", None, None),
        ("days_to_close_estimate", "30", 30),
    ],
)
def test_an_answer_that_can_only_mean_one_thing_is_accepted(field: str, written: Any, read_as: Any) -> None:
    assert getattr(read(**{field: written}), field) == read_as


@pytest.mark.parametrize(
    ("field", "written"),
    [
        ("risk_level", "severe"),
        ("risk_signals", ["vibes"]),
        ("close_probability", 101),
        ("close_probability", -1),
        ("close_probability", 0.5),
        ("close_probability", None),
        ("days_to_close_estimate", -5),
        ("days_to_close_estimate", "soon"),
        ("buying_signals", [1]),
        ("deal_health_summary", None),
    ],
)
def test_an_answer_that_would_have_to_be_guessed_is_refused(field: str, written: Any) -> None:
    with pytest.raises(ValidationError):
        read(**{field: written})


def test_a_missing_field_is_refused_unless_it_may_be_null() -> None:
    for field in GOOD:
        rest = {name: value for name, value in GOOD.items() if name != field}
        if field in ("days_to_close_estimate", "recommended_intervention"):
            assert getattr(DealAssessment.model_validate(rest), field) is None
        else:
            with pytest.raises(ValidationError):
                DealAssessment.model_validate(rest)


def test_a_field_nobody_asked_for_does_not_spoil_a_paid_answer() -> None:
    assert read(reasoning="because") == read()
