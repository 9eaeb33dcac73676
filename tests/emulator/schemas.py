"""The providers' published schemas, from `../shared/specs` where they lie there, else small ones of the same shape."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema

SPECS = Path(__file__).parents[3] / "shared" / "specs"
FILES = {"openai": "openai-openapi.json", "anthropic": "anthropic-openapi-2026-01-messages.json"}

_TEXT, _NUMBER, _COUNT = {"type": "string"}, {"type": "number"}, {"type": "integer", "minimum": 0}
_MAYBE = {"type": ["string", "null"]}


def _closed(kind: str, required: dict[str, Any]) -> dict[str, Any]:
    return {"type": kind, "required": list(required), "properties": required}


_USAGE = _closed("object", {"prompt_tokens": _COUNT, "completion_tokens": _COUNT, "total_tokens": _COUNT})
_CHOICE = _closed(
    "object",
    {
        "index": _COUNT,
        "message": _closed("object", {"role": {"const": "assistant"}, "content": _MAYBE, "refusal": _MAYBE}),
        "logprobs": {},
        "finish_reason": {"enum": ["stop", "length", "tool_calls", "content_filter", "function_call"]},
    },
)
_BATCH_WORDS = ["validating", "in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled"]
_ANY: dict[str, Any] = {}
_MESSAGE_BATCH = {
    "id": _TEXT,
    "type": {"const": "message_batch"},
    "processing_status": {"enum": ["in_progress", "canceling", "ended"]},
    "request_counts": _closed(
        "object", dict.fromkeys(("processing", "succeeded", "errored", "canceled", "expired"), _COUNT)
    ),
    **dict.fromkeys(("created_at", "expires_at"), _TEXT),
    **dict.fromkeys(("ended_at", "cancel_initiated_at", "archived_at", "results_url"), _MAYBE),
}
SMALL = {
    "openai": {
        "Batch": _closed(
            "object",
            {
                **dict.fromkeys(("id", "endpoint", "input_file_id", "completion_window"), _TEXT),
                "object": {"const": "batch"},
                "status": {"enum": _BATCH_WORDS},
                "created_at": _COUNT,
            },
        ),
        "CreateChatCompletionResponse": _closed(
            "object",
            {
                **dict.fromkeys(("id", "model"), _TEXT),
                "object": {"const": "chat.completion"},
                "created": _COUNT,
                "choices": {"type": "array", "items": _CHOICE},
                "usage": _USAGE,
            },
        ),
        "Response": _closed(
            "object",
            {
                **dict.fromkeys(("id", "model"), _TEXT),
                "object": {"const": "response"},
                "created_at": _NUMBER,
                "output": {"type": "array"},
                "tools": {"type": "array"},
                **dict.fromkeys(("error", "incomplete_details", "instructions", "metadata", "tool_choice"), _ANY),
            },
        ),
        "CreateEmbeddingResponse": _closed("object", {"data": {"type": "array"}, "model": _TEXT, "usage": {}}),
        "OpenAIFile": _closed("object", {"id": _TEXT, "bytes": _COUNT, "created_at": _COUNT, "filename": _TEXT}),
        "Upload": _closed("object", {"id": _TEXT, "bytes": _COUNT, "status": _TEXT, "expires_at": _COUNT}),
        "ListBatchesResponse": _closed("object", {"data": {"type": "array"}, "has_more": {"type": "boolean"}}),
        "ErrorResponse": _closed(
            "object", {"error": _closed("object", {"message": _TEXT, "type": _TEXT, "param": _MAYBE})}
        ),
    },
    "anthropic": {
        "MessageBatch": _closed("object", _MESSAGE_BATCH),
        "Message": _closed(
            "object",
            {
                "id": _TEXT,
                "type": {"const": "message"},
                "role": {"const": "assistant"},
                "content": {"type": "array"},
                "model": _TEXT,
                "stop_reason": {
                    "enum": ["end_turn", "max_tokens", "stop_sequence", "tool_use", "pause_turn", "refusal"]
                },
                "stop_sequence": _MAYBE,
                "usage": _closed("object", {"input_tokens": _COUNT, "output_tokens": _COUNT}),
            },
        ),
        "MessageBatchIndividualResponse": _closed(
            "object", {"custom_id": _TEXT, "result": _closed("object", {"type": _TEXT})}
        ),
        "ErrorResponse": _closed("object", {"type": {"const": "error"}, "error": {}, "request_id": _MAYBE}),
        "ListResponse_MessageBatch_": _closed(
            "object", {"data": {"type": "array"}, "has_more": {}, "first_id": _MAYBE}
        ),
    },
}


@cache
def validator(provider: str, name: str) -> jsonschema.Draft202012Validator:
    """Checks documents against one of the provider's schemas."""
    path = SPECS / FILES[provider]
    if not path.exists():
        return jsonschema.Draft202012Validator(SMALL[provider][name])
    return jsonschema.Draft202012Validator({**_published(path), "$ref": f"#/components/schemas/{name}"})


@cache
def _published(path: Path) -> dict[str, Any]:
    return {"components": json.loads(path.read_text())["components"]}


def without_nulls(document: Any) -> Any:
    """OpenAI's schema of a batch leaves members out where its API has null."""
    return {name: value for name, value in document.items() if value is not None}
