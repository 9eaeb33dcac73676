"""Field types for input models: they read what CRMs really export, and refuse what they would have to guess."""

import math
import re
from collections.abc import Iterable
from datetime import date, datetime
from email.utils import parsedate_to_datetime
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainValidator
from pydantic_core import PydanticCustomError

ID_LENGTH_MAX = 500
LINE_LENGTH_MAX = 500

_NOTHING = frozenset({"", "-", "--", "n/a", "na", "nan", "none", "null", "tbd", "unknown"})
_NUMBER = re.compile(
    r"(?:[A-Za-z]{3}|[$€£¥])?\s*([+-]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:[eE][+-]?\d{1,3})?)\s*(?:[A-Za-z]{3}|[$€£¥])?"
)
_US_DATE = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4}|\d{2})(?:[,\s]+(\d{1,2}):(\d{2})(?::\d{2})?\s*([AaPp][Mm])?)?")


def one_line(value: str) -> str:
    """The text without line breaks or runs of blanks, at most LINE_LENGTH_MAX characters long."""
    line = " ".join(value[: 4 * LINE_LENGTH_MAX].split())
    return line if len(line) <= LINE_LENGTH_MAX else line[: LINE_LENGTH_MAX - 1] + "…"


def moment(value: str) -> datetime:
    """A date as written: ISO 8601, month/day/year (two-digit years as in POSIX), or an email header's.

    Raises ValueError; its text never holds the value.
    """
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        pass
    if match := _US_DATE.fullmatch(value):
        return _us_moment(*match.groups())
    try:
        return parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        raise ValueError("not a date") from None


def _us_moment(month: str, day: str, year: str, hour: str | None, minute: str | None, half: str | None) -> datetime:
    years = int(year)
    if len(year) == 2:
        years += 2000 if years < 69 else 1900
    hours = int(hour or 0)
    if half:
        hours = hours % 12 + (12 if half.lower() == "pm" else 0)
    return datetime(years, int(month), int(day), hours, int(minute or 0))  # noqa: DTZ001 - as written, without a zone


def _text(value: object) -> object:
    """Null becomes empty, a number its digits, and a lone surrogate, which nothing can store, a question mark."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, str) and not value.isascii():
        return value.encode("utf-8", "replace").decode()
    return value


def _item_id(value: object) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # a spreadsheet's way to write a whole number
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    text = value.strip() if isinstance(value, str) else ""
    if not 0 < len(text) <= ID_LENGTH_MAX or text.encode("utf-8", "replace").decode() != text:
        raise PydanticCustomError("item_id", "an id must be a text of 1 to {most} characters", {"most": ID_LENGTH_MAX})
    return text


def _number(value: object) -> float | None:
    number = _as_float(value)
    if number is None or math.isnan(number):
        return None
    if math.isinf(number):
        raise PydanticCustomError("number", "must be a finite number")
    return number


def _as_float(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, str):
        return _parsed_number(value.strip())
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise PydanticCustomError("number", "must be a number")
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _parsed_number(text: str) -> float | None:
    if text.lower() in _NOTHING:
        return None
    match = _NUMBER.fullmatch(text) if len(text) <= 40 else None
    if match is None:
        raise PydanticCustomError("number", "must be a number such as 1234.50 or 1,234.50")
    return float(match[1].replace(",", ""))


def _day(value: object) -> date | None:
    if isinstance(value, datetime):
        return value.date()
    if value is None or isinstance(value, date):
        return value
    text = value.strip() if isinstance(value, str) else "?"
    if text.lower() in _NOTHING:
        return None
    try:
        return moment(text).date()
    except ValueError:
        raise PydanticCustomError("day", "must be a date such as 2026-04-22 or 4/22/2026") from None


def _when(value: object) -> datetime | str | None:
    """A message is worth reading even when its date is not: what cannot be understood stays as it was written."""
    if value is None or isinstance(value, datetime):
        return value
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day)  # noqa: DTZ001 - as written, without a zone
    if isinstance(value, str):
        try:
            return datetime.fromisoformat(value)
        except ValueError:
            pass
    text = one_line(str(_text(value)))
    if text.lower() in _NOTHING:
        return None
    try:
        return moment(text)
    except ValueError:
        return text


def _people(value: object) -> object:
    """One line of names from a text, a list of texts, or a list of objects with a name or an address."""
    if isinstance(value, dict):
        return next((str(value[key]) for key in ("name", "email", "address") if value.get(key)), "")
    if isinstance(value, list):
        return ", ".join(filter(None, map(str, map(_people, value))))
    return _text(value)


def _entries(value: object) -> object:
    """Null is an empty list; empty entries are left out; a bare text is an entry of that text."""
    if value is None:
        return []
    if isinstance(value, list):
        return [{"text": entry} if isinstance(entry, str) else entry for entry in _worth_keeping(value)]
    return value


def _worth_keeping(entries: Iterable[Any]) -> Iterable[Any]:
    return (entry for entry in entries if entry not in (None, "", {}))


Text = Annotated[str, BeforeValidator(_text)]
ItemId = Annotated[str, BeforeValidator(_item_id)]
Number = Annotated[float | None, BeforeValidator(_number)]
Day = Annotated[date | None, BeforeValidator(_day)]
When = Annotated[datetime | str | None, PlainValidator(_when)]
People = Annotated[str, BeforeValidator(_people)]
Entries = BeforeValidator(_entries)
