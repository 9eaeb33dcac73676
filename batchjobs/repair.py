"""Answers that are not JSON but can only mean one object: read by a wider grammar, never guessed at.

Read: one object with words or Markdown's fences around it; trailing commas, single quotes, names without quotes,
comments (JSON5); line breaks inside a text. Left alone, so that the answer stays invalid and is asked for again:
whatever has to be completed (a text, a number, an object or a list that is cut off), whatever stands beside the object
and could be a part of the answer, escapes that no JSON has, NaN and Infinity, and what is too long or too deep.
"""

import json
import re
from typing import Any

import pyjson5

LENGTH_MAX = 1 << 20  # characters; 100 times what models answer, and 0.2 s of work at most
DEPTH_MAX = 64
_STRUCTURE = re.compile(r"[\[\]{}]")
_ESCAPE = re.compile(r"""\\(?:["'\\/bfnrt]|u[0-9a-fA-F]{4})""")
_UNREADABLE = (pyjson5.Json5Exception, ValueError, RecursionError)


def repaired(text: str) -> str | None:
    """`text` as plain JSON, where that adds nothing to it and takes nothing but wrapping from it; else None. Pure."""
    found = _object_in(text) if len(text) <= LENGTH_MAX else None
    if found is None:
        return None
    for read in (_with_line_breaks, _as_json5):
        try:
            return json.dumps(read(found), allow_nan=False)
        except _UNREADABLE:
            continue
    return None


def _object_in(text: str) -> str | None:
    """From the first brace to the last, unless structure is left over on either side: then it is cut off, or a list."""
    start, end = text.find("{"), text.rfind("}") + 1
    if not 0 <= start < end or _STRUCTURE.search(text[:start]) or _STRUCTURE.search(text[end:]):
        return None
    return text[start:end]


def _with_line_breaks(text: str) -> Any:
    return json.loads(text, strict=False)


def _as_json5(text: str) -> Any:
    r"""JSON5 reads an unknown escape as the letter after it, which would make C:dir of C:\dir."""
    if "\\" in _ESCAPE.sub("", text):
        raise ValueError
    return pyjson5.decode(text, DEPTH_MAX)
