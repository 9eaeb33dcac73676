"""Service Quotas, as far as a Bedrock client asks it about batch limits (PROVIDERS §3.2)."""

from base64 import b64decode, b64encode
from binascii import Error
from collections.abc import Iterator
from typing import Any

from providers.emulator.batches import Batch
from providers.emulator.bedrock_errors import read_object, region_of, unsigned, usual_code
from providers.emulator.faults import Fault
from providers.emulator.wire import Call, Problem, Reply, Route
from providers.emulator.world import Patience, World

_TARGET = "ServiceQuotasV20190624."
_ACCOUNT = "000000000000"
_PAGE = 100
_GB = 1_000_000_000
VARIABLES = {"AWS_ENDPOINT_URL_SERVICE_QUOTAS": "{url}"}
MODELS = ("Claude Haiku 4.5", "Claude Sonnet 4.5", "Nova Lite", "Nova Pro", "Llama 3.3 70B Instruct", "Mistral Large 2")


class Quotas:
    """The quotas of the Bedrock account: six for each of a few models."""

    name = "quotas"

    def __init__(self, world: World) -> None:
        self._world = world

    def routes(self) -> list[Route]:
        return [Route("POST", "/", self._serve)]

    def batches(self) -> list[Batch]:
        return []

    def word(self, batch: Batch, patience: Patience) -> str:  # noqa: ARG002 -- what every service is asked
        raise LookupError("Service Quotas has no batches")

    def claims(self, call: Call) -> bool:
        return "x-amz-target" in call.headers

    def check(self, call: Call) -> Reply | None:
        """The refusal of a call without credentials, or without the right to ask."""
        why = unsigned(call, self._world.settings.bedrock.known_keys)
        if why is None and self._world.settings.bedrock.quotas_denied:
            why = "AccessDeniedException", "The caller is not authorized to perform servicequotas:ListServiceQuotas."
        return None if why is None else _refusal(*why)

    def sorry(self, status: int, fault: Fault) -> Reply:
        """An ordered error, in AWS's words."""
        code = fault.code or ("TooManyRequestsException" if status == 429 else usual_code(status))
        return _refusal(code, fault.message or f"Ordered error {status}.", status)

    def not_found(self, call: Call) -> Reply:
        return _refusal("UnknownOperationException", f"No such operation: {call.headers.get('x-amz-target')}")

    def headers(self) -> dict[str, str]:
        return {"x-amzn-requestid": self._world.new_id(), "content-type": "application/x-amz-json-1.1"}

    def _serve(self, call: Call) -> Reply:
        action = call.headers.get("x-amz-target", "").removeprefix(_TARGET)
        asked = read_object(call)
        listed = list(self._quotas(region_of(call))) if asked.get("ServiceCode") == "bedrock" else []
        if action == "ListServiceQuotas":
            return _page(listed, asked)
        if action == "GetServiceQuota":
            return _one(listed, asked)
        raise Problem(self.not_found(call))

    def _quotas(self, region: str) -> Iterator[dict[str, Any]]:
        rules = self._world.settings.bedrock
        kinds = (
            ("Minimum number of records per batch inference job for {}", rules.min_records),
            ("Records per input file per batch inference job for {}", rules.file_records),
            ("Records per batch inference job for {}", rules.job_records),
            ("Batch inference input file size (in GB) for {}", rules.file_bytes / _GB),
            ("Batch inference job size (in GB) for {}", rules.job_bytes / _GB),
            ("Sum of in-progress and submitted batch inference jobs using a base model for {}", rules.jobs_per_model),
        )
        for number, (text, value) in enumerate(
            (text.format(model), value) for text, value in kinds for model in MODELS
        ):
            code = f"L-{0xB0000000 + number:08X}"
            yield {
                "ServiceCode": "bedrock",
                "ServiceName": "Amazon Bedrock",
                "QuotaArn": f"arn:aws:servicequotas:{region}:{_ACCOUNT}:bedrock/{code}",
                "QuotaCode": code,
                "QuotaName": text,
                "Value": float(value if value is not None else 1_000_000),
                "Unit": "None",
                "Adjustable": False,
                "GlobalQuota": False,
                "QuotaAppliedAtLevel": "ACCOUNT",
            }


def _page(listed: list[dict[str, Any]], asked: dict[str, Any]) -> Reply:
    size = asked.get("MaxResults", _PAGE)
    if not isinstance(size, int) or not 1 <= size <= _PAGE:
        raise Problem(_refusal("IllegalArgumentException", "MaxResults must be from 1 to 100."))
    start = _start(asked.get("NextToken"))
    more = {"NextToken": b64encode(str(start + size).encode()).decode()} if start + size < len(listed) else {}
    return Reply(document={"Quotas": listed[start : start + size], **more})


def _start(token: Any) -> int:
    try:
        return int(b64decode(token)) if token else 0
    except (Error, ValueError, TypeError):
        raise Problem(_refusal("InvalidPaginationTokenException", "NextToken is not of this listing.")) from None


def _one(listed: list[dict[str, Any]], asked: dict[str, Any]) -> Reply:
    for quota in listed:
        if quota["QuotaCode"] == asked.get("QuotaCode"):
            return Reply(document={"Quota": quota})
    raise Problem(_refusal("NoSuchResourceException", "The request failed because the quota does not exist.", 400))


def _refusal(code: str, message: str, status: int = 400) -> Reply:
    """The JSON protocol has the code in the body, and 400 for every fault of the caller."""
    return Reply(status, {"__type": code, "Message": message, "message": message})
