"""ListModelInvocationJobs (PROVIDERS §3.1)."""

from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.emulator.aws import Account, deals
from tests.emulator.shapes import raw


def names(account: Account, **query: Any) -> list[str]:
    found = account.jobs.list_model_invocation_jobs(**query)["invocationJobSummaries"]
    return [one["jobName"] for one in found]


@pytest.fixture
def five(account: Account) -> Account:
    """Five jobs, a minute apart."""
    account.upload(deals(1))
    for at in range(5):
        account.create(jobName=f"night-{at}", clientRequestToken=f"token-{at}")
        account.emulator.advance(60)
    return account


def test_the_newest_come_first(five: Account) -> None:
    assert names(five) == [f"night-{at}" for at in (4, 3, 2, 1, 0)]
    assert names(five, sortBy="CreationTime", sortOrder="Ascending")[0] == "night-0"


def test_summaries_carry_tokens_statuses_and_counts(five: Account) -> None:
    five.emulator.advance(600)
    newest = five.jobs.list_model_invocation_jobs()["invocationJobSummaries"][0]
    assert (newest["clientRequestToken"], newest["status"], newest["successRecordCount"]) == ("token-4", "Completed", 1)


def test_pages_follow_each_other(five: Account) -> None:
    pages = five.jobs.get_paginator("list_model_invocation_jobs").paginate(PaginationConfig={"PageSize": 2})
    found = [[one["jobName"] for one in page["invocationJobSummaries"]] for page in pages]
    assert found == [["night-4", "night-3"], ["night-2", "night-1"], ["night-0"]]


def test_a_page_goes_on_after_its_last_job_though_new_ones_came(five: Account) -> None:
    first = five.jobs.list_model_invocation_jobs(maxResults=2)
    five.create(jobName="later")
    assert names(five, maxResults=2, nextToken=first["nextToken"]) == ["night-2", "night-1"]


def test_jobs_are_found_by_a_part_of_their_name(five: Account) -> None:
    assert names(five, nameContains="ght-3") == ["night-3"]


def test_jobs_are_found_by_their_status(five: Account) -> None:
    five.emulator.advance(301)
    assert names(five, statusEquals="Completed") == ["night-0"]
    assert names(five, statusEquals="Failed") == []


def test_jobs_are_found_by_when_they_were_submitted(five: Account) -> None:
    began = five.emulator.now - timedelta(seconds=300)
    after, before = began + timedelta(seconds=90), began + timedelta(seconds=210)
    assert names(five, submitTimeAfter=after, submitTimeBefore=before) == ["night-3", "night-2"]


@pytest.mark.parametrize("query", [{"nextToken": "????"}, {"nextToken": "bm9uZQ=="}, {"statusEquals": "Done"}])
def test_a_wrong_listing_is_refused(five: Account, query: dict[str, Any]) -> None:
    with pytest.raises(ClientError, match="ValidationException"):
        names(five, **query)


@pytest.mark.parametrize(
    "query", ["maxResults=0", "maxResults=1001", "submitTimeAfter=noon", "sortOrder=Up", "sortBy=Name"]
)
def test_what_botocore_would_not_ask_is_refused_too(account: Account, query: str) -> None:
    assert raw(account.emulator, "GET", f"/model-invocation-jobs?{query}")[0] == 400
