"""What a deal bundle may look like, and the order its story is told in."""

from typing import Any

import pytest
from pydantic import ValidationError

from batchjobs.deal_intelligence import Deal
from batchjobs.deal_intelligence.deal import story
from tests.tasks.deals import deal


def words(**fields: Any) -> list[str]:
    return [entry.words for entry in story(deal(**fields))]


def test_an_id_is_all_a_deal_needs() -> None:
    assert story(Deal.model_validate_json('{"deal_id": "D-1"}')) == []


def test_nulls_everywhere_are_a_deal_without_facts() -> None:
    empty = deal(**dict.fromkeys(set(Deal.model_fields) - {"deal_id"}))
    assert empty.product.name == ""
    assert empty.amount is None
    assert story(empty) == []


@pytest.mark.parametrize(
    "line",
    [
        "{}",
        '{"deal_id": null}',
        '{"deal_id": "D-1", "emails": "see attachment"}',
        '{"deal_id": "D-1", "notes": [7]}',
        '{"deal_id": "D-1", "amount": "about 20k"}',
        '{"deal_id": "D-1", "deal_name": ["a"]}',
        '["D-1"]',
        "not json",
        '{"deal_id": "D-1"',
    ],
)
def test_a_bundle_that_would_have_to_be_guessed_is_refused(line: str) -> None:
    with pytest.raises(ValidationError):
        Deal.model_validate_json(line)


def test_an_error_names_the_field_and_hides_the_content() -> None:
    with pytest.raises(ValidationError) as caught:
        deal(amount="canary")
    assert "amount" in str(caught.value)
    assert "canary" not in str(caught.value)


def test_unknown_fields_are_kept() -> None:
    assert deal(forecast="commit").model_extra == {"forecast": "commit"}
    assert deal(emails=[{"body": "hi", "thread": 7}]).emails[0].model_extra == {"thread": 7}


def test_a_product_or_an_account_may_be_just_a_name() -> None:
    named = deal(product="Harbour Planner", account="Quillfeather Foods")
    assert (named.product.name, named.account.name) == ("Harbour Planner", "Quillfeather Foods")


def test_a_bare_text_in_a_list_is_a_message() -> None:
    assert words(notes=["called, no answer", None, "", {}]) == ["called, no answer"]


@pytest.mark.parametrize("field", ["summary", "text", "body", "content", "notes", "transcript"])
def test_the_words_of_a_message_may_have_many_names(field: str) -> None:
    assert words(calls=[{field: " hello "}]) == ["hello"]


def test_several_texts_of_one_message_keep_their_names() -> None:
    assert words(calls=[{"transcript": "A: hi", "summary": "good"}]) == ["Summary:\ngood\n\nTranscript:\nA: hi"]


def test_a_message_that_says_nothing_is_left_out() -> None:
    assert words(emails=[{"from": "ada@x.example", "body": "  "}]) == []
    assert words(calls=[{"date": "2026-01-01", "duration": 10}]) == [""]


def test_the_story_is_told_from_the_oldest_to_the_newest() -> None:
    assert words(
        emails=[{"date": "2026-02-02", "body": "third"}, {"date": "1/5/2026", "body": "second"}],
        notes=[{"date": "2026-02-03T08:00:00Z", "text": "fifth"}, {"text": "first"}],
        calls=[{"date": "2026-02-03T09:00:00+02:00", "summary": "fourth"}],
    ) == ["first", "second", "third", "fourth", "fifth"]


def test_equal_dates_keep_their_order() -> None:
    same_day = [{"date": "2026-02-02", "body": letter} for letter in "cab"]
    assert words(emails=same_day) == ["c", "a", "b"]


def test_dates_at_the_edge_of_time_do_not_break_the_order() -> None:
    assert words(
        emails=[
            {"date": "9999-12-31T23:59:59-12:00", "body": "last"},
            {"date": "0001-01-01T00:00:00+14:00", "body": "1"},
        ]
    ) == ["1", "last"]


@pytest.mark.parametrize(
    ("stage", "is_open"),
    [
        ("Prospecting", True),
        ("", True),
        ("Won", False),
        ("closed-lost", False),
        ("Closed Won", False),
        ("Wonder", True),
    ],
)
def test_a_deal_is_open_until_it_is_won_or_lost(stage: str, is_open: bool) -> None:
    assert deal(stage=stage).is_open is is_open
