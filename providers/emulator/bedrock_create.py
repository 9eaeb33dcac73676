"""What Bedrock checks when a job is created, before it looks into the input (PROVIDERS §3.1)."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from providers.emulator.bedrock_errors import invalid
from providers.emulator.bedrock_models import MODEL_ID

DEFAULT_HOURS = 24
NAME = r"[a-zA-Z0-9]{1,63}(-*[a-zA-Z0-9\+\-\.]){0,63}"
_TOKEN = r"[a-zA-Z0-9]{1,256}(-*[a-zA-Z0-9]){0,256}"  # noqa: S105 -- a pattern
_ROLE = r"arn:aws(-[^:]+)?:iam::([0-9]{12})?:role/.+"
_S3_URI = r"s3://[a-z0-9][-.a-z0-9]{1,61}[a-z0-9](?:/[-!_*'().a-z0-9A-Z]+(?:/[-!_*'().a-z0-9A-Z]+)*)?/?"
_ACCOUNT = r"[0-9]{12}"
_ALIAS = r"alias/[a-zA-Z0-9-_/]+"
_KEY_ID = r"[a-zA-Z0-9-]{36}"
_KMS_ARN = rf"arn:aws(-[^:]+)?:kms:[a-zA-Z0-9-]*:[0-9]{{12}}:((key/{_KEY_ID})|({_ALIAS}))"
_KMS_KEY = rf"({_KMS_ARN})|({_KEY_ID})|({_ALIAS})"
_NETWORK_ID = r"[-0-9a-zA-Z]+"
_TAG = r"[a-zA-Z0-9\s._:/=+@-]*"
_HOURS = range(24, 169)


@dataclass(frozen=True, slots=True)
class Asked:
    """A create that passed the synchronous checks; `document` is the request as it came."""

    document: Mapping[str, Any]
    name: str
    model_id: str
    token: str
    converse: bool
    input_uri: str
    output_uri: str
    kms_key: str
    hours: int


def validated(asked: Mapping[str, Any]) -> Asked:
    """The create's parameters; every fault in them is told at once, as AWS does."""
    faults = list(_faults(asked))
    if faults:
        s = "" if len(faults) == 1 else "s"
        raise invalid(f"{len(faults)} validation error{s} detected: {'; '.join(faults)}")
    output = asked["outputDataConfig"]["s3OutputDataConfig"]
    return Asked(
        document=asked,
        name=asked["jobName"],
        model_id=asked["modelId"],
        token=asked.get("clientRequestToken", ""),
        converse=asked.get("modelInvocationType") == "Converse",
        input_uri=asked["inputDataConfig"]["s3InputDataConfig"]["s3Uri"],
        output_uri=output["s3Uri"],
        kms_key=output.get("s3EncryptionKeyId", ""),
        hours=asked.get("timeoutDurationInHours", DEFAULT_HOURS),
    )


def _faults(asked: Mapping[str, Any]) -> Iterator[str]:
    yield from _text(asked, "jobName", NAME, 63, required=True)
    yield from _text(asked, "roleArn", _ROLE, 2_048, required=True)
    yield from _text(asked, "modelId", MODEL_ID, 2_048, required=True)
    yield from _text(asked, "clientRequestToken", _TOKEN, 256)
    yield from _place(asked, "inputDataConfig", "s3InputDataConfig")
    yield from _place(asked, "outputDataConfig", "s3OutputDataConfig")
    yield from _choice(asked, "modelInvocationType", ("InvokeModel", "Converse"))
    hours = asked.get("timeoutDurationInHours", DEFAULT_HOURS)
    if not isinstance(hours, int) or hours not in _HOURS:
        yield _broken("timeoutDurationInHours", hours, "Member must be from 24 to 168")
    yield from _tags(asked.get("tags", []))
    if "vpcConfig" in asked:
        yield from _network(asked["vpcConfig"])


def _place(asked: Mapping[str, Any], name: str, member: str) -> Iterator[str]:
    """A union: exactly one member, and only one is known."""
    config = asked.get(name)
    if not isinstance(config, dict) or list(config) != [member] or not isinstance(config[member], dict):
        yield _broken(name, config, f"Member must have exactly one member, {member}")
        return
    place = config[member]
    yield from _text(place, "s3Uri", _S3_URI, 1_024, required=True)
    yield from _text(place, "s3BucketOwner", _ACCOUNT, 12)
    yield from _text(place, "s3EncryptionKeyId", _KMS_KEY, 2_048)
    yield from _choice(place, "s3InputFormat", ("JSONL",))


def _tags(tags: Any) -> Iterator[str]:
    if not isinstance(tags, list) or len(tags) > 200:
        yield _broken("tags", tags, "Member must have length less than or equal to 200")
        return
    for tag in tags:
        if not isinstance(tag, dict):
            yield _broken("tags", tag, "Member must have a key and a value")
            continue
        yield from _text(tag, "key", _TAG, 128, required=True)
        yield from _text(tag, "value", _TAG, 256, required=True, empty=True)


def _network(config: Any) -> Iterator[str]:
    for name, most in (("subnetIds", 16), ("securityGroupIds", 5)):
        ids = config.get(name) if isinstance(config, dict) else None
        if not isinstance(ids, list) or not 1 <= len(ids) <= most:
            yield _broken(f"vpcConfig.{name}", ids, f"Member must have length from 1 to {most}")
        elif not all(re.fullmatch(_NETWORK_ID, str(one)) and len(str(one)) <= 32 for one in ids):
            yield _broken(f"vpcConfig.{name}", ids, f"Member must satisfy regular expression pattern: {_NETWORK_ID}")


def _choice(asked: Mapping[str, Any], name: str, values: tuple[str, ...]) -> Iterator[str]:
    if name in asked and asked[name] not in values:
        yield _broken(name, asked[name], f"Member must satisfy enum value set: [{', '.join(values)}]")


def _text(
    asked: Mapping[str, Any], name: str, pattern: str, most: int, *, required: bool = False, empty: bool = False
) -> Iterator[str]:
    value = asked.get(name)
    if value is None:
        if required:
            yield _broken(name, None, "Member must not be null")
    elif not isinstance(value, str) or not (value or empty):
        yield _broken(name, value, "Member must have length greater than or equal to 1")
    elif len(value) > most:
        yield _broken(name, value, f"Member must have length less than or equal to {most}")
    elif not re.fullmatch(pattern, value):
        yield _broken(name, value, f"Member must satisfy regular expression pattern: {pattern}")


def _broken(name: str, value: Any, rule: str) -> str:
    return f"Value '{value}' at '{name}' failed to satisfy constraint: {rule}"
