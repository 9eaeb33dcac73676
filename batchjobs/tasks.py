"""What a task is: what to ask of each item, and what a good answer looks like."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel

from providers.contract import Prompt


class ItemTooLarge(Exception):
    """The item cannot be rendered into the room it was given."""


@dataclass(frozen=True, slots=True)
class SummaryField:
    """One column of the content summary: its type, and what it says to the person who reads the results."""

    type: Literal["text", "integer", "number", "boolean", "date"]
    description: str


@dataclass(frozen=True, slots=True)
class Rendered:
    """One item as the model will read it, and what people want to know about its content later."""

    prompt: Prompt
    summary: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Task:
    """A prompt, an input model, a result schema and defaults.

    `render(item, room_bytes)` is pure: it returns a prompt of at most `room_bytes` UTF-8 bytes or raises ItemTooLarge.
    `version` must change whenever the prompt or the meaning of the result does: it is part of every request key.
    `prompt_text` is the task's wording (system prompt, template), which the fingerprint covers.
    A `result` of `batchjobs.answers.Embedding` or `embedding_of(512)` asks for the vector of the rendered user prompt:
    there is no system prompt then, and neither output limit nor temperature.
    `views` are SQL SELECT statements over `<view>` (the typed view of this task's answers), published beside it.
    """

    name: str
    version: str
    item: type[BaseModel]
    result: type[BaseModel]
    item_id: Callable[[Any], str]
    render: Callable[[Any, int], Rendered]
    max_output_tokens: int = 2048
    temperature: float | None = None
    id_column: str = "item_id"  # what the typed view calls the item's id
    summary_fields: Mapping[str, SummaryField] = field(default_factory=dict)
    views: Mapping[str, str] = field(default_factory=dict)
    models: Mapping[str, str] = field(default_factory=dict)  # provider -> default model
    prompt_text: str = ""
