"""How AWS says no: an error code in a header, a message in the body (PROVIDERS §3.5)."""

from typing import Any

from providers.emulator.wire import Call, Problem, Reply
from providers.emulator.world import read_json

STATUSES = {
    "AccessDeniedException": 403,
    "ConflictException": 400,
    "InternalServerException": 500,
    "MissingAuthenticationTokenException": 403,
    "ModelErrorException": 424,
    "ResourceNotFoundException": 404,
    "ServiceQuotaExceededException": 400,
    "ServiceUnavailableException": 503,
    "ThrottlingException": 429,
    "UnrecognizedClientException": 403,
    "ValidationException": 400,
}
_USUAL = {
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    424: "ModelErrorException",
    429: "ThrottlingException",
    503: "ServiceUnavailableException",
}


def refusal(code: str, message: str, status: int = 0) -> Reply:
    """An error reply; `status` by default the code's own."""
    return Reply(status or STATUSES.get(code, 400), {"message": message}, headers={"x-amzn-errortype": code})


def problem(code: str, message: str) -> Problem:
    """To raise."""
    return Problem(refusal(code, message))


def invalid(message: str) -> Problem:
    """A ValidationException, to raise."""
    return problem("ValidationException", message)


def usual_code(status: int) -> str:
    """The error code that goes with an HTTP status."""
    return _USUAL.get(status, "InternalServerException" if status >= 500 else "ValidationException")


def unsigned(call: Call, known: frozenset[str] | None) -> tuple[str, str] | None:
    """Why the call's credentials will not do: an error code and a message. Signatures are not verified."""
    signed = call.headers.get("authorization", "")
    if not signed.removeprefix("Bearer").removeprefix("AWS4-HMAC-SHA256").strip():
        return "MissingAuthenticationTokenException", "Missing Authentication Token"
    if known is not None and _key_id(signed) not in known:
        return "UnrecognizedClientException", "The security token included in the request is invalid."
    return None


def region_of(call: Call) -> str:
    """The region that the call was signed for."""
    scope = call.headers.get("authorization", "").partition("Credential=")[2].partition(",")[0].split("/")
    return scope[2] if len(scope) > 2 else "us-east-1"


def read_object(call: Call) -> dict[str, Any]:
    """The call's JSON object."""
    asked = read_json(call.body.read())
    if not isinstance(asked, dict):
        raise problem("SerializationException", "The request body is not a JSON object.")
    return asked


def _key_id(signed: str) -> str:
    if signed.startswith("Bearer "):
        return signed.removeprefix("Bearer ").strip()
    return signed.partition("Credential=")[2].partition("/")[0]
