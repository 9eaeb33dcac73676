"""A task as an ML engineer writes it: three fields, one schema, one prompt. Nothing in it knows of deals."""

from dataclasses import replace

from pydantic import BaseModel, Field

from batchjobs.answers import embedding_of
from batchjobs.tasks import ItemTooLarge, Rendered, SummaryField, Task
from providers.contract import Prompt


class Document(BaseModel):
    doc_id: str
    text: str


class Label(BaseModel):
    label: str = Field(description="one word")
    score: int = Field(ge=0, le=100, description="0-100")


def render(document: Document, room_bytes: int) -> Rendered:
    if len(document.text.encode()) > room_bytes:
        raise ItemTooLarge(f"{len(document.text.encode())} bytes of text")
    return Rendered(Prompt("Label the document.", document.text), {"characters": len(document.text)})


TASK = Task(
    name="label",
    version="1",
    item=Document,
    result=Label,
    item_id=lambda document: document.doc_id,
    render=render,
    max_output_tokens=100,
    id_column="doc_id",
    summary_fields={"characters": SummaryField("integer", "length of the text")},
    models={"openai": "gpt-4.1-mini", "anthropic": "claude-haiku-4-5"},
    prompt_text="Label the document.",
)
PASSAGES = replace(
    TASK,
    name="passages",
    result=embedding_of(16),
    render=lambda document, room_bytes: replace(render(document, room_bytes), prompt=Prompt("", document.text)),
    models={"openai": "text-embedding-3-small"},
    prompt_text="",
)
