"""The result of a task that asks for vectors: what fits it, and how a task.toml says so."""

from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from batchjobs.answers import Embedding, embedding_of
from batchjobs.errors import UsageError
from batchjobs.task_files import fingerprint, load_task
from batchjobs.tasks import Task
from batchjobs.views import load_view, view_of
from providers.contract import Prompt

TOML = """
name = "passages"
version = 1
result = "embedding"
dimensions = 3
[prompt]
user = "{{ text }}"
"""


def task_of(folder: Path, toml: str = TOML) -> Task:
    (folder / "task.toml").write_text(toml)
    return load_task("task.toml", folder)


@pytest.mark.parametrize("vector", ["[0.5,-1,1e-9]", "[0,0,0]", "[0.1,0.2,3.4e38]"])
def test_a_vector_of_the_length_asked_for_fits(vector: str):
    assert len(embedding_of(3).model_validate_json(f'{{"embedding":{vector}}}').embedding) == 3


@pytest.mark.parametrize(
    "vector",
    [
        *("[1,2]", "[1,2,3,4]", "[]", "null", '"AACAPw=="', '[1,2,"3"]', "[1,2,null]", "[1,2,true]", "[1,2,1e999]"),
        *("[1,2,1e39]", "[1,2,NaN]", "[1,2,-Infinity]", "[[1,2,3],[1,2,3]]"),
    ],
)
@pytest.mark.parametrize("result", [embedding_of(3), Embedding], ids=["of three", "of any length"])
def test_whatever_else_does_not(vector: str, result: type[BaseModel]):
    if result is Embedding and vector in ("[1,2]", "[1,2,3,4]"):
        vector = "[]"
    with pytest.raises(ValidationError):
        result.model_validate_json(f'{{"embedding":{vector}}}')


def test_a_toml_task_embeds_its_user_prompt(tmp_path: Path):
    task = task_of(tmp_path)
    item = task.item.model_validate({"id": "a", "text": "tea"})
    assert task.render(item, 1_000).prompt == Prompt("", "tea")
    assert issubclass(task.result, Embedding)
    assert task.result.dimensions == 3


def test_the_view_has_a_list_of_floats(tmp_path: Path):
    [column] = load_view(view_of(task_of(tmp_path))).columns
    assert (column.name, column.sql_type) == ("embedding", "FLOAT[]")


def test_another_length_is_another_task(tmp_path: Path):
    lengths = ["dimensions = 3", "dimensions = 4", ""]
    assert len({fingerprint(task_of(tmp_path, TOML.replace("dimensions = 3", length))) for length in lengths}) == 3


def test_an_item_without_text_does_not_fit(tmp_path: Path):
    with pytest.raises(ValidationError, match="makes no text"):
        task_of(tmp_path).item.model_validate({"id": "a", "text": " \n"})


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("[prompt]", "temperature = 1\n[prompt]", "temperature means nothing to an embedding"),
        ("[prompt]", '[prompt]\nsystem = "Be brief."', "prompt.system means nothing to an embedding"),
        ('result = "embedding"', "result = {mood = {type = 'string'}}", "dimensions are those of an embedding"),
        ("= 3", "= 0", "dimensions is wrong"),
    ],
)
def test_what_suits_no_embedding_is_named(tmp_path: Path, old: str, new: str, told: str):
    with pytest.raises(UsageError, match=told):
        task_of(tmp_path, TOML.replace(old, new))
