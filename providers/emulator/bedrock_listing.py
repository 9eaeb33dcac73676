"""ListModelInvocationJobs: filters, order and pages (PROVIDERS §3.1)."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from providers.emulator.bedrock_errors import invalid

Document = dict[str, Any]
_PAGE = 100  # where the call names no maxResults
_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
_STATUSES = {
    "Submitted",
    "Validating",
    "Scheduled",
    "InProgress",
    "Completed",
    "PartiallyCompleted",
    "Failed",
    "Stopping",
    "Stopped",
    "Expired",
}


def page_of(query: Mapping[str, str], documents: list[Document]) -> tuple[list[Document], str]:
    """The summaries asked for, of documents that come oldest first; and the next page's token, "" when it is the last.

    The newest come first unless `sortOrder` says otherwise.
    """
    _check(query)
    after, before = _time(query, "submitTimeAfter", _FIRST), _time(query, "submitTimeBefore", _LAST)
    rows = [one for one in documents if _wanted(query, one) and after < _submitted(one) < before]
    if query.get("sortOrder", "Descending") == "Descending":
        rows.reverse()
    start = _start(query.get("nextToken", ""), rows)
    size = _size(query.get("maxResults", str(_PAGE)))
    page = rows[start : start + size]
    more = start + size < len(rows)
    return page, urlsafe_b64encode(page[-1]["jobArn"].encode()).decode() if more else ""


def _check(query: Mapping[str, str]) -> None:
    if query.get("sortBy", "CreationTime") != "CreationTime":
        raise invalid("sortBy: Member must satisfy enum value set: [CreationTime]")
    if query.get("sortOrder", "Descending") not in {"Ascending", "Descending"}:
        raise invalid("sortOrder: Member must satisfy enum value set: [Ascending, Descending]")
    if query.get("statusEquals", "Submitted") not in _STATUSES:
        raise invalid(f"statusEquals: Member must satisfy enum value set: {sorted(_STATUSES)}")


def _wanted(query: Mapping[str, str], document: Document) -> bool:
    status = document["status"]
    return query.get("nameContains", "") in document["jobName"] and query.get("statusEquals", status) == status


def _submitted(document: Document) -> datetime:
    return datetime.fromisoformat(document["submitTime"])


def _time(query: Mapping[str, str], name: str, usual: datetime) -> datetime:
    try:
        moment = datetime.fromisoformat(query[name]) if name in query else usual
    except ValueError:
        raise invalid(f"{name}: not an ISO 8601 time") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _size(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 1_000:
        raise invalid("maxResults: Member must be from 1 to 1000")
    return int(text)


def _start(token: str, rows: list[Document]) -> int:
    if not token:
        return 0
    try:
        last = urlsafe_b64decode(token).decode()
    except (Error, UnicodeDecodeError):
        raise invalid("nextToken: not a token of this listing") from None
    arns = [one["jobArn"] for one in rows]
    if last not in arns:
        raise invalid("nextToken: not a token of this listing")
    return arns.index(last) + 1
