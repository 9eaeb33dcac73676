"""What request lines of all providers keep to, and how hostile result lines are met (RELIABILITY E7)."""

import json
from typing import Any

import msgspec
import pytest

from providers import lines
from providers.contract import Outcome, Prompt, Revision, Undecodable
from tests.providers.kit import (
    CASES,
    FORMATS,
    SPEAKERS,
    answer_line,
    body,
    chat_choice,
    claude,
    converse,
    custom_id,
    each_format,
    format_of,
    message_line,
    openai_line,
    prompt,
    record_line,
    said,
    template,
)

pytestmark = pytest.mark.contract("hostile result lines are told")

CUSTOM_ID = "ab12cd34-1-00003-0123456789abcdef0123456789abcdef"


@pytest.mark.contract("deterministic lines")
@each_format
def test_equal_arguments_give_equal_bytes(case: tuple[str, str]) -> None:
    one = format_of(case).encode(template(case, extra={"a": {"x": 1, "y": 2}, "b": 3}), prompt())
    other = format_of(case).encode(template(case, extra={"b": 3, "a": {"y": 2, "x": 1}}), prompt())
    assert one == other


@pytest.mark.contract("deterministic lines")
@each_format
def test_one_encoder_serves_changing_templates(case: tuple[str, str]) -> None:
    shared = format_of(case)
    first, second = template(case), template(case, max_output_tokens=7)
    bodies = [shared.encode(t, prompt()) for t in (first, second, first)]
    assert bodies[0] == bodies[2] == format_of(case).encode(first, prompt())
    assert bodies[1] == format_of(case).encode(second, prompt())


@pytest.mark.contract("deterministic lines")
@each_format
@pytest.mark.parametrize(
    "text", ['quote " backslash \\', "line\nbreak \u2028 \u0085", "ümlaut 漢字 🎉", "\0prompt\0", ""]
)
def test_any_text_arrives_as_it_was(case: tuple[str, str], text: str) -> None:
    told = json.loads(format_of(case).encode(template(case), Prompt(text, text)))
    assert said(told) == ([text, text] if text else [text])


@pytest.mark.contract("deterministic lines")
@each_format
def test_a_line_gives_its_body_back(case: tuple[str, str]) -> None:
    shared = format_of(case)
    made = shared.encode(template(case), prompt('","body":{"params":'))
    line = shared.lines([CUSTOM_ID], [made])
    assert shared.body(line) == made
    assert custom_id(line) == CUSTOM_ID
    assert line.count(b"\n") == 1


@pytest.mark.contract("custom_id rules")
@each_format
@pytest.mark.parametrize("custom_id", ["", "x" * 65, "a b", 'a"b', "ä", "a\n", "a.b"])
def test_a_custom_id_outside_the_common_rule_is_refused(case: tuple[str, str], custom_id: str) -> None:
    """PROVIDERS §1.1, §2.1: 1 to 64 letters, digits, _ or -."""
    with pytest.raises(ValueError, match="custom_id"):
        format_of(case).lines([custom_id], [b"{}"])


@pytest.mark.contract("deterministic lines")
@each_format
def test_a_body_of_two_lines_is_refused(case: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="one line"):
        format_of(case).lines(["a"], [b"{\n}"])


@pytest.mark.contract("deterministic lines")
@each_format
@pytest.mark.parametrize("line", [b"", b"{}\n", b'{"custom_id":"a"}\n', b'{"recordId":"a"}\n'])
def test_a_foreign_line_has_no_body(case: tuple[str, str], line: bytes) -> None:
    with pytest.raises(ValueError, match="Not a request line"):
        format_of(case).body(line)


@pytest.mark.contract("deterministic lines")
@each_format
def test_extra_members_are_merged_and_keep_the_schema(case: tuple[str, str]) -> None:
    beside = {"chat": "response_format", "responses": "text", "converse": "outputConfig"}.get(case[1], "output_config")
    told = body(case, extra={"top_p": 0.5, beside: {"effort": "low"}})
    assert told["top_p"] == 0.5
    assert told[beside]["effort"] == "low"
    assert len(told[beside]) > 1


