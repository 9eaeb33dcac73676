"""What an emulated Bedrock account and region are like; whatever PROVIDERS §9 calls unconfirmed is a switch here."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(kw_only=True)
class BedrockSettings:
    """May be changed while the emulator runs. The limits are those of PROVIDERS §3.2; None means no limit."""

    min_records: int = 100  # of a job
    file_records: int = 50_000
    job_records: int = 50_000
    file_bytes: int = 1_000_000_000
    job_bytes: int = 5_000_000_000
    jobs_per_model: int | None = 20  # submitted and in progress, by base model
    queueing: bool = False  # whether jobs beyond that wait rather than be refused with ServiceQuotaExceededException
    known_keys: frozenset[str] | None = None  # access key ids; None: any
    denied_roles: frozenset[str] = frozenset()  # roles that the caller may not pass
    profiles: Mapping[str, str] = field(default_factory=dict)  # application inference profile id -> base model id
    names: str = "all"  # jobs whose names clash with a new one: "all", "live" or "none"
    strict_tokens: bool = False  # whether a token that comes again with other parameters is a ConflictException
    token_seconds: float | None = None  # how long a token is remembered; None: for ever
    stop_error: str = "ValidationException"  # what Stop answers for a job that has ended; or "ConflictException"
    tools_in_converse: bool = False  # whether records of a Converse job may have a `toolConfig` (PROVIDERS §3.7)
    structured: frozenset[str] = frozenset({"anthropic", "mistral"})  # families with structured output
    unprocessed_listed: bool = False  # whether records that never ran are in the output, marked `expired`
    nested_output: bool = True  # whether output keys repeat the folders below the input prefix
    job_counts: bool = True  # whether a job tells how many of its records are done; its manifest always does
    manifest_tokens: bool = True  # whether the manifest counts tokens
    quotas_denied: bool = False  # whether Service Quotas answers AccessDeniedException
