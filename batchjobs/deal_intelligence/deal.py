"""What a deal bundle looks like: CRM facts and correspondence, read as tolerantly as CRMs are kept."""

import math
from datetime import datetime
from typing import Annotated, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from batchjobs.fields import Day, Entries, ItemId, Number, People, Text, When

_CLOSED = ("won", "lost")
_TEXT_PARTS = ("summary", "text", "body", "content", "notes", "transcript")


class _Record(BaseModel):
    """Unknown fields are kept but never asked about: a nightly export stamp must not buy a deal again."""

    model_config = ConfigDict(extra="allow", hide_input_in_errors=True, populate_by_name=True)


class Message(_Record):
    """One email, note, call, meeting or document; whichever fields its kind has."""

    date: When = None
    subject: Text = ""
    title: Text = ""
    sender: People = Field("", alias="from")
    to: People = ""
    cc: People = ""
    participants: People = ""
    duration: Text = ""
    summary: Text = ""
    text: Text = ""
    body: Text = ""
    content: Text = ""
    notes: Text = ""
    transcript: Text = ""

    def words(self) -> str:
        """What was said: the one text there is, or each under its name."""
        parts = [(name, text) for name in _TEXT_PARTS if (text := getattr(self, name).strip())]
        if len(parts) < 2:
            return parts[0][1] if parts else ""
        return "\n\n".join(f"{name.capitalize()}:\n{text}" for name, text in parts)


def _named(value: object) -> object:
    if value is None:
        return {}
    return {"name": value} if isinstance(value, str) else value


class Product(_Record):
    """What is being sold."""

    name: Text = ""
    series: Text = ""
    list_price: Number = None


class Account(_Record):
    """Who is buying."""

    name: Text = ""
    sector: Text = ""
    revenue_musd: Number = None
    employees: Number = None
    country: Text = ""
    parent: Text = ""


Messages = Annotated[list[Message], Entries]


class Deal(_Record):
    """One sales opportunity with everything written about it. Only `deal_id` is required."""

    deal_id: ItemId
    deal_name: Text = ""
    stage: Text = ""
    owner: Text = ""
    manager: Text = ""
    region: Text = ""
    product: Annotated[Product, BeforeValidator(_named)] = Product()
    account: Annotated[Account, BeforeValidator(_named)] = Account()
    engaged_on: Day = None
    closed_on: Day = None
    amount: Number = None
    currency: Text = ""
    emails: Messages = []
    notes: Messages = []
    calls: Messages = []
    meetings: Messages = []
    documents: Messages = []

    @property
    def is_open(self) -> bool:
        """Whether the stage says neither won nor lost."""
        return not any(word in _CLOSED for word in self.stage.lower().replace("-", " ").split())


class Entry(NamedTuple):
    """One message in its place in the story; `words` is its text, `when` None if its date is unknown."""

    kind: str
    message: Message
    words: str
    when: datetime | None


def story(deal: Deal) -> list[Entry]:
    """All correspondence, oldest first: undated pieces lead, equal dates keep the order they came in."""
    entries = [entry for kind, messages in _kinds(deal) for message in messages if (entry := _entry(kind, message))]
    return sorted(entries, key=_instant)


def _kinds(deal: Deal) -> tuple[tuple[str, list[Message]], ...]:
    return (
        ("document", deal.documents),
        ("email", deal.emails),
        ("call", deal.calls),
        ("meeting", deal.meetings),
        ("note", deal.notes),
    )


def _entry(kind: str, message: Message) -> Entry | None:
    words, when = message.words(), message.date
    if not words and not (message.subject or message.title or when):
        return None
    return Entry(kind, message, words, when if isinstance(when, datetime) else None)


def _instant(entry: Entry) -> float:
    """Seconds on one scale for dates with and without a zone; plain arithmetic, so that year 1 cannot overflow."""
    when = entry.when
    if when is None:
        return -math.inf
    seconds = when.toordinal() * 86_400 + when.hour * 3_600 + when.minute * 60 + when.second + when.microsecond / 1e6
    offset = when.utcoffset() if when.tzinfo else None
    return seconds - offset.total_seconds() if offset else seconds
