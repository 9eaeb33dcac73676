"""How large a Bedrock batch may be for this account, region and model, by AWS's Service Quotas (PROVIDERS §3.2).

A quota says in its name which model it is for, in words for people; which of them are meant is worked out from the id.
"""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import msgspec
from msgspec import Struct

from providers import aws
from providers.contract import Gone, Limits, Measured, Unavailable
from providers.failures import reading
from providers.lines import known

SERVICE = "service-quotas"
TIMEOUT_S = 10.0
PAGES_MAX = 100
PAGE = 100
GB = 1_000_000_000

_FOR = r" for (?P<model>.+)"
_KINDS = {  # the parts of a name that do not tell the model, as AWS writes them
    "least": re.compile(rf"Minimum number of records per batch inference job{_FOR}"),
    "file_records": re.compile(rf"Records per input file per batch inference job{_FOR}"),
    "job_records": re.compile(rf"Records per batch inference job{_FOR}"),
    "file_gb": re.compile(rf"Batch inference input file size \(in GB\){_FOR}"),
    "job_gb": re.compile(rf"Batch inference job size \(in GB\){_FOR}"),
}
_DATE, _VENDORS = re.compile(r"-20\d{6}\b"), frozenset({"anthropic", "amazon", "meta", "mistral", "ai"})


class _Quota(Struct):
    name: str = msgspec.field(default="", name="QuotaName")
    value: float = msgspec.field(default=0.0, name="Value")


class _Page(Struct):
    quotas: list[_Quota] = msgspec.field(name="Quotas")
    token: str | None = msgspec.field(default=None, name="NextToken")


known(_Page)


def measure(limits: Limits, model: str, options: Mapping[str, str]) -> Measured:
    """The limits that AWS tells, else those of the settings `records_min` and `records_max`, else `limits`.

    One unhurried look, buying nothing; whatever goes wrong with it is told in words and is never an error.
    """
    known = configured(limits, options)
    own = {"records_min", "records_max"} & options.keys()
    otherwise = "those of the settings" if own else "those that AWS documents"
    try:
        told = by_quotas(limits, model, dict(_read()))
    except (Unavailable, Gone) as error:
        return Measured(known, f"{otherwise}, because Service Quotas was not read: {error}")
    if told is None:
        return Measured(known, f"{otherwise}, because Service Quotas names none for {model}")
    return Measured(told, "those that Service Quotas names")


def configured(limits: Limits, options: Mapping[str, str]) -> Limits:
    """The limits with what the settings say of them. Pure."""
    least = int(options.get("records_min", limits.requests_min))
    return replace(limits, requests_min=least, requests=max(int(options.get("records_max", limits.requests)), least))


def by_quotas(limits: Limits, model: str, quotas: Mapping[str, float]) -> Limits | None:
    """The limits with what quotas, by name, say of a model; None where they say nothing, or nothing possible. Pure."""
    found: dict[str, int] = {}
    for name, value in quotas.items():
        for kind, pattern in _KINDS.items():
            match = pattern.fullmatch(name)
            if match and _words(match["model"]) == words_of(model):
                found[kind] = int(value * (GB if kind.endswith("_gb") else 1))
    requests = min((found[kind] for kind in ("file_records", "job_records") if kind in found), default=limits.requests)
    size = min((found[kind] for kind in ("file_gb", "job_gb") if kind in found), default=limits.bytes)
    least = found.get("least", limits.requests_min)
    possible = 1 <= least <= requests and size >= limits.line_bytes
    return replace(limits, requests=requests, bytes=size, requests_min=least) if found and possible else None


def words_of(model: str) -> list[str]:
    """What is left of a model's id, or ARN, for its name: no region, vendor, date or first version."""
    name = model.lower().rpartition("/")[2].rpartition(".")[2]
    return _words(_DATE.sub("", re.sub(r":\d+$", "", name)))


def _words(name: str) -> list[str]:
    """Letters and digits apart, in no order: "Claude Haiku 4.5" and "claude-haiku-4-5" have the same."""
    plain = re.sub(r"\W+v1$", "", name.lower())
    return sorted(word for word in re.findall(r"[a-z]+|\d+", plain) if word not in _VENDORS)


def _read() -> Iterator[tuple[str, float]]:
    """Every quota of Bedrock, with its value. Raises Unavailable, Gone."""
    if not _asked_for():
        named = aws.address_variable(SERVICE)
        text = f"{aws.address_variable('bedrock')} points at another server, and {named} names none beside it"
        raise Unavailable(f"{text}.", kind="blocked")
    client = aws.client(SERVICE, TIMEOUT_S)
    asked: dict[str, Any] = {"ServiceCode": "bedrock", "MaxResults": PAGE}
    try:
        for _ in range(PAGES_MAX):
            answer = aws.told("The list of quotas", lambda: client.list_service_quotas(**asked))
            with reading("The list of quotas"):
                page = msgspec.convert(answer, _Page)
            yield from ((quota.name, quota.value) for quota in page.quotas)
            if not page.token:
                return
            asked["NextToken"] = page.token
    finally:
        client.close()


def _asked_for() -> bool:
    """An emulated Bedrock's limits are not those that AWS would tell, nor are its credentials AWS's business."""
    elsewhere = os.environ.get(aws.address_variable("bedrock"))
    return not elsewhere or bool(os.environ.get(aws.address_variable(SERVICE)) or os.environ.get("AWS_ENDPOINT_URL"))
