"""Answers that are not plain JSON: what can only mean one object is read, counted, and proved; nothing is made up."""

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import BaseModel, Json

from batchjobs.collect import mend_job
from batchjobs.judge import COLUMNS, Judge
from batchjobs.repair import DEPTH_MAX, LENGTH_MAX, repaired
from batchjobs.report import job_document, job_table
from batchjobs.verify import verify
from providers import load_format
from providers.contract import Outcome, Reply
from providers.emulator import Rates
from tests.core.test_rebuild import contents, rebuilt
from tests.damage.kit import outcomes_of, truncate
from tests.small_task import Label
from tests.world import World, documents

MakeWorld = Callable[..., World]
RED = {"label": "red", "score": 5}
PLAIN = json.dumps(RED)
MEANT = {
    "fenced": f"```json\n{PLAIN}\n```",
    "fenced in one line": f"```{PLAIN}```",
    "fence left open": f"```json\n{PLAIN}",
    "in prose": f"Here is the label:\n\n{PLAIN}\n\nLet me know!",
    "trailing comma": '{"label": "red", "score": 5,}',
    "single quotes": "{'label': 'red', 'score': 5}",
    "names without quotes": '{label: "red", score: 5}',
    "comments": '{"label": "red", // as asked\n "score": 5 /* sure */}',
    "byte order mark": f"\ufeff{PLAIN}",
    "all at once": "Sure!\n```\n{label: 'red', 'score': 5,}\n```\n",
}
NOT_MEANT = {
    "nothing": "",
    "words": "red, I think",
    "cut off text": '{"label": "re',
    "cut off text before a brace": '{"label": "red}',
    "cut off object": '{"label": "red", "score": 5',
    "cut off number": '{"label": "red", "score": ',
    "cut off second try": PLAIN + ', {"label": "re',
    "cut off list": f"[{PLAIN}",
    "cut off around a whole one": f'{{"answer": {PLAIN}',
    "missing value": '{"label": "red", "score": }',
    "missing quote": '{"label": "red, "score": 5}',
    "ellipsis": '{"label": "red", "score": 5, ...}',
    "two objects": f"{PLAIN} or {PLAIN}",
    "list": f"[{PLAIN}]",
    "text in a text": json.dumps(PLAIN),
    "unescaped backslash": r"{'label': 'C:\dir', 'score': 5}",
    "line continuation": "{'label': 'a\\\nb', 'score': 5}",
    "not a number": "{'label': 'red', 'score': NaN}",
    "infinity": "{'label': 'red', 'score': -Infinity}",
    "beyond every number": "{'label': 'red', 'score': 1e999}",
    "words for a value": '{"label": red, "score": 5}',
}
HOSTILE = {
    "open braces": '{"a":' * 100_000 + "}",
    "nested lists": '{"a":' + "[" * 100_000 + "]" * 100_000 + ",}",
    "nested objects": "{a:" * (DEPTH_MAX + 1) + "1" + "}" * (DEPTH_MAX + 1),
    "5,000 digits": "{'a':" + "9" * 5_000 + "}",
    "hexadecimal": "{'a':0x" + "f" * 100_000 + "}",
    "garbage": "{" + "x" * 900_000 + "}",
    "quotes": "{'" * 400_000 + "}",
    "comment without end": "{/*" + "/" * 900_000 + "}",
    "too long": "{" + " " * LENGTH_MAX + "a:1}",
}


def judged(text: str, result: type[BaseModel] = Label) -> SimpleNamespace:
    row = Judge(load_format("openai"), result).row(Reply("c", Outcome.succeeded, text), 1)
    return SimpleNamespace(**dict(zip(COLUMNS, row, strict=True)))


@pytest.mark.parametrize("name", MEANT)
def test_an_answer_that_can_only_mean_one_object_is_read(name: str):
    decided = judged(MEANT[name])
    assert (json.loads(decided.answer or ""), decided.repaired) == (RED, True)


def test_a_line_break_inside_a_text_is_kept():
    assert json.loads(repaired('{"label": "red\nor\tnot", "score": 5}') or "") == RED | {"label": "red\nor\tnot"}


