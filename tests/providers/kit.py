"""What the provider tests share: a small result model, requests, result lines, and the three ways of asking."""

import json
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field

from providers import load_format
from providers.contract import Format, Prompt, RequestTemplate

CASES = [("openai", "chat"), ("openai", "responses"), ("anthropic", "messages")]
CLIENTS = [CASES[0], CASES[2]]  # where only the talking matters: OpenAI's endpoints share one client
MODELS = {"openai": "gpt-5.4-mini", "anthropic": "claude-haiku-4-5"}
each_format = pytest.mark.parametrize("case", CASES, ids="-".join)


class Verdict(BaseModel):
    """What a reader thinks of a text."""

    mood: Literal["good", "bad"]
    score: int = Field(ge=0, le=10, description="From 0 to 10.")
    reasons: list[str] = Field(max_length=3)
    hint: str | None = Field(default=None, min_length=2)


def format_of(case: tuple[str, str]) -> Format:
    return load_format(*case)


def template(case: tuple[str, str], **changes: Any) -> RequestTemplate:
    plain: dict[str, Any] = {"model": MODELS[case[0]], "max_output_tokens": 500}
    structured = {"schema_name": "Verdict", "schema": Verdict.model_json_schema()}
    return RequestTemplate(**(plain | structured | changes))


def prompt(user: str = "What do you think?", system: str = "Be brief.") -> Prompt:
    return Prompt(system, user)


def body(case: tuple[str, str], user: str = "What do you think?", **changes: Any) -> Any:
    """A request body, decoded."""
    return json.loads(format_of(case).encode(template(case, **changes), prompt(user)))


def openai_line(**members: Any) -> bytes:
    """A line of an OpenAI output file, with a body of `members`."""
    response = {"status_code": 200, "request_id": "r1", "body": members}
    return json.dumps({"id": "batch_req_1", "custom_id": "a-1", "response": response, "error": None}).encode()


def chat_choice(content: Any = '{"mood":"good"}', finish_reason: str | None = "stop", **message: Any) -> dict[str, Any]:
    said = {"role": "assistant", "content": content} | message
    return {"choices": [{"index": 0, "message": said, "finish_reason": finish_reason}]}


def answer_line(status: str = "completed", parts: Any = None, **members: Any) -> bytes:
    """A line of an OpenAI file, with a Responses body."""
    content = [{"type": "output_text", "text": "yes", "annotations": []}] if parts is None else parts
    output = [{"type": "reasoning", "summary": []}, {"type": "message", "role": "assistant", "content": content}]
    return openai_line(object="response", status=status, output=output, **members)


def message_line(stop_reason: str | None = "end_turn", text: str = "yes", **members: Any) -> bytes:
    """A succeeded line of an Anthropic result file."""
    content = [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": text}]
    message = {"type": "message", "role": "assistant", "content": content, "stop_reason": stop_reason} | members
    return json.dumps({"custom_id": "a-1", "result": {"type": "succeeded", "message": message}}).encode()


def result_line(**result: Any) -> bytes:
    """An Anthropic result line of any kind."""
    return json.dumps({"custom_id": "a-1", "result": result}).encode()
