"""What the provider tests share: a small result model, requests, result lines, and the ways of asking."""

import json
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field

from providers import load_format
from providers.contract import Format, Prompt, RequestTemplate

CASES = [("openai", "chat"), ("openai", "responses"), ("anthropic", "messages")]
BEDROCK, CONVERSE = ("bedrock", "invoke"), ("bedrock", "converse")
AZURE, GROQ, COMPATIBLE = ("azure", "chat"), ("groq", "chat"), ("compatible", "chat")
SPEAKERS = [AZURE, GROQ, COMPATIBLE]  # servers that speak OpenAI's protocol (PROVIDERS §6, §7)
FORMATS = [*CASES, BEDROCK, CONVERSE, *SPEAKERS]
OPENAI_LIKE = [CASES[0], *SPEAKERS]
SENT = [CASES[0], CASES[2], *SPEAKERS]  # where requests and answers go over the wire
WIRED = [*CASES, *SPEAKERS]  # the same with every endpoint
CLIENTS = [*SENT, BEDROCK]  # where only the talking matters: the endpoints of a provider share one client
MODELS = {
    "openai": "gpt-5.4-mini",
    "anthropic": "claude-haiku-4-5",
    "bedrock": "us.anthropic.claude-haiku-4-5-20251001-v1:0",
    "azure": "nightly-mini",
    "groq": "openai/gpt-oss-20b",
    "compatible": "meta-llama/Llama-3.3-70B-Instruct-Turbo",
}
TOGETHER = {  # the switches of a server unlike OpenAI in most that can be (PROVIDERS §7)
    "url_variable": "TOGETHER_BASE_URL",
    "key_variable": "TOGETHER_API_KEY",
    "metadata": False,
    "counts": False,
    "cancels": False,
    "output_limit": "max_tokens",
    "window": "48h",
}
each_format = pytest.mark.parametrize("case", FORMATS, ids="-".join)


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


def custom_id(line: bytes) -> Any:
    """The id of a request line, by the name it has there."""
    told = json.loads(line)
    return told.get("custom_id") or told["recordId"]


def said(body: Any) -> list[str]:
    """The texts of a request body, in order."""
    turns = body.get("messages") or body["input"]
    texts = [body[name] for name in ("system", "instructions") if name in body]
    texts += [turn["content"] for turn in turns]
    return [part if isinstance(part, str) else part["text"] for text in texts for part in _parts(text)]


def _parts(text: Any) -> Any:
    return [text] if isinstance(text, str) else text


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


def record_line(output: Any = None, **members: Any) -> bytes:
    """A line of a Bedrock output file."""
    answer = {} if output is None else {"modelOutput": output}
    return json.dumps({"modelInput": {"messages": []}, **answer, "recordId": "a-1", **members}).encode()


def claude(stop_reason: str | None = "end_turn", text: str = "yes", **members: Any) -> dict[str, Any]:
    """What Claude answers to its own body."""
    content = [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": text}]
    return {"type": "message", "role": "assistant", "content": content, "stop_reason": stop_reason} | members


def converse(stop_reason: str | None = "end_turn", text: str = "yes", **members: Any) -> dict[str, Any]:
    """What any model answers to a Converse body."""
    content = [{"reasoningContent": {"reasoningText": {"text": "hm"}}}, {"text": text}]
    return {"output": {"message": {"role": "assistant", "content": content}}, "stopReason": stop_reason} | members
