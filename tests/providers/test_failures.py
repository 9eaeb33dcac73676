"""What each exception of the SDKs and their transport means (PROVIDERS §0.1, §1.5, §2.5; RELIABILITY §5)."""

import ssl
from collections.abc import Iterator
from functools import cache
from typing import Any

import anthropic
import anthropic._error_classes as anthropic_errors
import httpx2
import msgspec
import openai
import pytest
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from providers.contract import OutcomeUnknown, Refused, Unavailable
from providers.failures import buying, failure, purchase_error, read_error, reading

pytestmark = pytest.mark.contract("refused told from unknown")

REQUEST = httpx2.Request("POST", "http://127.0.0.1/v1/batches")
SDKS = [openai, anthropic]
each_sdk = pytest.mark.parametrize("sdk", SDKS, ids=["openai", "anthropic"])


def verdict(error: BaseException) -> str:
    """What `create` makes of an exception, in one word."""
    told = purchase_error(error, "Shard s")
    return told.kind if isinstance(told, Refused) else "unknown"


def read_verdict(error: BaseException) -> str:
    """What a read makes of an exception, in one word."""
    told = read_error(error, "Batch b")
    return told.kind if isinstance(told, Unavailable) else type(told).__name__


@cache
def client(sdk: Any) -> Any:
    """A client that is never asked to talk."""
    return (openai.OpenAI if sdk is openai else anthropic.Anthropic)(api_key="k", base_url="http://127.0.0.1")


def answered(sdk: Any, status: int, code: str = "", kind: str = "", message: str = "", **headers: str) -> Exception:
    """The exception an SDK raises for an HTTP error in its provider's own words."""
    if sdk is openai:
        body: Any = {"error": {"message": message, "type": kind or None, "param": None, "code": code or None}}
    else:
        details = {"details": {"error_code": code}} if code else {}
        body = {"type": "error", "error": {"type": kind, "message": message, **details}, "request_id": "req_1"}
    response = httpx2.Response(status, json=body, headers=headers, request=REQUEST)
    error: Exception = client(sdk)._make_status_error_from_response(response)
    return error


def lost(sdk: Any, cause: Exception) -> Exception:
    """The exception an SDK raises when the connection failed."""
    kind = sdk.APITimeoutError if isinstance(cause, httpx2.TimeoutException) else sdk.APIConnectionError
    try:
        raise kind(request=REQUEST) from cause
    except sdk.APIConnectionError as error:
        return error


def subclasses(base: type[BaseException]) -> Iterator[type[BaseException]]:
    for one in base.__subclasses__():
        yield one
        yield from subclasses(one)


@each_sdk
@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (300, "blocked"),
        (301, "blocked"),
        (303, "unknown"),
        (307, "blocked"),
        (400, "never"),
        (401, "blocked"),
        (402, "blocked"),
        (403, "blocked"),
        (404, "blocked"),
        (405, "blocked"),
        (407, "blocked"),
        (408, "unknown"),
        (409, "unknown"),
        (410, "never"),
        (413, "never"),
        (415, "never"),
        (422, "never"),
        (429, "later"),
        (431, "never"),
        (499, "unknown"),
        (500, "unknown"),
        (501, "unknown"),
        (502, "unknown"),
        (503, "unknown"),
        (504, "unknown"),
        (529, "unknown"),
    ],
)
def test_a_refused_purchase_is_told_from_an_unknown_one(sdk: Any, status: int, expected: str) -> None:
    """RELIABILITY §4.1: 4xx other than 408, 409, 429 bought nothing; 499 and 5xx are a gateway's word at best.

    PROVIDERS §1.5
    """
    assert verdict(answered(sdk, status)) == expected


@pytest.mark.parametrize(
    "code",
    [
        "insufficient_quota",
        "billing_hard_limit_reached",
        "billing_not_active",
        "enforced_spend_limit_reached",
        "contract_spend_limit_reached",
        "organization_on_hold",
        "linked_organization_billing_unavailable",
        "linked_organization_spend_limit_reached",
        "cmek_key_disabled",
    ],
)
@each_sdk
@pytest.mark.parametrize("status", [400, 402, 429])
def test_money_and_account_need_a_person(sdk: Any, status: int, code: str) -> None:
    """PROVIDERS §1.3, §2.5: also as a 429, which would otherwise pass by itself."""
    assert verdict(answered(sdk, status, code)) == "blocked"
    assert read_verdict(answered(sdk, status, code)) == "blocked"


