"""The lines of result files as the two providers write them, by the fate of each request."""

from dataclasses import dataclass
from hashlib import blake2b

import msgspec

from providers.contract import Outcome, Usage

ANSWER = '{"label":"fine","score":50}'
BILLED = ("ok", "truncated", "refused", "invalid")
OUTCOME = {
    "ok": Outcome.succeeded,
    "truncated": Outcome.truncated,
    "refused": Outcome.refused,
    "invalid": Outcome.invalid,
    "failed": Outcome.failed,
    "errored": Outcome.errored,
    "expired": Outcome.expired,
    "cancelled": Outcome.cancelled,
}
_SOME = ("truncated", "refused", "invalid", "failed", "errored")
NATURES = {  # what becomes of requests that run: one word for each of sixteen parts
    "kind": ("ok",) * 16,
    "mixed": ("ok",) * 11 + _SOME,
    "harsh": ("ok",) * 6 + _SOME * 2,
    "hopeless": ("errored",) * 12 + ("truncated", "truncated", "invalid", "failed"),
}


@dataclass(frozen=True, slots=True)
class Asked:
    """One request of a batch, as far as a provider's book-keeping goes."""

    custom_id: str
    size: int
    output_limit: int

    @property
    def usage(self) -> Usage:
        return Usage(self.size // 4, min(20, self.output_limit))

    @property
    def attempt(self) -> tuple[str, str]:
        """Which request in which attempt, whatever shard it came in: our ids are job-attempt-shard-key."""
        job, attempt, *_, key = self.custom_id.split("-")
        return f"{job}-{key}", attempt


class _Body(msgspec.Struct):
    max_completion_tokens: int = 0
    max_tokens: int = 0


class _Line(msgspec.Struct):
    custom_id: str
    body: _Body = msgspec.UNSET
    params: _Body = msgspec.UNSET


_decode = msgspec.json.Decoder(_Line).decode


def asked(lines: bytes) -> list[Asked]:
    """The requests in the bytes that were bought."""
    found = []
    for line in lines.splitlines():
        told = _decode(line)
        body = told.params if told.body is msgspec.UNSET else told.body
        found.append(Asked(told.custom_id, len(line), body.max_completion_tokens or body.max_tokens))
    return found


def fate_of(nature: str, seed: int, custom_id: str) -> str:
    """The same for the same request: a program can be repeated."""
    return NATURES[nature][blake2b(f"{seed}{custom_id}".encode(), digest_size=1).digest()[0] % 16]


_OPENAI_NOT_RUN = {"expired": "batch_expired", "cancelled": "batch_cancelled"}
_STATUS = {"failed": 400, "errored": 500}


def openai_line(request: Asked, fate: str) -> bytes:
    """One line of an output or error file."""
    response: object = None
    error: object = None
    if fate in _OPENAI_NOT_RUN:
        error = {"code": _OPENAI_NOT_RUN[fate], "message": "It did not run."}
    elif fate in _STATUS:
        response = {"status_code": _STATUS[fate], "body": {"error": {"code": f"a_{fate}", "message": "No."}}}
    else:
        response = {"status_code": 200, "body": _chat(request, fate)}
    line = {"id": f"r-{request.custom_id}", "custom_id": request.custom_id, "response": response, "error": error}
    return msgspec.json.encode(line)


def _chat(request: Asked, fate: str) -> dict[str, object]:
    message = {"role": "assistant", "content": _text(fate), "refusal": "I will not." if fate == "refused" else None}
    reason = "length" if fate == "truncated" else "stop"
    usage = {"prompt_tokens": request.usage.input_tokens, "completion_tokens": request.usage.output_tokens}
    return {"choices": [{"index": 0, "message": message, "finish_reason": reason}], "usage": usage}


_ANTHROPIC_ERRORS = {"failed": "invalid_request_error", "errored": "api_error"}
_STOPS = {"truncated": "max_tokens", "refused": "refusal"}


def anthropic_line(request: Asked, fate: str) -> bytes:
    """One line of the results."""
    result: dict[str, object]
    if fate in _ANTHROPIC_ERRORS:
        inner = {"type": _ANTHROPIC_ERRORS[fate], "message": "No."}
        result = {"type": "errored", "error": {"type": "error", "error": inner}}
    elif fate in _OPENAI_NOT_RUN:
        result = {"type": "canceled" if fate == "cancelled" else fate}
    else:
        usage = {"input_tokens": request.usage.input_tokens, "output_tokens": request.usage.output_tokens}
        message = {
            "content": [{"type": "text", "text": _text(fate)}],
            "stop_reason": _STOPS.get(fate, "end_turn"),
            "usage": usage,
        }
        result = {"type": "succeeded", "message": message}
    return msgspec.json.encode({"custom_id": request.custom_id, "result": result})


def _text(fate: str) -> str:
    return {"ok": ANSWER, "truncated": ANSWER[:9], "invalid": '{"label":5}', "refused": ""}[fate]
