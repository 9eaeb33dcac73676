"""Deals in the making, for the tests of this folder."""

from typing import Any

from batchjobs.deal_intelligence import Deal, render
from batchjobs.tasks import Rendered

PLENTY = 1_000_000


def deal(**fields: Any) -> Deal:
    return Deal.model_validate({"deal_id": "D-1", **fields})


def emails(*bodies: str) -> list[dict[str, str]]:
    """One email a day, in order."""
    return [{"date": f"2026-03-{day:02}", "subject": f"no. {day}", "body": body} for day, body in enumerate(bodies, 1)]


def size(rendered: Rendered) -> int:
    return len((rendered.prompt.system + rendered.prompt.user).encode())


def prompt_of(room: int = PLENTY, **fields: Any) -> str:
    return render(deal(**fields), room).prompt.user