def test_a_quota_named_only_by_its_type_needs_a_person() -> None:
    """OpenAI repeats the code as the type; some gateways keep only that."""
    assert verdict(answered(openai, 429, kind="insufficient_quota")) == "blocked"
    assert verdict(answered(anthropic, 400, kind="billing_error")) == "blocked"


@pytest.mark.parametrize(
    "error",
    [
        answered(openai, 400, "token_limit_exceeded"),
        answered(openai, 429, "token_limit_exceeded"),
        answered(openai, 400, message="… error: token_limit_exceeded for deployment"),
    ],
)
def test_a_full_queue_passes(error: Exception) -> None:
    """PROVIDERS §1.2, §6: OpenAI and Azure may say it at create, in the code or only in the message."""
    told = purchase_error(error, "Shard s")
    assert isinstance(told, Refused)
    assert (told.kind, told.code) == ("later", "token_limit_exceeded")


@pytest.mark.parametrize("code", ["ramp_limit_exceeded", ""])
def test_anthropics_rate_limits_pass(code: str) -> None:
    """PROVIDERS §2.5"""
    assert verdict(answered(anthropic, 429, code, "rate_limit_error")) == "later"


# Every class of httpx2: did anything leave?
TRANSPORT = {
    "ConnectError": "later",
    "ConnectTimeout": "later",
    "PoolTimeout": "later",
    "ProxyError": "later",
    "UnsupportedProtocol": "later",
    "CloseError": "unknown",
    "DecodingError": "unknown",
    "LocalProtocolError": "unknown",
    "NetworkError": "unknown",
    "ProtocolError": "unknown",
    "ReadError": "unknown",
    "ReadTimeout": "unknown",
    "RemoteProtocolError": "unknown",
    "RequestError": "unknown",
    "TimeoutException": "unknown",
    "TooManyRedirects": "unknown",
    "TransportError": "unknown",
    "WriteError": "unknown",
    "WriteTimeout": "unknown",
    "HTTPError": "unknown",
    "HTTPStatusError": "unknown",
    "InvalidURL": "unknown",
    "CookieConflict": "unknown",
    "StreamError": "unknown",
    "StreamConsumed": "unknown",
    "StreamClosed": "unknown",
    "ResponseNotRead": "unknown",
    "RequestNotRead": "unknown",
    "SSEError": "unknown",
}


def transport_error(name: str) -> Exception:
    kind = getattr(httpx2, name)
    if name == "HTTPStatusError":
        return httpx2.HTTPStatusError("m", request=REQUEST, response=httpx2.Response(500, request=REQUEST))
    takes_no_words = ("StreamConsumed", "StreamClosed", "ResponseNotRead", "RequestNotRead")
    error: Exception = kind() if name in takes_no_words else kind("words")
    return error


def test_every_exception_of_the_transport_is_in_the_table() -> None:
    defined = {name for name in dir(httpx2) if isinstance(getattr(httpx2, name), type)}
    assert {n for n in defined if issubclass(getattr(httpx2, n), Exception)} == set(TRANSPORT)


@each_sdk
@pytest.mark.parametrize("name", TRANSPORT)
def test_what_never_left_bought_nothing(sdk: Any, name: str) -> None:
    """RELIABILITY §5, fault 5"""
    assert verdict(lost(sdk, transport_error(name))) == TRANSPORT[name]


@pytest.mark.parametrize("name", TRANSPORT)
def test_a_transport_error_while_reading_passes(name: str) -> None:
    """PROVIDERS §0.3: a cut download raises the transport's own exception, not the SDK's."""
    assert read_verdict(transport_error(name)) == "later"


def test_httpx_and_httpx2_are_told_by_name() -> None:
    """PROVIDERS §0.1: `except httpx.ReadError` never fires with the new transport, nor the other way round."""
    older = type("ConnectError", (Exception,), {"__module__": "httpx"})
    assert verdict(lost(openai, older("x"))) == "later"
    assert read_verdict(type("ReadError", (Exception,), {"__module__": "httpx"})("x")) == "later"


@each_sdk
@pytest.mark.parametrize("cause", [ssl.SSLError("x"), ConnectionResetError(), TimeoutError(), OSError("x")])
def test_a_raw_network_error_is_unknown(sdk: Any, cause: Exception) -> None:
    assert verdict(lost(sdk, cause)) == "unknown"
    assert read_verdict(cause) == "later"