@pytest.mark.contract("deterministic lines")
@each_format
@pytest.mark.parametrize("name", ["model", "stream"])
def test_extra_members_may_not_replace_the_task(case: tuple[str, str], name: str) -> None:
    """PROVIDERS §1.1, §2.1: nor may they ask for a stream, which no batch gives."""
    with pytest.raises(ValueError, match=f"may not set {name}"):
        body(case, extra={name: True})


@pytest.mark.contract("deterministic lines")
@each_format
def test_without_a_schema_or_temperature_nothing_is_said_of_them(case: tuple[str, str]) -> None:
    told = body(case, schema=None, schema_name=None)
    assert not {"response_format", "text", "output_config", "outputConfig", "temperature"} & set(told)
    assert told.get("inferenceConfig", {}).keys() <= {"maxTokens"}


@pytest.mark.contract("deterministic lines")
@each_format
def test_a_temperature_is_sent_as_a_number_with_a_point(case: tuple[str, str]) -> None:
    assert b'"temperature":0.0' in format_of(case).encode(template(case, temperature=0), prompt())


@pytest.mark.contract("deterministic lines")
@each_format
def test_an_empty_system_text_is_left_out(case: tuple[str, str]) -> None:
    told = json.loads(format_of(case).encode(template(case), prompt(system="")))
    assert not {"system", "instructions"} & set(told)
    assert len(told.get("messages") or told["input"]) == 1


@pytest.mark.contract("deterministic lines")
@each_format
def test_text_that_is_not_unicode_is_refused(case: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="surrogates"):
        format_of(case).encode(template(case), prompt("\ud800"))


@pytest.mark.contract("retries change what they say")
@each_format
def test_a_revision_raises_the_limit_and_nothing_else(case: tuple[str, str]) -> None:
    shared = format_of(case)
    old = shared.encode(template(case, max_output_tokens=500), prompt())
    assert shared.revise(old, Revision(max_output_tokens=900)) == old.replace(b":500", b":900")


@pytest.mark.contract("retries change what they say")
@each_format
def test_feedback_is_the_last_thing_the_user_says(case: tuple[str, str]) -> None:
    shared = format_of(case)
    old = shared.encode(template(case), prompt())
    new = json.loads(shared.revise(old, Revision(feedback='score: "ten" is no number')))
    turns = "input" if case[1] == "responses" else "messages"
    assert new[turns][-1]["role"] == "user"
    assert said(new) == [*said(json.loads(old)), 'score: "ten" is no number']
    assert {**new, turns: 0} == {**json.loads(old), turns: 0}


@pytest.mark.contract("retries change what they say")
@each_format
def test_a_revision_of_nothing_changes_nothing(case: tuple[str, str]) -> None:
    old = format_of(case).encode(template(case, temperature=0.5), prompt("漢字"))
    assert format_of(case).revise(old, Revision()) == old


@pytest.mark.contract("deterministic lines")
@each_format
def test_an_encoded_prompt_costs_little_more_than_its_text(case: tuple[str, str]) -> None:
    """The static part of a request is written once: a thousand requests hold the same bytes around their prompts."""
    shared, same = format_of(case), template(case)
    first, second = (shared.encode(same, prompt(user)) for user in ("one", "two"))
    assert first.replace(b'"one"', b'"two"') == second


def good_lines() -> list[Any]:
    lines = [openai_line(**chat_choice()), answer_line(), message_line()]
    lines += [record_line(claude()), record_line(converse()), *[openai_line(**chat_choice())] * len(SPEAKERS)]
    return [pytest.param(case, line, id="-".join(case)) for case, line in zip(FORMATS, lines, strict=True)]


each_line = pytest.mark.parametrize(("case", "line"), good_lines())


@each_line
def test_an_ordinary_line_is_read(case: tuple[str, str], line: bytes) -> None:
    reply = format_of(case).decode(line)
    assert (reply.custom_id, reply.outcome) == ("a-1", Outcome.succeeded)


@each_line
@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_the_end_of_a_line_does_not_matter(case: tuple[str, str], line: bytes, end: bytes) -> None:
    assert format_of(case).decode(line + end).outcome is Outcome.succeeded


@each_line
def test_unknown_members_do_not_matter(case: tuple[str, str], line: bytes) -> None:
    new = b'{"surprise":{"a":[1,2]},' + line[1:]
    assert format_of(case).decode(new) == format_of(case).decode(line)