@pytest.mark.parametrize("text", [PLAIN, f" {PLAIN}\n", json.dumps(RED, indent=2)])
def test_plain_json_is_no_repair(text: str):
    decided = judged(text)
    assert (decided.outcome, decided.repaired) == (Outcome.succeeded, False)


def test_a_repaired_answer_that_does_not_fit_is_invalid_and_told_why():
    decided = judged("{'label': 'red', 'score': 500}")
    assert (decided.outcome, decided.repaired, decided.answer) == (Outcome.invalid, False, None)
    assert decided.message.startswith("score: ")


def test_half_a_character_is_invalid():
    assert judged('{"label": "\\ud800", "score": 5}').outcome == Outcome.invalid


@pytest.mark.parametrize("name", NOT_MEANT)
def test_nothing_is_completed_or_guessed(name: str):
    assert repaired(NOT_MEANT[name]) is None


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_answer_is_left_alone(name: str):
    assert repaired(HOSTILE[name]) is None


def test_every_beginning_of_an_answer_stays_what_it_is():
    whole = "```json\n{'label': 'red {1} [2]', score: 5, 'more': {\"a\": [1, 2,],},}\n```"
    cut = [whole[:end] for end in range(whole.rindex("}"))]
    assert [text for text in cut if repaired(text) is not None] == []


class Wrapped(BaseModel):
    inner: Json[Any]


def test_a_text_inside_an_answer_that_should_be_json_is_not_repaired():
    decided = judged(json.dumps({"inner": "{'a': 1}"}), Wrapped)
    assert (decided.outcome, decided.repaired) == (Outcome.invalid, False)


def answers(*texts: str) -> Callable[[str], str]:
    """Document n gets the n-th text, later ones a plain answer."""

    def say(prompt: str) -> str:
        number = int(prompt.partition("number ")[2].split()[0])
        return texts[number] if number < len(texts) else PLAIN

    return say


def test_repaired_answers_are_counted_told_and_proved(make_world: MakeWorld, provider: str):
    say = answers(
        MEANT["fenced"], MEANT["single quotes"], '{"label": "red", "score": 500,}', NOT_MEANT["missing quote"]
    )
    world = make_world(provider, answer=say)
    job = world.run(world.write(documents(6)), max_attempts=1)
    assert (job.succeeded, job.failed) == (4, 2)
    document = job_document(job)
    assert (document["repaired"], [shard["repaired"] for shard in document["shard_list"]]) == (2, [2])
    assert world.sql("SELECT repaired FROM job_progress") == [(2,)]
    assert world.sql("SELECT outcome, count(*) FROM attempts WHERE repaired GROUP BY ALL") == [("succeeded", 2)]
    assert verify(world.desk()).violations == []


def test_repaired_rows_are_the_same_after_a_rebuild(make_world: MakeWorld):
    world = make_world("openai", answer=answers(MEANT["fenced"], MEANT["comments"]))
    world.run(world.write(documents(3)))
    live = contents(world)
    assert rebuilt(world) == live


def test_a_truncated_answer_is_not_repaired(make_world: MakeWorld, provider: str):
    world = make_world(provider, answer=lambda _: MEANT["fenced"], rates=Rates(truncated=1.0))
    job = world.run(world.write(documents(3)), max_attempts=1)
    assert (job.succeeded, job_document(job)["outcomes"], job_document(job)["repaired"]) == (0, {"truncated": 3}, 0)


def words_of(table: Any) -> str:
    return " ".join(str(cell) for column in table.columns for cell in column.cells)


def test_the_table_speaks_of_repairs_only_where_there_were_some(make_world: MakeWorld):
    world = make_world("openai", answer=answers(MEANT["fenced"]))
    job = world.run(world.write(documents(2)))
    assert "1 answers were no plain JSON" in words_of(job_table(job))
    other = world.run(world.write(documents(4)))
    assert "no plain JSON" not in words_of(job_table(other))


def test_outcomes_with_repaired_answers_can_be_made_again(make_world: MakeWorld):
    world = make_world("openai", answer=answers(MEANT["fenced"]))
    job = world.run(world.write(documents(2)))
    truncate(outcomes_of(world, job))
    assert mend_job(world.desk(), world.job(job.id)) == []
    assert world.job(job.id).shards[0].repaired == 1
    assert verify(world.desk()).violations == []
