"""The shortest useful task, for measuring what a request costs us and not the model."""

from pydantic import BaseModel

from batchjobs.tasks import Rendered, Task
from providers.contract import Prompt


class Note(BaseModel):
    """One short text."""

    id: str
    text: str


class Label(BaseModel):
    """One word about it."""

    label: str


def note_id(note: Note) -> str:
    """The note's own id."""
    return note.id


def render(note: Note, _room_bytes: int) -> Rendered:
    """The text as it is."""
    return Rendered(Prompt("Label it.", note.text))


TASK = Task(
    name="short",
    version="1",
    item=Note,
    result=Label,
    item_id=note_id,
    render=render,
    max_output_tokens=50,
    models={"openai": "gpt-4.1-mini", "anthropic": "claude-haiku-4-5"},
    prompt_text="Label it.",
)
