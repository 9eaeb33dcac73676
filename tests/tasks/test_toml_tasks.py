"""Tasks from a task.toml: what they render, and what is said when one is wrong."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from batchjobs.errors import UsageError
from batchjobs.task_files import fingerprint, load_task
from batchjobs.tasks import ItemTooLarge, Task

TOML = """
name = "summarise"
version = 1
id = "doc_id"
max_output_tokens = 500
temperature = 0.2

[models]
openai = "gpt-5.4-mini"

[prompt]
system = "You summarise."
user = "{{ title }}: {{ text }}"

[result.summary]
type = "string"
description = "One sentence."

[result.mood]
enum = ["calm", "angry"]
"""
LINE = {"doc_id": 7, "title": "Tea", "text": "Leaves and <water>."}


def task_of(folder: Path, toml: str = TOML) -> Task:
    (folder / "task.toml").write_text(toml, encoding="utf-8")
    return load_task("task.toml", folder)


def user_of(task: Task, **item: Any) -> str:
    return task.render(task.item.model_validate_json(json.dumps(item)), 10_000).prompt.user


def error_of(folder: Path, toml: str) -> str:
    with pytest.raises(UsageError) as caught:
        task_of(folder, toml)
    message = str(caught.value)
    assert message.startswith(str(folder))
    assert "\n" not in message
    return message.removeprefix(f"{folder}/task.toml: ")


def with_prompt(user: str) -> str:
    return TOML.replace('"{{ title }}: {{ text }}"', f"'''{user}'''")


def with_result(field: str) -> str:
    return f"{TOML}\n[result.field]\n{field}\n"


def test_a_task_toml_is_a_task(tmp_path: Path) -> None:
    task = task_of(tmp_path)
    item = task.item.model_validate_json(json.dumps(LINE))
    assert (task.name, task.version, task.item_id(item), task.id_column) == ("summarise", "1", "7", "doc_id")
    assert (task.max_output_tokens, task.temperature, task.models) == (500, 0.2, {"openai": "gpt-5.4-mini"})
    assert task.render(item, 10_000).prompt.system == "You summarise."
    assert task.render(item, 10_000).prompt.user == "Tea: Leaves and <water>."


def test_its_answers_are_checked(tmp_path: Path) -> None:
    result = task_of(tmp_path).result
    assert result.model_validate({"summary": "Good.", "mood": "Calm"}).model_dump() == {
        "summary": "Good.",
        "mood": "calm",
    }
    with pytest.raises(ValidationError):
        result.model_validate({"summary": "Good.", "mood": "bored"})


def test_a_prompt_that_just_fits_is_rendered_and_one_byte_more_is_too_large(tmp_path: Path) -> None:
    task = task_of(tmp_path, with_prompt("{{ text }}"))
    item = task.item.model_validate_json('{"doc_id": "a", "text": "é"}')
    room = len("You summarise.é".encode())
    assert task.render(item, room).prompt.user == "é"
    with pytest.raises(ItemTooLarge, match="17 bytes" if room == 17 else "bytes"):
        task.render(item, room - 1)


def test_prompts_may_be_kept_in_files(tmp_path: Path) -> None:
    (tmp_path / "system.md").write_text("Be brief.\n")
    (tmp_path / "user.j2").write_text("{% for word in words %}\n- {{ word }}\n{% endfor %}\n")
    prompts = 'system_file = "system.md"\nuser_file = "user.j2"\n'
    task = task_of(tmp_path, TOML.replace('system = "You summarise."\nuser = "{{ title }}: {{ text }}"\n', prompts))
    assert user_of(task, doc_id="a", words=["x", "y"]) == "- x\n- y"


def test_the_whole_item_can_be_shown_the_same_way_every_time(tmp_path: Path) -> None:
    task = task_of(
        tmp_path, with_prompt("{{ item['first-name'] }} {{ item.tags | tojson }} {{ item.missing is defined }}")
    )
    assert (
        user_of(task, **{"doc_id": "a", "first-name": "Bo", "tags": {"b": 1, "a": None}})
        == 'Bo {"a": null, "b": 1} False'
    )


def test_null_is_shown_as_nothing(tmp_path: Path) -> None:
    assert user_of(task_of(tmp_path), doc_id="a", title=None, text="b") == ": b"


def test_a_field_may_be_called_like_a_method_of_a_dict(tmp_path: Path) -> None:
    task = task_of(
        tmp_path, with_prompt("{% for one in order.items %}{{ one }}{% endfor %} {{ order.other.keys() | list }}")
    )
    assert user_of(task, doc_id="a", order={"items": [1, 2], "other": {"k": 0}}) == "12 ['k']"


def test_an_item_cannot_bring_template_code(tmp_path: Path) -> None:
    assert user_of(task_of(tmp_path), doc_id="a", title="{{ 7 * 7 }}", text="{% raw %}") == "{{ 7 * 7 }}: {% raw %}"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ({"title": "a", "text": "b"}, "doc_id"),
        ({"doc_id": "", "title": "a", "text": "b"}, "an id must be a text of 1 to 500 characters"),
        ({"doc_id": "a", "title": "canary"}, "the template needs text, which is absent"),
        ([], "object"),
    ],
)
def test_an_item_that_does_not_suit_is_refused_with_the_field(tmp_path: Path, line: Any, says: str) -> None:
    with pytest.raises(ValidationError) as caught:
        task_of(tmp_path).item.model_validate_json(json.dumps(line))
    assert says in str(caught.value)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    "user",
    [
        "{{ text | int + missing }}",
        "{{ text + 1 }}",
        "{{ number / 0 }}",
        "{{ text.__class__.__mro__ }}",
        "{{ item[text] }}",
        "{{ text.upper }}",
        "{{ item | map('upper') }}",
        "{{ text.upper.__globals__ }}",
    ],
)
def test_what_goes_wrong_in_a_template_never_shows_the_item(tmp_path: Path, user: str) -> None:
    task = task_of(tmp_path, with_prompt(user))
    with pytest.raises(ValidationError) as caught:
        task.item.model_validate_json('{"doc_id": "a", "text": "canary", "number": 1}')
    assert "the template" in str(caught.value)
    assert "canary" not in str(caught.value)


def test_declared_input_is_checked_and_the_rest_is_still_there(tmp_path: Path) -> None:
    fields = (
        'title = { type = "string" }',
        'words = { type = "integer", nullable = true }',
        'more = { type = "object" }',
    )
    declared = "\n".join(("\n[input]", *fields))
    task = task_of(tmp_path, with_prompt("{{ title }} {{ words }} {{ more.a }} {{ item.copy }}") + declared)
    assert user_of(task, doc_id="a", title=5, more={"a": [1]}, copy="c") == "5  [1] c"
    with pytest.raises(ValidationError, match="words"):
        user_of(task, doc_id="a", title="b", words="many", more={})


def test_a_template_must_use_declared_input_alone(tmp_path: Path) -> None:
    assert error_of(tmp_path, TOML + '\n[input.title]\ntype = "string"\n') == (
        "the template uses 'text', which [input] does not have: declare it there."
    )


def test_the_result_may_be_a_json_schema_file(tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 3}}, "required": ["n"]}
    (tmp_path / "answer.json").write_text(json.dumps(schema))
    result = task_of(tmp_path, f'result = "answer.json"\n{TOML.partition("[result")[0]}').result
    assert result.model_validate({"n": 3}).model_dump() == {"n": 3}
    with pytest.raises(ValidationError):
        result.model_validate({"n": 2})


def test_the_result_may_be_a_pydantic_model(tmp_path: Path) -> None:
    toml = f'result = "batchjobs.deal_intelligence:DealAssessment"\n{TOML.partition("[result")[0]}'
    assert task_of(tmp_path, toml).result.__name__ == "DealAssessment"


@pytest.mark.parametrize(
    ("toml", "says"),
    [
        ("name = ", "not valid TOML (Invalid value (at end of document)): correct it."),
        (TOML.replace('name = "summarise"', ""), "name is missing: add it."),
        (TOML.replace('name = "summarise"', 'name = "Sum Up"'), "name is wrong (String should match pattern"),
        (
            TOML.replace("temperature", "temprature"),
            "temprature is not a setting of a task: remove it or check the spelling.",
        ),
        (
            TOML.replace("500", "5"),
            "max_output_tokens is wrong (Input should be greater than or equal to 16): correct it.",
        ),
        (
            TOML.replace('system = "You summarise."', ""),
            "[prompt] needs either system or system_file: give exactly one of them.",
        ),
        (TOML.replace("[prompt]", '[prompt]\nuser_file = "a"'), "[prompt] needs either user or user_file"),
        (TOML.replace("You summarise.", " "), "prompt.system is empty: say what the model should do."),
        (with_prompt("{{ title"), "prompt.user: line 1 of the template is wrong ("),
        (with_prompt("{{ title | sing }}"), "prompt.user: line 1 of the template is wrong (No filter named 'sing'.)"),
        (
            with_prompt("{{ title | random }}"),
            "prompt.user: line 1 of the template is wrong (No filter named 'random'.)",
        ),
        (with_prompt("{% include 'a' %}"), "prompt.user: the template includes another one"),
        (TOML.partition("[result")[0], "result is missing: add it."),
        (TOML.partition("[result")[0] + "[result]\n", "result: the result must be an object"),
        (
            with_result('type = "text"'),
            "result: field type must be one of string, integer, number, boolean, null, array",
        ),
        (with_result('type = "array"'), 'result: field an array needs items, such as { type = "string" }.'),
        (with_result('type = "object"'), "result: field an object needs properties"),
        (with_result('type = "string"\nshape = 1'), "result: field cannot promise 'shape': remove it"),
        (f'result = "my.Model"\n{TOML.partition("[result")[0]}', "result: 'my.Model' is not of the form module:object"),
        (f'result = "json:dumps"\n{TOML.partition("[result")[0]}', "result: json:dumps is not a pydantic model"),
        (f"result = 7\n{TOML.partition('[result')[0]}", "result"),
        (
            TOML + "\n[input]\ntitle = 3\ntext = 3\n",
            'input.title: the schema must be a table such as { type = "string" }.',
        ),
    ],
)
def test_a_wrong_task_toml_is_answered_with_file_field_and_fix(tmp_path: Path, toml: str, says: str) -> None:
    assert error_of(tmp_path, toml).startswith(says)


def test_a_missing_prompt_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"absent\.md: cannot be read"):
        task_of(tmp_path, TOML.replace('system = "You summarise."', 'system_file = "absent.md"'))


def test_a_file_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    (tmp_path / "task.toml").write_bytes(b'name = "\xff"')
    with pytest.raises(UsageError, match="is not UTF-8: save it as UTF-8"):
        load_task("task.toml", tmp_path)


def test_the_fingerprint_covers_prompt_template_and_schema(tmp_path: Path) -> None:
    changes = [
        ("You summarise.", "You shorten."),
        ("{{ title }}:", "{{ title }} -"),
        ("One sentence.", "Two sentences."),
    ]
    prints = {fingerprint(task_of(tmp_path, TOML.replace(*change))) for change in [("", ""), *changes]}
    assert len(prints) == 4
    assert fingerprint(task_of(tmp_path)) in prints
