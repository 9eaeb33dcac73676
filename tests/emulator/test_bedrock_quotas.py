"""Service Quotas, where a client reads its real limits (PROVIDERS §3.2)."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from providers.emulator import Fault
from tests.emulator.aws import Account, client_of
from tests.emulator.shapes import misfits, raw, reply_shape

Accounts = Callable[..., Account]
TARGET = {"x-amz-target": "ServiceQuotasV20190624.ListServiceQuotas", "content-type": "application/x-amz-json-1.1"}


@pytest.fixture
def quotas_of(clients: list[Any]) -> Callable[[Account], Any]:
    def client(account: Account) -> Any:
        clients.append(client_of("service-quotas", account.emulator.url))
        return clients[-1]

    return client


@pytest.fixture
def quotas(account: Account, quotas_of: Callable[[Account], Any]) -> Iterator[Any]:
    return quotas_of(account)


def test_the_limits_of_a_model_can_be_read_by_name(account_of: Accounts, quotas_of: Callable[[Account], Any]) -> None:
    client = quotas_of(account_of(min_records=7, jobs_per_model=3))
    pages = client.get_paginator("list_service_quotas").paginate(ServiceCode="bedrock")
    found = {one["QuotaName"]: one["Value"] for page in pages for one in page["Quotas"]}
    assert found["Minimum number of records per batch inference job for Claude Haiku 4.5"] == 7
    assert found["Batch inference input file size (in GB) for Nova Lite"] == 1
    assert found["Sum of in-progress and submitted batch inference jobs using a base model for Nova Lite"] == 3


def test_pages_follow_each_other(quotas: Any) -> None:
    whole = quotas.list_service_quotas(ServiceCode="bedrock")["Quotas"]
    pages = quotas.get_paginator("list_service_quotas").paginate(
        ServiceCode="bedrock", PaginationConfig={"PageSize": 10}
    )
    assert [one for page in pages for one in page["Quotas"]] == whole


def test_one_quota_can_be_asked_for_by_its_code(quotas: Any) -> None:
    listed = quotas.list_service_quotas(ServiceCode="bedrock")["Quotas"][5]
    assert quotas.get_service_quota(ServiceCode="bedrock", QuotaCode=listed["QuotaCode"])["Quota"] == listed


def test_an_unknown_quota_is_no_such_resource(quotas: Any) -> None:
    with pytest.raises(quotas.exceptions.NoSuchResourceException):
        quotas.get_service_quota(ServiceCode="bedrock", QuotaCode="L-NONE")


def test_another_service_has_no_quotas_here(quotas: Any) -> None:
    assert quotas.list_service_quotas(ServiceCode="ec2")["Quotas"] == []


def test_asking_may_be_denied(account_of: Accounts, quotas_of: Callable[[Account], Any]) -> None:
    client = quotas_of(account_of(quotas_denied=True))
    with pytest.raises(client.exceptions.AccessDeniedException):
        client.list_service_quotas(ServiceCode="bedrock")


def test_asking_can_be_throttled(account_of: Accounts, quotas_of: Callable[[Account], Any]) -> None:
    client = quotas_of(account_of([Fault(action="status", status=429, route="POST /")]))
    with pytest.raises(client.exceptions.TooManyRequestsException):
        client.list_service_quotas(ServiceCode="bedrock")


def test_a_token_of_another_listing_is_refused(quotas: Any) -> None:
    with pytest.raises(quotas.exceptions.InvalidPaginationTokenException):
        quotas.list_service_quotas(ServiceCode="bedrock", NextToken="abcd")


def test_the_listing_is_what_botocore_says(account: Account) -> None:
    status, _, document = raw(account.emulator, "POST", "/", {"ServiceCode": "bedrock"}, **TARGET)
    assert (status, misfits(reply_shape("service-quotas", "ListServiceQuotas"), document)) == (200, [])