# The SDKs' exceptions that stand for no HTTP answer and no connection.
OTHERS = {
    "APIError": "unknown",
    "APIResponseValidationError": "unknown",
    "APIWebhookValidationError": "unknown",
    "APIConnectionError": "unknown",
    "APITimeoutError": "unknown",
    "RetryableError": "unknown",
    "CredentialsError": "blocked",
    "IdentityTokenFileError": "blocked",
    "WorkloadIdentityError": "blocked",
    "SubjectTokenProviderError": "blocked",
    "StreamAlreadyConsumed": "unknown",
    "MutuallyExclusiveAuthError": "unknown",
    "MissingDependencyError": "unknown",
    "LengthFinishReasonError": "unknown",
    "ContentFilterFinishReasonError": "unknown",
    "WebSocketConnectionClosedError": "unknown",
    "WebSocketQueueFullError": "unknown",
    "APIRemovedInV1": "unknown",
    "_AmbiguousModuleClientUsageError": "unknown",
    "ToolsetUsageError": "unknown",
    "ToolsetConfigError": "unknown",
    "ToolsetContractError": "unknown",
    "ToolsetsFixedError": "unknown",
    "ToolsetClosedError": "unknown",
}


def bare(kind: type[BaseException]) -> BaseException:
    """An instance without the constructor's demands."""
    return kind.__new__(kind)


@pytest.mark.parametrize("base", [openai.OpenAIError, anthropic.AnthropicError], ids=["openai", "anthropic"])
def test_every_exception_of_the_sdk_is_in_the_table(base: type[BaseException]) -> None:
    """STYLE §4, habit 16: a class that is new in the SDK must be thought about here."""
    with_status = (openai.APIStatusError, anthropic.APIStatusError)
    others = [kind for kind in subclasses(base) if not issubclass(kind, with_status)]
    assert {kind.__name__ for kind in others} <= set(OTHERS)
    assert {kind.__name__: verdict(bare(kind)) for kind in others} == {k.__name__: OTHERS[k.__name__] for k in others}


@pytest.mark.parametrize("base", [openai.OpenAIError, anthropic.AnthropicError], ids=["openai", "anthropic"])
def test_every_exception_of_the_sdk_means_something_to_a_read(base: type[BaseException]) -> None:
    assert all(isinstance(read_error(bare(kind), "Batch b"), Unavailable) for kind in subclasses(base))


def test_each_of_anthropics_named_errors_is_judged_by_status_and_account() -> None:
    """A hundred codes have classes of their own; none is taken for success, none for unknown below 500."""
    for (status, code), kind in anthropic_errors.ERROR_CLASSES.items():
        error = answered(anthropic, status, code or "", "some_error")
        assert type(error) is kind
        assert (verdict(error) == "unknown") is (status >= 500 or status in (408, 409, 499))


@each_sdk
@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (301, "blocked"),
        (400, "blocked"),
        (401, "blocked"),
        (403, "blocked"),
        (404, "absent"),
        (408, "later"),
        (409, "later"),
        (410, "Gone"),
        (429, "later"),
        (499, "later"),
        (500, "later"),
        (529, "later"),
    ],
)
def test_a_failed_read_says_what_to_do(sdk: Any, status: int, expected: str) -> None:
    """RELIABILITY §5, faults 10 to 12."""
    assert read_verdict(answered(sdk, status)) == expected


def test_an_unreadable_reply_passes_when_read_and_is_unknown_when_bought() -> None:
    error = msgspec.ValidationError("Expected `str`")
    assert read_verdict(error) == "later"
    assert verdict(error) == "unknown"


def test_our_own_mistake_is_unknown_when_bought_and_itself_when_read() -> None:
    assert verdict(KeyError("x")) == "unknown"
    assert failure(KeyError("x")) is None
    with pytest.raises(KeyError), reading("Batch b"):
        raise KeyError("x")


def test_a_block_passes_the_contracts_own_errors_through() -> None:
    told = Unavailable("as it was")
    with pytest.raises(Unavailable, match="as it was"), reading("Batch b"):
        raise told
    with pytest.raises(Refused, match="as it was"), buying("Shard s"):
        raise Refused("as it was", kind="later")


def test_a_keyboard_interrupt_is_not_swallowed() -> None:
    with pytest.raises(KeyboardInterrupt), buying("Shard s"):
        raise KeyboardInterrupt


@each_sdk
def test_the_pause_asked_for_reaches_the_caller(sdk: Any) -> None:
    error = answered(sdk, 429, **{"retry-after": "42"})
    bought, read = purchase_error(error, "Shard s"), read_error(error, "Batch b")
    assert isinstance(bought, Refused)
    assert isinstance(read, Unavailable)
    assert bought.retry_after_s == read.retry_after_s == 42.0