@each_line
@pytest.mark.parametrize(
    "wreck",
    [
        lambda _: b"",
        lambda _: b"null",
        lambda _: b"[]",
        lambda line: line[:-5],
        lambda line: line + b"x",
        lambda line: line + line,
        lambda line: b'{"deep":' + b"[" * 100_000 + b"]" * 100_000 + b"," + line[1:],
        lambda line: line.replace(b'"a-1"', b"9" * 5_000),
        lambda line: line.replace(b'"a-1"', b"NaN"),
        lambda line: b'{"odd":NaN,' + line[1:],
        lambda line: line.replace(b'"a-1"', b"null"),
        lambda line: line.replace(b'"a-1"', b'"\\ud800"'),
        lambda line: line.replace(b'"a-1"', b'"\xff"'),
        lambda line: line.replace(b'"a-1"', b'{"id":"a-1"}'),
        lambda line: line.replace(b'"custom_id"', b'"other_id"').replace(b'"recordId"', b'"other_id"'),
        lambda line: line[:-1] + b',"custom_id":"b-2","recordId":"b-2"}',
        lambda line: line + b" " * 17_000_000,
    ],
)
def test_a_hostile_line_is_undecodable_and_nothing_worse(case: tuple[str, str], line: bytes, wreck: Any) -> None:
    with pytest.raises(Undecodable):
        format_of(case).decode(wreck(line))


@each_line
def test_an_undecodable_line_is_not_repeated_in_the_error(case: tuple[str, str], line: bytes) -> None:
    with pytest.raises(Undecodable) as caught:
        format_of(case).decode(line.replace(b'"a-1"', b'"secret \\ud800"'))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("case", "line"),
    [
        (CASES[0], openai_line(**chat_choice("it's \u2028 \u0085 here"))),
        (CASES[2], message_line(text="it's \u2028 \u0085 here")),
    ],
    ids=["openai", "anthropic"],
)
def test_unusual_line_ends_inside_a_text_are_text(case: tuple[str, str], line: bytes) -> None:
    assert format_of(case).decode(line).text == "it's \u2028 \u0085 here"


@pytest.mark.parametrize(
    ("case", "line"),
    [(CASES[0], openai_line(**chat_choice("bad \ud800 text"))), (CASES[2], message_line(text="bad \ud800 text"))],
    ids=["openai", "anthropic"],
)
def test_a_text_with_a_lone_surrogate_is_undecodable(case: tuple[str, str], line: bytes) -> None:
    """It could be neither encoded nor stored (RELIABILITY E7)."""
    with pytest.raises(Undecodable):
        format_of(case).decode(line)


@each_line
def test_quoted_member_names_inside_the_text_are_no_twins(case: tuple[str, str], line: bytes) -> None:
    text = json.dumps('{"custom_id": 1, "custom_id": 2, "result": 3, "recordId": 4}').encode()
    new = line.replace(b'"yes"', text).replace(b'"{\\"mood\\":\\"good\\"}"', text)
    assert format_of(case).decode(new).text.count("custom_id") == 2


@each_line
def test_a_member_named_like_ours_deeper_down_is_no_twin(case: tuple[str, str], line: bytes) -> None:
    new = b'{"echo":{"custom_id":"other","recordId":"other"},' + line[1:]
    assert format_of(case).decode(new).custom_id == "a-1"


NAMED = msgspec.json.Decoder(lines.Named)


@pytest.mark.parametrize(
    "block",
    [
        b'{"custom_id":"a"}{"custom_id":"b"}\n',
        b'{"custom_id":"a","x":"\xff\xfe"}\n',
        b'{"custom_id":"a",\n"x":1}\n',
        b'{"custom_id":"a","x":',
    ],
)
def test_a_line_that_cannot_be_read_is_nobodys_whatever_stands_beside_it(block: bytes):
    assert lines.read_lines(NAMED, block) == []
    good = b'{"custom_id":"c"}\n'
    assert [one.custom_id for one in lines.read_lines(NAMED, good + block)] == ["c"]
    assert [one.custom_id for one in lines.read_lines(NAMED, good * 3)] == ["c"] * 3
