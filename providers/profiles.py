"""What servers that speak OpenAI's Batch API do differently, as switches; another such server is one entry here.

What only some of them are known to do (`""` for no file, shouted statuses, errors as a bare list, a full queue told at
once or minutes later) needs no switch: it is understood from all of them.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from providers.contract import Carriage, Enforcement, Limits, PriceSource, State, Trace, Traits
from providers.lines import LINE_BYTES

NEVER_S = 10 * 365 * 86_400
_STATES = {
    "validating": State.queued,
    "pre_schedule": State.queued,  # said by compatible servers (PROVIDERS §1.3)
    "in_progress": State.running,
    "finalizing": State.running,
    "cancelling": State.stopping,
    "canceling": State.stopping,  # as Azure's own examples spell it, like the next
    "canceled": State.ended,
    "completed": State.ended,
    "cancelled": State.ended,
    "expired": State.ended,
    "failed": State.rejected,
}
_WINDOW = re.compile(r"([1-9]\d{0,2})([hd])")
_CHOICES = {"key_header": ("authorization", "api-key"), "structured": ("json_schema", "json_object", "none")}
_WORDS = ("validating", "in_progress", "finalizing", "cancelling", "completed", "cancelled", "expired", "failed")


def _switch(default: Any, says: str) -> Any:
    """A switch that a person may set for a server we do not know; `says` is what the docs say of it."""
    return field(default=default, metadata={"says": says})


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One server. Whatever is not a switch is for the servers we know."""

    name: str
    title: str  # as people call it
    url: str = ""  # where no variable names one; "": a variable must
    url_tail: str = ""  # what this server's own SDK adds to its address
    azure: bool = False  # talked to by the SDK's Azure client; models are named by deployment
    windows: tuple[str, ...] = ()  # those to be had; none: it is not known
    expires: bool = True  # what is not done within the window is given up
    files_expire_s: tuple[int, int] | None = None  # how long files can be asked to be kept
    files_expire_always_s: int | None = None  # asked for where nobody asks for another time
    more_keys: tuple[str, ...] = ()  # variables that can hold another kind of key
    version_variable: str = ""  # names the version of the API
    priced: PriceSource = PriceSource.listed
    empty_files: bool = False  # names result files that hold nothing, also of a batch that never ran

    url_variable: str = _switch("OPENAI_BASE_URL", "Environment variable with the server's address.")
    key_variable: str = _switch("OPENAI_API_KEY", "Environment variable with the key.")
    key_header: Literal["authorization", "api-key"] = _switch(
        "authorization", "How the key is sent: authorization (as Bearer token), or api-key as well."
    )
    chat_path: str = _switch("/v1/chat/completions", 'Path of chat requests; "" where there are none.')
    responses_path: str = _switch("", 'Path of responses requests; "" where there are none.')
    embeddings_path: str = _switch("", 'Path of embeddings requests; "" where there are none.')
    window: str = _switch("24h", "Completion window to ask for: hours or days, such as 24h or 7d.")
    output_limit: str = _switch("max_completion_tokens", "Name of the output limit in a chat request.")
    structured: Literal["json_schema", "json_object", "none"] = _switch(
        "json_schema", "What a schema is enforced by: json_schema (strict), json_object or none; told in words if not."
    )
    max_requests: int = _switch(50_000, "Most requests in a batch.")
    max_bytes: int = _switch(100_000_000, "Most bytes in a batch's file.")
    metadata: bool = _switch(True, "Keeps a batch's metadata; else a lost purchase is found by its file's name.")
    lists: bool = _switch(True, "Can list batches; else a lost purchase waits for a person.")
    newest_first: bool = _switch(False, "Lists the newest batches first; else every page is read.")
    file_status: bool = _switch(True, "Can be asked about one file.")
    counts: bool = _switch(True, "Tells how many requests of a batch are done.")
    cancels: bool = _switch(True, "Can cancel a batch.")
    statuses: tuple[tuple[str, str], ...] = _switch(
        (), "Table of its own status words, each with OpenAI's word for it."
    )

    @property
    def states(self) -> dict[str, State]:
        """Its status words in ours, in lower case: compatible servers shout (PROVIDERS §7)."""
        return _STATES | {theirs: _STATES[word] for theirs, word in self.statuses}

    @property
    def traced_by(self) -> Trace:
        """By the metadata that comes back with every batch, else by the file that a batch says it was made from."""
        if self.lists and self.metadata:
            return Trace.metadata
        return Trace.file_name if self.lists and self.file_status else Trace.nothing

    @property
    def traits(self) -> Traits:
        """What is not a limit, as the rest of the program needs it."""
        return Traits(
            sdk="openai",
            extra="openai",
            states=self.states,
            traced_by=self.traced_by,
            carriage=Carriage.upload,
            enforces=_ENFORCES[self.structured],
            priced=self.priced,
            key_variables=(self.key_variable, *self.more_keys),
            address_variable=self.url_variable,
            more_variables=(self.version_variable,) if self.version_variable else (),
            address_needed=not self.url,
            settings=("price_as",) if self.priced is PriceSource.told else (),
            names_deployments=self.azure,
            cancels=self.cancels,
        )

    @property
    def limits(self) -> Limits:
        """For one batch; how long files are kept is OpenAI's figure where the server gives none."""
        return Limits(
            requests=self.max_requests,
            bytes=self.max_bytes,
            line_bytes=LINE_BYTES,
            window_s=_seconds(self.window) if self.expires else NEVER_S,
            retention_s=30 * 86_400,  # PROVIDERS §1.2: output and error file, from completion
            grace_s=900,  # RELIABILITY §4.1: listing lag is not documented
        )


