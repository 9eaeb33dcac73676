"""What can be ordered to go wrong at Bedrock (PROVIDERS §3.5, §3.9, §10)."""

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, HTTPClientError, ReadTimeoutError

from providers.emulator import Fault, Rates
from tests.emulator.aws import Account, claude, deals, records

Accounts = Callable[..., Account]
CREATE = "POST /model-invocation-job"
LOOK = "GET /model-invocation-job/*"


@pytest.mark.parametrize(
    ("fault", "code", "status"),
    [
        ({"status": 429}, "ThrottlingException", 429),
        ({"status": 500}, "InternalServerException", 500),
        ({"status": 503}, "ServiceUnavailableException", 503),
        ({"status": 403}, "AccessDeniedException", 403),
        ({"status": 400, "code": "ServiceQuotaExceededException"}, "ServiceQuotaExceededException", 400),
    ],
)
def test_an_ordered_error_speaks_aws(account_of: Accounts, fault: dict[str, Any], code: str, status: int) -> None:
    account = account_of([Fault(action="status", route=CREATE, **fault)])
    with pytest.raises(ClientError) as refused:
        account.create(deals(1))
    answer = refused.value.response
    assert (answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]) == (code, status)
    assert account.emulator.batches == []
    assert account.create()


@pytest.mark.parametrize("action", ["accept_then_drop", "accept_then_timeout"])
def test_a_create_whose_answer_is_lost_is_found_by_its_token(account_of: Accounts, action: str) -> None:
    account = account_of([Fault(action=action, route=CREATE, seconds=0)])
    account.upload(deals(1))
    request = account.request(clientRequestToken="shard-1")
    with pytest.raises((ConnectionClosedError, HTTPClientError, ReadTimeoutError)):
        account.jobs.create_model_invocation_job(**request)
    (listed,) = account.jobs.list_model_invocation_jobs(nameContains=request["jobName"])["invocationJobSummaries"]
    assert listed["clientRequestToken"] == "shard-1"
    assert account.jobs.create_model_invocation_job(**request)["jobArn"] == listed["jobArn"]
    assert len(account.emulator.batches) == 1


def test_a_create_that_never_arrived_made_no_job(account_of: Accounts) -> None:
    account = account_of([Fault(action="drop_before", route=CREATE)])
    with pytest.raises((ConnectionClosedError, HTTPClientError)):
        account.create(deals(1))
    assert account.emulator.batches == []


def test_a_job_that_lives_may_not_be_found(account_of: Accounts) -> None:
    account = account_of([Fault(action="not_found", route=LOOK)])
    arn = account.create(deals(1))
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        account.look(arn)
    assert account.status(arn) == "Submitted"


def test_a_status_nobody_knows_passes_through_botocore(account_of: Accounts) -> None:
    account = account_of([Fault(action="unknown_status", word="Pondering", times=2)])
    arn = account.create(deals(1))
    assert account.status(arn) == "Pondering"
    assert account.jobs.list_model_invocation_jobs()["invocationJobSummaries"][0]["status"] == "Pondering"


def test_a_read_can_be_stale(account_of: Accounts) -> None:
    account = account_of([Fault(action="stale", seconds=300, nth=2)])
    arn = account.create(deals(10))
    account.emulator.advance(600)
    assert [account.status(arn) for _ in range(3)] == ["Completed", "InProgress", "Completed"]


def test_counts_can_disagree_with_the_output(account_of: Accounts) -> None:
    account = account_of([Fault(action="wrong_counts", count=2, nth=2)])
    arn = account.create(deals(3))
    account.emulator.advance(600)
    assert [account.look(arn)["successRecordCount"] for _ in range(2)] == [3, 5]
    assert len(account.output(arn)) == 3


@pytest.mark.parametrize(("action", "count"), [("missing_lines", 8), ("duplicate_lines", 12), ("stranger_lines", 12)])
def test_output_can_lack_repeat_and_invent_lines(account_of: Accounts, action: str, count: int) -> None:
    account = account_of([Fault(action=action, count=2)])
    arn = account.create(deals(10))
    account.emulator.advance(600)
    assert account.look(arn)["successRecordCount"] == 10
    ids = [one["recordId"] for one in account.output(arn)]
    strangers = [one for one in ids if one.startswith("stranger")]
    assert (len(ids), len(strangers)) == (count, 2 if action == "stranger_lines" else 0)


