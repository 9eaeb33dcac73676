"""Input and answers as attacks, and one night that has them all in it."""

import json
from functools import cache
from typing import Any

ANSI, OSC = "\x1b[31mred\x1b[0m", "\x1b]0;owned\x07"
IDS = {
    "path": "../../etc/passwd",
    "absolute": "/etc/passwd",
    "sql": "x'); DROP TABLE items; --",
    "formula": "=cmd|' /C calc'!A0",
    "html": "<script>alert(1)</script>",
    "ansi": f"a{ANSI}b",
    "osc": f"a{OSC}b",
    "bell and backspace": "a\x07\x08b",
    "right to left": "invoice\u202efdp.exe",
    "line separator": "one\u2028two\u2029three\u0085four",
    "line feed": "one\ntwo\r\nthree",
    "nul": "a\x00b",
    "zero width": "a\u200bb",
    "not a character": "a\uffffb",
    "emoji": "👩‍👩‍👧‍👦",
    "blank": " ",
    "markup": "[bold red]x[/] {job} %s {{ item }}",
    "long": "x" * 500,
}
FAILING = {"osc", "ansi", "right to left", "bell and backspace", "line separator", "line feed", "nul"}  # as answers
# Lines that must not become an item, and what the reject says of each.
BAD_LINES: dict[str, tuple[bytes, str]] = {
    "deep": (b'{"doc_id": "deep", "text": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "not_json"),
    "lone surrogate": (b'{"doc_id": "surrogate", "text": "\\ud800"}', "not_json"),
    "surrogate id": (b'{"doc_id": "\\udfff", "text": "x"}', "not_json"),
    "nan": (b'{"doc_id": "nan", "text": NaN}', "does_not_fit"),
    "infinity": (b'{"doc_id": Infinity, "text": "x"}', "does_not_fit"),
    "digits": (b'{"doc_id": ' + b"9" * 5_000 + b', "text": "x"}', "not_json"),
    "not utf-8": (b'{"doc_id": "latin", "text": "\xff"}', "not_json"),
    "raw nul": (b'{"doc_id": "nul", "text": "a\x00b"}', "not_json"),
    "array": (b'["doc_id", "text"]', "does_not_fit"),
    "string": (b'"doc_id"', "does_not_fit"),
    "empty id": (b'{"doc_id": "", "text": "x"}', "bad_id"),
    "endless id": (b'{"doc_id": "' + b"y" * 501 + b'", "text": "x"}', "bad_id"),
    "two objects": (b'{"doc_id": "a", "text": "x"}{"doc_id": "b", "text": "x"}', "not_json"),
    "long": (b'{"doc_id": "long", "text": "' + b"z" * (17 << 20) + b'"}', "unreadable"),
}
# Answers, and how each must end.
GOOD = json.dumps({"label": "fine", "score": 5})
ANSWERS: dict[str, tuple[str, str]] = {
    "ansi": (json.dumps({"label": ANSI + OSC, "score": 1}), "succeeded"),
    "sql": (json.dumps({"label": "'); DROP TABLE results; --", "score": 1}), "succeeded"),
    "formula": (json.dumps({"label": "=HYPERLINK(1)", "score": 1}), "succeeded"),
    "html": (json.dumps({"label": "<img src=x onerror=alert(1)>", "score": 1}), "succeeded"),
    "right to left": (json.dumps({"label": "\u202eabc", "score": 1}), "succeeded"),
    "line separator": ('{"label": "a\u2028b\u2029c\u0085d", "score": 1}', "succeeded"),
    "nul": ('{"label": "a\\u0000b", "score": 1}', "succeeded"),
    "lone surrogate": ('{"label": "\\ud800", "score": 1}', "invalid"),
    "deep": ('{"label": ' + "[" * 50_000 + "]" * 50_000 + "}", "invalid"),
    "digits": ('{"label": "x", "score": ' + "9" * 5_000 + "}", "invalid"),
    "nan": ('{"label": "x", "score": NaN}', "invalid"),
    "infinity": ('{"label": "x", "score": Infinity}', "invalid"),
    "duplicate keys": ('{"label": "one", "score": 1, "label": "two"}', "succeeded"),
    "prose": (f"Sure! ```json\n{GOOD}\n```", "succeeded"),
    "two in prose": (f"Either {GOOD} or {GOOD}", "invalid"),
    "cut off": (GOOD[:-1], "invalid"),
    "braces": ("{'" * 20_000, "invalid"),
    "bare braces": ("{" * 50_000 + "}" * 50_000, "invalid"),
    "odd quotes": ("{'label': 'x', 'score': 0x" + "f" * 50_000 + "}", "invalid"),
    "nothing": ("", "errored"),
    "null": ("null", "invalid"),
    "long": (json.dumps({"label": "l" * 100_000, "score": 1}), "succeeded"),
}
FILE_NAME = f"deals'; DROP TABLE jobs; -- {OSC}{ANSI}\u202e$(touch owned)\n.jsonl"


def said(prompt: str) -> str:
    """The hostile answer that the prompt names, or a good one."""
    if any(f"id is {name}!" in prompt for name in FAILING):
        return "no JSON"
    return next((text for name, (text, _) in ANSWERS.items() if f"answer with {name}!" in prompt), GOOD)


@cache
def lines() -> list[dict[str, Any] | bytes]:
    ids = [{"doc_id": text, "text": f"id is {name}!"} for name, text in IDS.items()]
    asked = [{"doc_id": f"answer {name}", "text": f"answer with {name}!"} for name in ANSWERS]
    again = {"doc_id": IDS["osc"], "text": "a duplicate of a hostile id"}
    return [*ids, *asked, again, *(line for line, _ in BAD_LINES.values()), {"doc_id": "last", "text": "goes on"}]


@cache
def line_of(name: str) -> int:
    """Where a bad line is in the input."""
    return len(IDS) + len(ANSWERS) + 2 + list(BAD_LINES).index(name)


def control_signs(text: str) -> set[str]:
    """What a terminal would obey; a line feed is none."""
    return {sign for sign in text if not sign.isprintable() and sign != "\n"}
