"""What CreateModelInvocationJob takes and refuses (PROVIDERS §3.1, §3.5)."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.emulator.aws import CLAUDE, ROLE, Account, client_of, deals
from tests.emulator.shapes import misfits, model, raw, reply_shape

Accounts = Callable[..., Account]


def refusal(account: Account, **more: Any) -> tuple[str, int]:
    """Error code and HTTP status of a create that is refused; no job is made."""
    before = len(account.emulator.batches)
    with pytest.raises(ClientError) as refused:
        account.create(**more)
    assert len(account.emulator.batches) == before
    answer = refused.value.response
    return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]


def source(uri: str, **more: Any) -> dict[str, Any]:
    return {"inputDataConfig": {"s3InputDataConfig": {"s3Uri": uri, **more}}}


def target(**more: Any) -> dict[str, Any]:
    return {"outputDataConfig": {"s3OutputDataConfig": {"s3Uri": "s3://bucket/out", **more}}}


WRONG: list[dict[str, Any]] = [
    {"jobName": "under_score"},
    {"jobName": "with space"},
    {"jobName": "-first"},
    {"jobName": "x" * 64},
    {"roleArn": "arn:aws:iam::1:role/x"},
    {"modelId": "anthropic claude"},
    {"modelId": "arn:aws:bedrock:us-east-1:000000000000:provisioned-model/abc"},
    {"clientRequestToken": "under_score"},
    {"clientRequestToken": "x" * 257},
    source("s3://bucket/dt=2026-01-01/in.jsonl"),
    source("s3://bucket/a b.jsonl"),
    source("s3://bucket/a//b.jsonl"),
    source("https://bucket/in.jsonl"),
    source("s3://bucket/" + "x" * 1_024),
    source("s3://bucket/in.jsonl", s3InputFormat="CSV"),
    source("s3://bucket/in.jsonl", s3BucketOwner="me"),
    target(s3Uri="s3://bucket/out@home"),
    target(s3EncryptionKeyId="my key"),
    {"modelInvocationType": "Chat"},
    {"tags": [{"key": "a;b", "value": ""}]},
    {"tags": [{"key": "a", "value": "x" * 257}]},
    {"tags": [{"key": f"k{at}", "value": ""} for at in range(201)]},
    {"vpcConfig": {"subnetIds": ["a_b"], "securityGroupIds": ["sg"]}},
    {"vpcConfig": {"subnetIds": ["s"], "securityGroupIds": ["sg"] * 6}},
]


@pytest.mark.parametrize("more", WRONG, ids=lambda more: f"{next(iter(more))}-{str(more)[-30:]}")
def test_what_botocore_lets_pass_is_refused(account: Account, more: dict[str, Any]) -> None:
    assert refusal(account, **more) == ("ValidationException", 400)


@pytest.mark.parametrize(
    "more",
    [
        {"jobName": "a" * 63},
        {"jobName": "night-1.shard+2"},
        {"clientRequestToken": "a-b-c"},
        {"modelId": "anthropic.claude-haiku-4-5-20251001-v1:0"},
        {"modelId": "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0"},
        {"modelId": "arn:aws:bedrock:us-east-1:000000000000:inference-profile/eu.meta.llama3-3-70b-instruct-v1:0"},
        {"modelId": "arn:aws:bedrock:us-east-1:000000000000:application-inference-profile/ours"},
        {"modelId": "arn:aws:bedrock:us-east-1:000000000000:custom-model/amazon.nova-micro-v1:0/abcdefghijkl"},
        {"modelId": "mistral.mistral-large-2407-v1:0"},
        {"timeoutDurationInHours": 24},
        {"timeoutDurationInHours": 168},
    ],
    ids=str,
)
def test_what_the_patterns_allow_is_taken(account_of: Accounts, more: dict[str, Any]) -> None:
    account = account_of(profiles={"ours": CLAUDE})
    arn = account.create(deals(1), **more)
    assert misfits(reply_shape("bedrock", "CreateModelInvocationJob"), {"jobArn": arn}) == []
    assert account.status(arn) == "Submitted"


def test_our_patterns_are_botocores(account: Account) -> None:
    shape = model("bedrock").operation_model("CreateModelInvocationJob").input_shape
    for body in (account.request(), account.request(modelId="us.anthropic.claude-sonnet-4-5-20250929-v1:0")):
        assert misfits(shape, body) == []


@pytest.mark.parametrize(
    "change",
    [
        {"jobName": None},
        {"timeoutDurationInHours": 23},
        {"timeoutDurationInHours": 169},
        {"inputDataConfig": {}},
        {"inputDataConfig": {"s3InputDataConfig": {"s3Uri": "s3://bucket/a"}, "other": {}}},
        {"tags": ["a"]},
        {"tags": 1},
        {"vpcConfig": []},
        {"vpcConfig": {"subnetIds": [1], "securityGroupIds": []}},
    ],
    ids=str,
)
def test_what_botocore_would_not_send_is_refused_too(account: Account, change: dict[str, Any]) -> None:
    status, headers, document = raw(account.emulator, "POST", "/model-invocation-job", account.request(**change))
    assert (status, headers["x-amzn-errortype"]) == (400, "ValidationException")
    assert "validation error" in document["message"]


def test_several_faults_are_told_at_once(account: Account) -> None:
    with pytest.raises(ClientError, match=r"2 validation errors detected: Value 'a_b' at 'jobName' .* at 'roleArn'"):
        account.create(jobName="a_b", roleArn="x")


@pytest.mark.parametrize("model_id", ["anthropic.gpt-4", "acme.best-model-v1:0", "claude", "us.amazon.titan-v1"])
def test_an_unknown_model_is_refused(account: Account, model_id: str) -> None:
    with pytest.raises(ClientError, match="The provided model identifier is invalid"):
        account.create(modelId=model_id)


def test_an_unknown_application_profile_is_refused(account: Account) -> None:
    arn = "arn:aws:bedrock:us-east-1:000000000000:application-inference-profile/theirs"
    assert refusal(account, modelId=arn) == ("ValidationException", 400)


def test_the_same_token_gives_the_same_job_whatever_else_is_asked(account: Account) -> None:
    first = account.create(deals(1), clientRequestToken="shard-1")
    again = account.create(clientRequestToken="shard-1", jobName="other", roleArn=ROLE + "2")
    assert (again, len(account.emulator.batches)) == (first, 1)


def test_a_token_outlives_its_job(account: Account) -> None:
    first = account.create(deals(1), clientRequestToken="shard-1")
    account.emulator.advance(86_400)
    assert account.create(clientRequestToken="shard-1") == first


def test_a_token_may_be_forgotten(account_of: Accounts) -> None:
    account = account_of(token_seconds=600)
    first = account.create(deals(1), clientRequestToken="shard-1")
    account.emulator.advance(599)
    assert account.create(clientRequestToken="shard-1") == first
    account.emulator.advance(1)
    assert account.create(clientRequestToken="shard-1") != first


def test_strict_accounts_refuse_a_token_with_other_parameters(account_of: Accounts) -> None:
    account = account_of(strict_tokens=True)
    first = account.create(deals(1), clientRequestToken="shard-1", jobName="night")
    assert account.create(clientRequestToken="shard-1", jobName="night") == first
    assert refusal(account, clientRequestToken="shard-1", jobName="day") == ("ConflictException", 400)


def test_creates_with_one_token_at_the_same_time_make_one_job(account: Account) -> None:
    account.upload(deals(3))
    with ThreadPoolExecutor(8) as pool:
        arns = pool.map(lambda _: account.create(clientRequestToken="shard-1", jobName="night"), range(8))
    assert (len(set(arns)), len(account.emulator.batches)) == (1, 1)


def test_botocores_own_tokens_differ_so_that_names_clash(account: Account) -> None:
    account.create(deals(1), jobName="night")
    assert refusal(account, jobName="night") == ("ConflictException", 400)


@pytest.mark.parametrize(("names", "free"), [("all", False), ("live", True), ("none", True)])
def test_the_name_of_an_ended_job_may_be_free_again(account_of: Accounts, names: str, free: bool) -> None:
    account = account_of(names=names)
    account.create(deals(1), jobName="night")
    account.emulator.advance(600)
    if free:
        assert account.create(jobName="night")
    else:
        assert refusal(account, jobName="night") == ("ConflictException", 400)


def test_jobs_beyond_the_quota_of_their_model_are_refused(account_of: Accounts) -> None:
    account = account_of(jobs_per_model=2)
    account.create(deals(1))
    account.create(modelId=CLAUDE.removeprefix("us."))
    assert refusal(account) == ("ServiceQuotaExceededException", 400)
    assert account.create(modelId="amazon.nova-lite-v1:0")
    account.emulator.advance(600)
    assert account.create()


def test_jobs_beyond_the_quota_may_wait_instead(account_of: Accounts) -> None:
    account = account_of(jobs_per_model=1, queueing=True)
    arns = [account.create(deals(1)), account.create(), account.create()]
    account.emulator.advance(600)
    assert [account.status(one) for one in arns] == ["Completed", "Scheduled", "Scheduled"]
    account.emulator.advance(600)
    assert [account.status(one) for one in arns] == ["Completed", "Completed", "Scheduled"]


def test_a_job_that_waits_too_long_expires(account_of: Accounts) -> None:
    account = account_of(jobs_per_model=1, queueing=True, settings={"batch_seconds": 100_000})
    account.create(deals(4), timeoutDurationInHours=168)
    second = account.create()
    account.emulator.advance(86_400)
    assert (account.status(second), account.keys(second)) == ("Expired", [])


def test_a_role_that_may_not_be_passed_is_denied(account_of: Accounts) -> None:
    assert refusal(account_of(denied_roles=frozenset({ROLE}))) == ("AccessDeniedException", 403)


def test_a_call_without_a_signature_is_denied(account: Account) -> None:
    status, headers, _ = raw(account.emulator, "GET", "/model-invocation-jobs", authorization="")
    assert (status, headers["x-amzn-errortype"]) == (403, "MissingAuthenticationTokenException")


def test_only_known_access_keys_are_let_in(account_of: Accounts) -> None:
    account = account_of(known_keys=frozenset({"known"}))
    stranger = client_of("bedrock", account.emulator.url)
    friend = client_of("bedrock", account.emulator.url, aws_access_key_id="known")
    with pytest.raises(ClientError, match="UnrecognizedClientException"):
        stranger.list_model_invocation_jobs()
    assert friend.list_model_invocation_jobs()["invocationJobSummaries"] == []
    stranger.close()
    friend.close()


def test_the_arn_is_of_the_region_that_was_signed_for(account: Account) -> None:
    account.upload(deals(1))
    client = client_of("bedrock", account.emulator.url, region_name="eu-west-1")
    assert client.create_model_invocation_job(**account.request())["jobArn"].split(":")[3] == "eu-west-1"
    client.close()