@each_sdk
def test_an_error_text_holds_status_code_and_request_and_nothing_else(sdk: Any) -> None:
    secret = "sk-canary the customer said: never"
    header = "x-request-id" if sdk is openai else "request-id"
    error = answered(sdk, 400, "bad_thing", "invalid_request_error", secret, **{header: "req_77"})
    assert str(purchase_error(error, "Shard j/s/1")) == (
        "Shard j/s/1: the request is refused (HTTP 400 bad_thing, request req_77); nothing was bought."
    )


@each_sdk
def test_codes_that_are_sentences_are_left_out(sdk: Any) -> None:
    text = str(purchase_error(answered(sdk, 400, "the prompt said hello", "also words"), "Shard s"))
    assert "hello" not in text
    assert "words" not in text


def test_the_unknown_is_its_own_kind_of_error() -> None:
    assert not issubclass(OutcomeUnknown, Refused)


# botocore's exceptions: what is raised before a byte has left bought nothing, and mostly needs a person.
AWS = {
    **dict.fromkeys(("EndpointConnectionError", "ConnectTimeoutError", "ProxyConnectionError"), "later"),
    **dict.fromkeys(
        (
            *("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "UnknownCredentialError"),
            *("NoAuthTokenError", "TokenRetrievalError", "UnknownTokenProviderError", "RefreshWithMFAUnsupportedError"),
            *("SSOError", "SSOTokenLoadError", "UnauthorizedSSOTokenError", "LoginError", "LoginRefreshRequired"),
            *("LoginInsufficientPermissions", "LoginTokenLoadError", "LoginAuthorizationCodeError", "ProfileNotFound"),
            *("ConfigParseError", "ConfigNotFound", "InvalidConfigError", "InfiniteLoopConfigError", "NoRegionError"),
            *("InvalidProxiesConfigError", "BaseEndpointResolverError", "EndpointVariantError", "UnknownEndpointError"),
            *("UnknownFIPSEndpointError", "EndpointProviderError", "EndpointResolutionError", "InvalidRegionError"),
            *("UnknownEndpointResolutionBuiltInName", "ParamValidationError"),
        ),
        "blocked",
    ),
}


def aws_answered(status: int, code: str, **headers: str) -> Exception:
    about = {"HTTPStatusCode": status, "HTTPHeaders": headers, "RequestId": "req-77"}
    words = {"Code": code, "Message": "the customer said: never"}
    return ClientError({"Error": words, "ResponseMetadata": about}, "CreateModelInvocationJob")


def test_every_exception_of_botocore_is_judged_and_only_those_in_the_table_bought_nothing_for_sure() -> None:
    """STYLE §4, habit 16. Whatever is new there is unknown until somebody has thought about it."""
    found = {kind.__name__: verdict(bare(kind)) for kind in subclasses(BotoCoreError)}
    assert {name: found[name] for name in AWS} == AWS
    assert {verdict for name, verdict in found.items() if name not in AWS} == {"unknown"}


def test_every_exception_of_botocore_means_something_to_a_read() -> None:
    assert all(isinstance(read_error(bare(kind), "Batch b"), Unavailable) for kind in subclasses(BotoCoreError))
    assert read_verdict(ResponseParserError("x")) == "later"


@pytest.mark.parametrize(
    ("status", "code", "bought", "read"),
    [
        (400, "ValidationException", "never", "blocked"),
        (400, "ServiceQuotaExceededException", "later", "later"),
        (400, "ThrottlingException", "later", "later"),
        (429, "ThrottlingException", "later", "later"),
        (400, "ExpiredTokenException", "blocked", "blocked"),
        (403, "AccessDeniedException", "blocked", "blocked"),
        (404, "ResourceNotFoundException", "blocked", "absent"),
        (408, "ModelTimeoutException", "unknown", "later"),
        (424, "ModelErrorException", "never", "blocked"),
        (500, "InternalServerException", "unknown", "later"),
        (503, "ServiceUnavailableException", "unknown", "later"),
        (0, "", "unknown", "later"),
    ],
)
def test_awss_errors_are_told_apart_by_status_and_code(status: int, code: str, bought: str, read: str) -> None:
    """PROVIDERS §3.5"""
    error = aws_answered(status, code)
    assert (verdict(error), read_verdict(error)) == (bought, read)


def test_an_error_text_of_awss_holds_status_code_and_request_and_nothing_else() -> None:
    error = aws_answered(400, "ValidationException", **{"retry-after": "42"})
    told = purchase_error(error, "Shard j/s/1")
    assert str(told) == (
        "Shard j/s/1: the request is refused (HTTP 400 ValidationException, request req-77); nothing was bought."
    )
    assert isinstance(told, Refused)
    assert told.retry_after_s == 42.0
