"""How servers that speak OpenAI's Batch API differ, from their side of the wire (PROVIDERS §6, §7, §10)."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from providers.emulator import openai_requests as asks
from providers.emulator.world import Settings, World, moment

BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_BASE32 = "0123456789abcdefghjkmnpqrstvwxyz"
_HOURS = {"h": 1, "d": 24}
_WINDOW = re.compile(r"(\d{1,3})([hd])")


def _of_openai(name: str, _settings: Settings) -> str | None:
    return asks.resolved(name) if asks.known(name) else None


def _deployed(name: str, settings: Settings) -> str | None:
    """The model behind a deployment's name; where none are set up, every plain name is one."""
    if settings.deployments is not None:
        model = settings.deployments.get(name)
        return None if model is None else asks.resolved(model)
    return asks.resolved("gpt-4.1-mini") if re.fullmatch(r"[A-Za-z0-9._-]{2,64}", name) else None


def _of_groq(name: str, _settings: Settings) -> str | None:
    hosted = r"(meta-llama/|llama|openai/gpt-oss|qwen/|moonshotai/|gemma|mixtral|deepseek)"
    return name if re.match(hosted, name) else None


def _any(name: str, _settings: Settings) -> str | None:
    return name or None


def _hex(world: World) -> str:
    return world.new_id()


def _uuid(world: World) -> str:
    text = world.new_id()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def _sortable(world: World) -> str:
    return "01" + world.new_id(24, _BASE32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One server. What it has by default is what OpenAI has."""

    name: str = "openai"
    variables: Mapping[str, str] = field(default_factory=dict)  # what leads its SDK here, as {url} and {key}
    organisation: str = "organization org-emulator"
    bases: tuple[str, ...] = ("/v1",)  # what its paths begin with
    versioned: tuple[str, ...] = ()  # those of them below which every call names an api-version
    key_headers: tuple[str, ...] = ("authorization",)
    endpoints: tuple[str, ...] | None = None  # those it takes batches for; None: OpenAI's, (): any
    window_hours: range = range(24, 25)
    expires: bool = True  # what is not done within the window
    most_requests: int = 50_000
    file_bytes: int | None = None  # None: as the world is set
    kept_s: range = range(3_600, 2_592_001)
    most_files: tuple[int, int] | None = None  # of those kept for ever, and of those with a time set
    model: Callable[[str, Settings], str | None] = _of_openai  # the model that a name stands for, if any
    batch_id: Callable[[World], str] = _hex
    file_id: Callable[[World], str] = field(default=lambda world: f"file-{world.new_id(22, BASE62)}")
    no_file: str | None = None  # what stands for the id of a file that there is not (yet)
    empty_files: bool = False  # names result files also where they hold nothing
    refuses_at_once: bool = False  # a create for which the queue has no room
    codes: Mapping[str, str] = field(default_factory=dict)  # its own names for what is wrong with a file
    takes_bom: bool = False  # at upload, to stumble over it later
    plain_errors: bool = False  # a code and a message, nothing more
    metadata: bool = True
    counts: bool = True
    shouts: bool = False
    bare_errors: bool = False
    dates: bool = False
    wraps: bool = False
    cancels: bool = True
    oldest_first: bool = False

    def hours(self, window: object) -> int | None:
        """The length of a completion window; None for one that is not to be had."""
        match = _WINDOW.fullmatch(window) if isinstance(window, str) else None
        hours = int(match[1]) * _HOURS[match[2]] if match else 0
        return hours if hours in self.window_hours else None

    def error(self, status: int, document: Any) -> Any:
        """An error in this server's own shape."""
        if not self.plain_errors:
            return document
        told = document["error"]
        return {"error": {"code": told["code"] or str(status), "message": told["message"]}}

    def document(self, told: dict[str, Any]) -> dict[str, Any]:
        """A batch in this server's own shape."""
        absent = [*([] if self.metadata else ["metadata"]), *([] if self.counts else ["request_counts", "usage"])]
        told = {name: value for name, value in told.items() if name not in absent}
        if self.shouts:
            told["status"] = told["status"].upper()
        if self.bare_errors and told["errors"]:
            told["errors"] = told["errors"]["data"]
        if self.dates:
            told |= {name: _date(value) for name, value in told.items() if name.endswith("_at")}
        return told


def _date(seconds: int | None) -> str | None:
    return None if seconds is None else moment(seconds).isoformat().replace("+00:00", "Z")


OPENAI = Dialect(variables={"OPENAI_BASE_URL": "{url}/v1", "OPENAI_API_KEY": "{key}"})
AZURE = Dialect(
    name="azure",
    variables={
        "AZURE_OPENAI_ENDPOINT": "{url}",
        "AZURE_OPENAI_API_KEY": "{key}",
        "OPENAI_API_VERSION": "2025-04-01-preview",
    },
    organisation="resource emulator",
    bases=("/openai", "/openai/v1"),
    versioned=("/openai",),
    key_headers=("api-key", "authorization"),
    endpoints=("/chat/completions", "/v1/chat/completions", "/v1/responses"),
    expires=False,
    most_requests=100_000,
    kept_s=range(1_209_600, 2_592_001),
    most_files=(500, 10_000),
    model=_deployed,
    batch_id=_uuid,
    file_id=lambda world: f"file-{world.new_id()}",
    no_file="",
    empty_files=True,
    refuses_at_once=True,
    codes={
        "invalid_url": "url_mismatch",
        "mismatched_model": "model_mismatch",
        "too_many_requests": "too_many_tasks",
        "missing_required_parameter": "invalid_request",
        "streaming_unsupported": "invalid_request",
    },
    takes_bom=True,
    plain_errors=True,
)
GROQ = Dialect(
    name="groq",
    variables={"GROQ_BASE_URL": "{url}/groq", "GROQ_API_KEY": "{key}"},
    bases=("/groq/openai/v1",),
    endpoints=("/v1/chat/completions",),
    window_hours=range(24, 7 * 24 + 1),
    file_bytes=100_000_000,
    model=_of_groq,
    batch_id=_sortable,
    file_id=lambda world: f"file_{_sortable(world)}",
)
COMPATIBLE = Dialect(  # takes what any switches make a client ask for
    name="compatible",
    bases=("/compatible/v1", "/compatible/v1/openai", "/compatible/v1/openai/v1"),  # with what an SDK may add
    key_headers=("authorization", "api-key"),
    endpoints=(),
    window_hours=range(1, 10_000),
    model=_any,
    bare_errors=True,
    oldest_first=True,
)
TOGETHER = Dialect(
    name="together",
    bases=("/together/v1",),
    endpoints=("/v1/chat/completions",),
    window_hours=range(1, 10_000),
    file_bytes=100_000_000,
    model=_any,
    batch_id=_uuid,
    metadata=False,
    counts=False,
    shouts=True,
    bare_errors=True,
    dates=True,
    wraps=True,
    cancels=False,
    oldest_first=True,
)
DIALECTS = (OPENAI, AZURE, GROQ, COMPATIBLE, TOGETHER)
