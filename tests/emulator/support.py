"""What the emulator's tests share: requests, uploads, results."""

import json
from email.message import Message
from http.client import HTTPConnection
from typing import Any

from openai import OpenAI

from providers.emulator import Emulator

DEAL = {
    "type": "object",
    "additionalProperties": False,
    "required": ["risk_score", "priority", "risk_signals", "summary"],
    "properties": {
        "risk_score": {"type": "integer", "description": "0-100"},
        "priority": {"type": "string", "enum": ["low", "medium", "high", "urgent"]},
        "risk_signals": {"type": "array", "items": {"type": "string"}},
        "summary": {"type": "string"},
    },
}
CHAT = "/v1/chat/completions"


def fetch(emulator: Emulator, path: str, headers: dict[str, str] | None = None) -> tuple[int, Message, bytes]:
    """Status, headers and body of a GET, without an SDK."""
    connection = HTTPConnection(emulator.url.removeprefix("http://"), timeout=10)
    try:
        connection.request("GET", path, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def chat(prompt: str, **more: Any) -> dict[str, Any]:
    """A chat request for a deal."""
    shape = {"type": "json_schema", "json_schema": {"name": "deal", "strict": True, "schema": DEAL}}
    messages = [{"role": "system", "content": "You read deals."}, {"role": "user", "content": prompt}]
    return {"model": "gpt-4o-mini", "messages": messages, "response_format": shape, **more}


def line(custom_id: str, body: Any, url: str = CHAT) -> bytes:
    request = {"custom_id": custom_id, "method": "POST", "url": url, "body": body}
    return json.dumps(request).encode() + b"\n"


def deals(count: int, **more: Any) -> bytes:
    """An input file of so many deals."""
    return b"".join(line(f"job-{index}", chat(f"deal {index}", **more)) for index in range(count))


def upload(client: OpenAI, content: bytes) -> str:
    return client.files.create(file=("shard.jsonl", content), purpose="batch").id


def submit(client: OpenAI, content: bytes, **more: Any) -> Any:
    """Upload and create; the new batch."""
    more = {"endpoint": CHAT, "completion_window": "24h", **more}
    return client.batches.create(input_file_id=upload(client, content), **more)


def results(client: OpenAI, file_id: str | None) -> list[dict[str, Any]]:
    """The lines of a result file; none for no file."""
    if not file_id:
        return []
    return [json.loads(one) for one in client.files.content(file_id).content.split(b"\n") if one]


def message(prompt: str, **more: Any) -> dict[str, Any]:
    """A Messages request for a deal."""
    config = {"format": {"type": "json_schema", "schema": DEAL}}
    messages = [{"role": "user", "content": prompt}]
    base = {"model": "claude-haiku-4-5", "max_tokens": 1000, "system": "You read deals.", "messages": messages}
    return {**base, "output_config": config, **more}


def entries(count: int, **more: Any) -> list[dict[str, Any]]:
    """So many deals, for a message batch."""
    return [{"custom_id": f"job-{index}", "params": message(f"deal {index}", **more)} for index in range(count)]
