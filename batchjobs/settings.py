"""Settings: defaults < batchjobs.toml < BATCHJOBS_* in the environment < flags. Keys and addresses are none."""

import os
import re
import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

import providers
from batchjobs.errors import UsageError
from providers.profiles import compatible

CONFIG_FILE = "batchjobs.toml"
PREFIX = "BATCHJOBS_"
NOT_SETTINGS = {"BATCHJOBS_KILL_AT", "BATCHJOBS_RECORD_POINTS"}


class Settings(BaseModel):
    """Everything a person can set; each description is what `docs/settings.md` says of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    store: str = Field("batchjobs-store", description="Directory or s3://bucket/prefix that keeps the truth.")
    results: str | None = Field(
        None, description="The analysts' DuckDB file; default: in the store directory, or here for S3."
    )
    state_dir: str | None = Field(
        None,
        description="Local folder for what can be made again (the private DuckDB file, copies of ledgers on S3) and "
        "the lock; default: in the store, or a cache for S3.",
    )
    task: str = Field("deal-intelligence", description="Built-in task name, module:object, or path to a task.toml.")
    provider: str = Field("openai", description=f"{providers.CHOICE}.")
    compatible: dict[str, Any] = Field(
        {}, description="For compatible: a table of switches that say what the server is like; see below."
    )
    endpoint: str | None = Field(
        None,
        description="For openai: chat (default) or responses; for bedrock: invoke (default) or converse. "
        "A task that embeds needs none.",
    )
    model: str | None = Field(None, description="Model name; default: the task's choice for the provider.")
    temperature: float | None = Field(None, ge=0, le=2, description="Sent only when set.")
    max_output_tokens: int | None = Field(None, ge=16, description="Output limit of the first attempt.")
    max_input_tokens: int = Field(100_000, ge=500, description="Larger items are cut by the task, or rejected.")
    max_attempts: int = Field(
        3, ge=1, le=10, description="How often a request may be bought before it is a dead letter."
    )
    max_cost: Decimal | None = Field(None, ge=0, description="Cap in US dollars on the most a job can cost.")
    no_price: bool = Field(False, description="Go without estimate and cap when no price is known.")
    price_as: str | None = Field(
        None, description="Whose price the model has, as provider/model: for deployments and servers without a list."
    )
    canary: int | None = Field(None, ge=1, description="Buy the first N requests alone, the rest once they went well.")
    interval: float | None = Field(
        None, gt=0, le=86_400, description="Seconds between polls; default: adaptive, 5 s to 5 min."
    )
    deadline: str | None = Field(None, description="When `run` stops waiting: 07:00, or a length such as 9h or 45m.")
    grace: float | None = Field(
        None,
        ge=0,
        description="Seconds an unknown purchase is held before it may be bought again; default: provider's.",
    )
    rebuy_unknown: bool = Field(
        False, description="After the grace period, buy again what may have been bought already."
    )
    shard_requests: int | None = Field(
        None, ge=1, description="Most requests in a shard; default: the provider's limit."
    )
    shard_bytes: int | None = Field(None, ge=1000, description="Most bytes in a shard; default: 64 MB or the limit.")
    max_enqueued_tokens: int | None = Field(
        None, ge=1, description="The account's queued-token quota for the model; learned from refusals when not set."
    )
    bedrock_role_arn: str | None = Field(
        None, description="For bedrock: the service role that reads the shards and writes the answers in the bucket."
    )
    bedrock_kms_key: str | None = Field(None, description="For bedrock: the KMS key its answers are encrypted with.")
    bedrock_timeout_hours: int | None = Field(
        None, ge=24, le=168, description="For bedrock: how long a job may wait and run; default: AWS's, a day."
    )
    bedrock_records_min: int | None = Field(
        None,
        ge=1,
        description="For bedrock: fewest requests in a batch where Service Quotas cannot be read; default: 100.",
    )
    bedrock_records_max: int | None = Field(
        None,
        ge=1,
        description="For bedrock: most requests in a batch where Service Quotas cannot be read; default: 50,000.",
    )
    strict: bool = Field(False, description="Stop at the first rejected item, before anything is bought.")

    def options_of(self, provider: str) -> dict[str, str]:
        """The settings that are one provider's own: those with its name in front, without it."""
        own = self.model_dump(include={name for name in type(self).model_fields if name.startswith(f"{provider}_")})
        return {name.removeprefix(f"{provider}_"): str(value) for name, value in own.items() if value is not None}

    @field_validator("compatible")
    @classmethod
    def _describable(cls, value: dict[str, Any]) -> dict[str, Any]:
        compatible(value)
        return value

    @model_validator(mode="after")
    def _bedrock_takes_something(self) -> "Settings":
        least, most = self.bedrock_records_min, self.bedrock_records_max
        if least is not None and most is not None and least > most:
            raise ValueError(f"bedrock_records_min is {least}, more than bedrock_records_max, which is {most}")
        return self

    @field_validator("deadline")
    @classmethod
    def _readable(cls, value: str | None) -> str | None:
        if value is not None and not (_CLOCK.fullmatch(value) or _LENGTH.fullmatch(value)):
            raise ValueError("write a time such as 07:00 or a length such as 9h, 45m or 30s")
        return value


_CLOCK = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")
_LENGTH = re.compile(r"(\d{1,6}(?:\.\d{1,3})?)([hms])")


def load_settings(flags: Mapping[str, Any], config: Path | None, environ: Mapping[str, str] = os.environ) -> Settings:
    """Merge the four layers. Raises UsageError naming the setting and where it came from."""
    layers = [
        (str(config or CONFIG_FILE), _file_layer(config)),
        ("the environment", _environment_layer(environ)),
        ("the command line", {k: v for k, v in flags.items() if v is not None}),
    ]
    merged: dict[str, Any] = {}
    origin: dict[str, str] = {}
    for where, values in layers:
        merged |= values
        origin |= dict.fromkeys(values, where)
    try:
        return Settings(**merged)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else "settings"
        told = first["msg"].removeprefix("Value error, ").rstrip(".")
        raise UsageError(f"Setting {name!r} from {origin.get(name, 'defaults')}: {told}.") from None


def _file_layer(config: Path | None) -> dict[str, Any]:
    path = config or Path(CONFIG_FILE)
    if not path.exists():
        if config is not None:
            raise UsageError(f"There is no config file {config}: name an existing TOML file.")
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise UsageError(f"{path} is not a readable TOML file: {error}.") from None


def _environment_layer(environ: Mapping[str, str]) -> dict[str, str]:
    names = [name for name in environ if name.startswith(PREFIX) and name not in NOT_SETTINGS]
    return {name.removeprefix(PREFIX).lower(): environ[name] for name in names}


def deadline_at(deadline: str | None, now: datetime) -> datetime | None:
    """The moment a deadline means, seen from `now` (a time of day is local, and the next one to come)."""
    if deadline is None:
        return None
    if match := _LENGTH.fullmatch(deadline):
        seconds = float(match[1]) * {"h": 3600, "m": 60, "s": 1}[match[2]]
        return now + timedelta(seconds=seconds)
    hour, minute = map(int, deadline.split(":"))
    today = now.astimezone().date()
    # Each day's own offset: tonight's is wrong tomorrow when the clocks change; an hour that comes twice counts twice.
    days = (today, today + timedelta(days=1))
    walls = (datetime.combine(day, time(hour, minute, fold=fold)) for day in days for fold in (0, 1))
    moments = (datetime.fromtimestamp(wall.timestamp(), UTC) for wall in walls)
    return next(moment for moment in moments if moment > now)