def test_replies_and_lines_can_have_members_nobody_has_heard_of(account_of: Accounts) -> None:
    account = account_of([Fault(action="unknown_fields", times=0)])
    arn = account.create(deals(1))
    account.emulator.advance(600)
    assert account.status(arn) == "Completed"
    assert "x_new_member" in account.output(arn)[0]


def test_a_new_job_can_be_late_in_listings(account_of: Accounts) -> None:
    account = account_of([Fault(action="list_lag", seconds=120)])
    arn = account.create(deals(1))
    account.emulator.advance(119)
    assert account.jobs.list_model_invocation_jobs()["invocationJobSummaries"] == []
    assert account.look(arn)["jobArn"] == arn
    account.emulator.advance(1)
    assert len(account.jobs.list_model_invocation_jobs()["invocationJobSummaries"]) == 1


def test_a_listing_can_have_a_job_twice(account_of: Accounts) -> None:
    account = account_of([Fault(action="duplicate_listed")])
    account.create(deals(1))
    assert len(account.jobs.list_model_invocation_jobs()["invocationJobSummaries"]) == 2


def test_a_job_can_be_rejected_after_validation(account_of: Accounts) -> None:
    account = account_of([Fault(action="reject", message="The role could not be assumed.")])
    arn = account.create(deals(1))
    account.emulator.advance(30)
    job = account.look(arn)
    assert (job["status"], job["message"]) == ("Failed", "The role could not be assumed.")
    assert account.emulator.charges == []


def test_a_job_can_be_rejected_at_create(account_of: Accounts) -> None:
    account = account_of([Fault(action="reject", at_create=True)])
    with pytest.raises(ClientError, match="ServiceQuotaExceededException"):
        account.create(deals(1))
    assert account.emulator.batches == []


def test_a_job_can_be_slow_or_fail_record_by_record(account_of: Accounts) -> None:
    account = account_of([Fault(action="slow", seconds=3_600), Fault(action="all_fail", kind="transient")])
    arn = account.create(deals(5))
    account.emulator.advance(3_600)
    assert account.status(arn) == "InProgress"
    account.emulator.advance(600)
    job = account.look(arn)
    assert (job["status"], job["errorRecordCount"], account.emulator.charges) == ("Completed", 5, [])


def test_the_nth_job_can_be_chosen(account_of: Accounts) -> None:
    account = account_of([Fault(action="expire", fraction=0, nth=2)])
    arns = [account.create(deals(1)) for _ in range(3)]
    account.emulator.advance(86_400)
    assert [account.status(one) for one in arns] == ["Completed", "Expired", "Completed"]


def test_passing_errors_are_retryable_and_clear_when_the_prompt_comes_again(account_of: Accounts) -> None:
    account = account_of(settings={"rates": Rates(transient=0.5)})
    first = [one["error"] for one in account.done(deals(40)).values() if "error" in one]
    second = [one for one in account.done(deals(40)).values() if "error" in one]
    assert {one["errorCode"] for one in first} <= {429, 500, 503}
    assert {one["retryable"] for one in first} == {True}
    assert second == []


def test_lasting_errors_stay_and_are_not_charged(account_of: Accounts) -> None:
    account = account_of(settings={"rates": Rates(permanent=0.5)})
    answers = [account.done(deals(40)) for _ in range(2)]
    bad = [{name for name, one in some.items() if "error" in one} for some in answers]
    assert bad[0] == bad[1] != set()
    assert {one.custom_id for one in account.emulator.charges} == set(answers[0]) - bad[0]


def test_a_refusal_is_answered_and_charged(account_of: Accounts) -> None:
    account = account_of(settings={"rates": Rates(refused=1)})
    assert account.done(records([claude("a deal")]))["job-0"]["modelOutput"]["stop_reason"] == "refusal"
    assert len(account.emulator.charges) == 1


@pytest.mark.parametrize("framing", ["length", "close"])
def test_botocore_takes_a_listing_cut_on_the_wire_for_an_empty_one(account_of: Accounts, framing: str) -> None:
    account = account_of([Fault(action="cut", after=20, framing=framing, route="GET /model-invocation-jobs")])
    account.create(deals(1))
    assert "invocationJobSummaries" not in account.jobs.list_model_invocation_jobs()
    assert account.jobs.list_model_invocation_jobs()["invocationJobSummaries"]


def test_a_chunked_listing_cut_on_the_wire_is_an_error(account_of: Accounts) -> None:
    account = account_of([Fault(action="cut", after=20, route="GET /model-invocation-jobs")])
    with pytest.raises(ConnectionClosedError):
        account.jobs.list_model_invocation_jobs()
