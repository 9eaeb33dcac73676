"""Clients of AWS services, for the account, region and addresses that the AWS_* variables name."""

import os
from collections.abc import Callable
from typing import Any

from providers.contract import Unavailable
from providers.failures import reading

REGION = ("AWS_DEFAULT_REGION", "AWS_REGION")  # boto3 itself reads only the first
CONNECT_TIMEOUT_S = 10.0


def region() -> str:
    """The region, or "" where the environment names none."""
    return next((value for name in REGION if (value := os.environ.get(name))), "")


def address_variable(service: str) -> str:
    """The variable that can name an address for one service alone."""
    return f"AWS_ENDPOINT_URL_{service.upper().replace('-', '_')}"


def address(service: str) -> str:
    """Where a service is talked to: what the environment says, or AWS in the environment's region."""
    named = os.environ.get(address_variable(service)) or os.environ.get("AWS_ENDPOINT_URL")
    if named:
        return named
    fips = "-fips" if os.environ.get("AWS_USE_FIPS_ENDPOINT", "").lower() == "true" else ""
    top = "amazonaws.com.cn" if region().startswith("cn-") else "amazonaws.com"
    return f"https://{'.'.join(part for part in (f'{_HOSTS.get(service, service)}{fips}', region(), top) if part)}"


def client(service: str, timeout_s: float) -> Any:
    """A client that sends every request once. Raises Unavailable where the environment names no region or no account.

    The address is passed on, so that no configuration file can point elsewhere than `address` says.
    """
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    if not region():
        raise Unavailable(f"There is no AWS region: set {REGION[0]}.", kind="blocked")
    config = Config(
        retries={"mode": "standard", "total_max_attempts": 1},  # botocore's own would buy twice (RELIABILITY E1)
        connect_timeout=min(timeout_s, CONNECT_TIMEOUT_S),
        read_timeout=timeout_s,
    )
    try:
        session = boto3.Session(region_name=region())  # boto3's default one would keep the credentials it saw first
        if session.get_credentials() is None:
            raise Unavailable(
                "There are no AWS credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE.",
                kind="blocked",
            )
        return session.client(service, endpoint_url=address(service), config=config)
    except (BotoCoreError, ValueError) as error:
        text = f"{service} cannot be used ({type(error).__name__}): check the AWS_* variables and the profile."
        raise Unavailable(text, kind="blocked") from None


def told(what: str, ask: Callable[[], Any]) -> dict[str, Any]:
    """botocore's reading of an answer. It stumbles over JSON of another shape in ways of its own."""
    with reading(what):
        try:
            answer = ask()
        except (AttributeError, TypeError, KeyError, IndexError):
            raise Unavailable(f"{what} cannot be read now (an answer of another shape).") from None
    return dict(answer)


_HOSTS = {"service-quotas": "servicequotas"}