OPENAI = Profile(
    name="openai",
    title="OpenAI",
    url="https://api.openai.com/v1",
    windows=("24h",),
    files_expire_s=(3_600, 2_592_000),
    responses_path="/v1/responses",
    embeddings_path="/v1/embeddings",
    max_bytes=200_000_000,  # decimal: whether MB or MiB is meant is not documented (PROVIDERS §1.2)
    newest_first=True,
)
AZURE = Profile(  # PROVIDERS §6
    name="azure",
    title="Azure OpenAI",
    azure=True,
    url_variable="AZURE_OPENAI_ENDPOINT",
    key_variable="AZURE_OPENAI_API_KEY",
    more_keys=("AZURE_OPENAI_AD_TOKEN",),
    version_variable="OPENAI_API_VERSION",
    priced=PriceSource.told,
    key_header="api-key",
    windows=("24h",),
    expires=False,  # a target: jobs go on until they are done or cancelled
    files_expire_s=(1_209_600, 2_592_000),
    files_expire_always_s=2_592_000,  # without it a resource holds 500 files, with it 10,000
    empty_files=True,
    chat_path="/chat/completions",
    responses_path="/v1/responses",
    max_requests=100_000,
    max_bytes=200_000_000,
)
GROQ = Profile(  # PROVIDERS §7
    name="groq",
    title="Groq",
    url="https://api.groq.com",
    url_tail="/openai/v1",
    url_variable="GROQ_BASE_URL",
    key_variable="GROQ_API_KEY",
    windows=("24h", "2d", "3d", "4d", "5d", "6d", "7d", "48h", "72h", "96h", "120h", "144h", "168h"),
)
COMPATIBLE = Profile(name="compatible", title="The compatible server", priced=PriceSource.told)

KNOWN = {profile.name: profile for profile in (OPENAI, AZURE, GROQ)}
SWITCHES = {one.name: one for one in fields(Profile) if "says" in one.metadata}
LIKE = "like"


def compatible(table: Mapping[str, Any]) -> Profile:
    """The profile of a server that a person describes: switches by name, the rest as of the server it is `like`.

    Raises ValueError naming the switch that does not exist or cannot have its value.
    """
    like = table.get(LIKE, COMPATIBLE.name)
    if like not in (COMPATIBLE.name, *KNOWN):
        raise ValueError(f"{LIKE} is {like!r}: name {', '.join(KNOWN)}, or leave it out.")
    base = KNOWN.get(like, COMPATIBLE)
    if base is not COMPATIBLE:
        base = replace(base, name=COMPATIBLE.name, title=COMPATIBLE.title, priced=COMPATIBLE.priced, more_keys=())
    made = {name: _read(name, value) for name, value in table.items() if name != LIKE}
    profile = replace(base, **made)
    if not _WINDOW.fullmatch(profile.window) or (base.windows and profile.window not in base.windows):
        told = f"one of {', '.join(base.windows)}" if base.windows else "hours or days, such as 24h or 7d"
        raise ValueError(f"window is {profile.window!r}: make it {told}.")
    if not (profile.chat_path or profile.responses_path or profile.embeddings_path):
        raise ValueError("chat_path, responses_path and embeddings_path are all empty: there is nothing to ask.")
    return profile


def _read(name: str, value: Any) -> Any:
    """One switch's value, checked against the kind of its default."""
    if name not in SWITCHES:
        raise ValueError(f"there is no switch {name!r}: choose from {', '.join((LIKE, *SWITCHES))}.")
    default = getattr(COMPATIBLE, name)
    if name == "statuses":
        return _statuses(value)
    if type(value) is not type(default) or (type(value) is int and value < 1):
        raise ValueError(f"{name} is {value!r}: make it {_KINDS[type(default)]}.")
    if name in _CHOICES and value not in _CHOICES[name]:
        raise ValueError(f"{name} is {value!r}: choose {', '.join(_CHOICES[name])}.")
    if name.endswith("_path") and value and not value.startswith("/"):
        raise ValueError(f"{name} is {value!r}: begin it with a slash.")
    if name.endswith("_variable") and not re.fullmatch(r"[A-Z][A-Z0-9_]*", value):
        raise ValueError(f"{name} is the name of an environment variable, not what it holds: capitals, digits and _.")
    return value


def _statuses(value: Any) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, Mapping) or any(ours not in _WORDS for ours in value.values()):
        raise ValueError(f"statuses is a table of its words, each with one of {', '.join(_WORDS)}.")
    return tuple((theirs.lower(), ours) for theirs, ours in value.items())


def _seconds(window: str) -> int:
    number, unit = window[:-1], window[-1]
    return int(number) * {"h": 3_600, "d": 86_400}[unit]


_ENFORCES = {
    "json_schema": Enforcement.strict,
    "json_object": Enforcement.json_object,
    "none": Enforcement.words,
}
_KINDS = {str: "a text", bool: "true or false", int: "a whole number from 1"}
