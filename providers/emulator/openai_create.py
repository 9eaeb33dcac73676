"""What OpenAI checks when a batch is created, before it looks into the file."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from providers.emulator.faults import Fault
from providers.emulator.openai_dialects import Dialect
from providers.emulator.openai_files import RETENTION_S, problem
from providers.emulator.openai_lines import complaint

_ENDPOINTS = (
    "/v1/responses",
    "/v1/chat/completions",
    "/v1/embeddings",
    "/v1/completions",
    "/v1/moderations",
    "/v1/images/generations",
    "/v1/images/edits",
    "/v1/videos",
)


@dataclass(frozen=True, slots=True)
class Asked:
    """A create that passed the synchronous checks."""

    endpoint: str
    input_file_id: str
    metadata: Mapping[str, str] | None
    kept_s: float
    window: str = "24h"
    window_s: float = 86_400.0


def validated(asked: Mapping[str, Any], dialect: Dialect) -> Asked:
    """The synchronous checks of a create (PROVIDERS §1.3)."""
    endpoints = _ENDPOINTS if dialect.endpoints is None else dialect.endpoints
    for name in ("input_file_id", "endpoint", "completion_window"):
        if not isinstance(asked.get(name), str):
            raise problem(400, f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter")
    if endpoints and asked["endpoint"] not in endpoints:
        listed = ", ".join(f"'{one}'" for one in endpoints)
        text = f"Invalid value: '{asked['endpoint']}'. Supported values are: {listed}."
        raise problem(400, text, param="endpoint", code="invalid_value")
    window, hours = asked["completion_window"], dialect.hours(asked["completion_window"])
    if hours is None:
        text = f"Invalid value: '{window}'. Value must be '24h' for 'completion_window'."
        raise problem(400, text, param="completion_window", code="invalid_value")
    if not dialect.metadata and "metadata" in asked:
        raise problem(400, "Unknown parameter: 'metadata'.", param="metadata", code="unknown_parameter")
    _check_metadata(asked.get("metadata"))
    kept_s = _kept(asked.get("output_expires_after"), dialect.kept_s)
    window_s = hours * 3_600.0 if dialect.expires else float("inf")
    return Asked(asked["endpoint"], asked["input_file_id"], asked.get("metadata"), kept_s, window, window_s)


def _kept(asked: Any, allowed: range) -> float:
    if asked is None:
        return RETENTION_S
    seconds = asked.get("seconds") if isinstance(asked, dict) else None
    if not isinstance(seconds, int) or seconds not in allowed:
        raise problem(400, "Invalid value for 'output_expires_after.seconds'.", param="output_expires_after.seconds")
    return float(seconds)


def _check_metadata(metadata: Any) -> None:
    if metadata is None:
        return
    if not isinstance(metadata, dict):
        raise problem(400, "Invalid type for 'metadata': expected an object.", param="metadata", code="invalid_type")
    for key, value in metadata.items():
        if not isinstance(value, str):
            text = f"Invalid type for 'metadata.{key}': expected a string."
            raise problem(400, text, param=f"metadata.{key}", code="invalid_type")
        if len(key) > 64 or len(value) > 512:
            text = f"Invalid 'metadata.{key}': string too long. Keys have at most 64 characters, values at most 512."
            raise problem(400, text, param=f"metadata.{key}", code="string_above_max_length")
    if len(metadata) > 16:
        text = "Invalid 'metadata': too many properties. Expected an object with at most 16 properties."
        raise problem(400, text, param="metadata", code="object_above_max_properties")


def token_limit(model: str, limit: int, organisation: str = "organization org-emulator") -> dict[str, Any]:
    """What a batch that overflows the queue fails with (PROVIDERS §1.2)."""
    text = (
        f"Enqueued token limit reached for {model} in {organisation}. Limit: {limit:,} enqueued tokens. "
        "Please try again once some in_progress batches have been completed."
    )
    return complaint("token_limit_exceeded", text)


def ordered_rejection(faults: tuple[Fault, ...], model: str) -> list[dict[str, Any]]:
    """The complaint of a `reject` fault; with `at_create` the create itself is refused."""
    fault = next((fault for fault in faults if fault.action == "reject"), None)
    if fault is None:
        return []
    code = fault.code or "token_limit_exceeded"
    entry = complaint(code, fault.message) if fault.message else token_limit(model, 2_000_000)
    if fault.at_create:
        raise problem(fault.status or 400, entry["message"], code=code)
    return [{**entry, "code": code}]
