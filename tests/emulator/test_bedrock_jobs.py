"""Model invocation jobs from create to output (PROVIDERS §3.3, §3.4)."""

import re
from collections.abc import Callable
from threading import Event
from typing import Any

import pytest
from botocore.exceptions import ClientError

from providers.emulator import Fault
from tests.emulator.aws import Account, claude, converse, deals, records
from tests.emulator.shapes import misfits, raw, reply_shape
from tests.storage.stores import free_port

DAY = 86_400
Accounts = Callable[..., Account]


def test_a_job_is_answered_record_by_record(account: Account) -> None:
    arn = account.create(deals(20), clientRequestToken="night-1")
    account.emulator.advance(600)
    done = account.look(arn)
    answers = {one["recordId"]: one["modelOutput"] for one in account.output(arn)}
    assert (done["status"], done["successRecordCount"], done["clientRequestToken"]) == ("Completed", 20, "night-1")
    assert set(answers) == {f"job-{at}" for at in range(20)}
    assert "risk_score" in answers["job-7"]["content"][0]["text"]


def test_a_job_goes_through_its_words(account: Account) -> None:
    arn, words = account.create(deals(3)), []
    for seconds in (0, 10, 15, 275, 300):
        account.emulator.advance(seconds)
        words.append(account.status(arn))
    assert words == ["Submitted", "Validating", "Scheduled", "InProgress", "Completed"]


def test_counts_are_0_until_the_job_is_validated(account: Account) -> None:
    arn = account.create(deals(10))
    account.emulator.advance(20)
    early = account.look(arn)
    account.emulator.advance(300)
    running = account.look(arn)
    assert (early["status"], early["totalRecordCount"]) == ("Validating", 0)
    assert (running["status"], running["totalRecordCount"]) == ("InProgress", 10)
    assert 0 < running["processedRecordCount"] < 10


def test_a_job_says_when_what_happened(account: Account) -> None:
    arn = account.create(deals(1), timeoutDurationInHours=48)
    account.emulator.advance(600)
    done = account.look(arn)
    assert (done["jobExpirationTime"] - done["submitTime"]).total_seconds() == 2 * DAY
    assert (done["endTime"] - done["submitTime"]).total_seconds() == 600
    assert done["lastModifiedTime"] == done["endTime"]


@pytest.mark.parametrize("seconds", [0, 10, 20, 27, 300, 600])
def test_a_job_is_what_botocore_says_in_every_state(account: Account, seconds: int) -> None:
    tags = [{"key": "team", "value": ""}]
    vpc = {"subnetIds": ["subnet-1"], "securityGroupIds": ["sg-1"]}
    arn = account.create(deals(3), tags=tags, vpcConfig=vpc, clientRequestToken="t-1")
    account.emulator.advance(seconds)
    _, _, job = raw(account.emulator, "GET", f"/model-invocation-job/{arn.rpartition('/')[2]}")
    _, _, listing = raw(account.emulator, "GET", "/model-invocation-jobs")
    assert misfits(reply_shape("bedrock", "GetModelInvocationJob"), job) == []
    assert misfits(reply_shape("bedrock", "ListModelInvocationJobs"), listing) == []
    assert listing["invocationJobSummaries"] == [job]


def test_a_job_is_found_by_its_arn_and_by_its_id(account: Account) -> None:
    arn = account.create(deals(1))
    assert account.look(arn.rpartition("/")[2])["jobArn"] == account.look(arn)["jobArn"] == arn


@pytest.mark.parametrize(
    ("identifier", "code"), [("abcdefghijkl", "ResourceNotFoundException"), ("no-such", "ValidationException")]
)
def test_an_unknown_job_is_not_found(account: Account, identifier: str, code: str) -> None:
    with pytest.raises(ClientError, match=code):
        account.look(identifier)


def test_output_echoes_the_input_in_another_order(account: Account) -> None:
    bodies = [claude(f"deal {at}") for at in range(50)]
    arn = account.create(records(bodies))
    account.emulator.advance(600)
    account.status(arn)
    lines = account.output(arn)
    ids = [int(one["recordId"].removeprefix("job-")) for one in lines]
    assert [one["modelInput"] for one in lines] == [bodies[at] for at in ids]
    assert ids != sorted(ids)


def test_the_manifest_counts_records_and_tokens(account: Account) -> None:
    arn = account.create(records([claude("good"), {"anthropic_version": "bedrock-2023-05-31"}]))
    account.emulator.advance(600)
    account.status(arn)
    manifest, charge = account.manifest(arn), account.emulator.charges[0]
    counts = ("totalRecordCount", "processedRecordCount", "successRecordCount", "errorRecordCount")
    assert [manifest[name] for name in counts] == [2, 2, 1, 1]
    assert (manifest["inputTokenCount"], manifest["outputTokenCount"]) == (charge.input_tokens, charge.output_tokens)


def test_some_manifests_count_no_tokens(account_of: Accounts) -> None:
    account = account_of(manifest_tokens=False)
    arn = account.create(deals(1))
    account.emulator.advance(600)
    account.status(arn)
    assert "inputTokenCount" not in account.manifest(arn)


def test_every_input_file_has_its_output_file(account: Account) -> None:
    account.upload(records([claude("a")], "a"), "in/a.jsonl")
    account.upload(records([claude("b")], "b"), "in/deep/b.jsonl")
    account.upload(b"no records", "in/readme.txt")
    arn = account.create(inputDataConfig={"s3InputDataConfig": {"s3Uri": account.uri("in/")}})
    account.emulator.advance(600)
    assert account.look(arn)["totalRecordCount"] == 2
    assert account.keys(arn) == ["a.jsonl.out", "deep/b.jsonl.out", "manifest.json.out"]
    assert [one["recordId"] for one in account.output(arn, "deep/b.jsonl.out")] == ["b-0"]


def test_output_may_be_flat(account_of: Accounts) -> None:
    account = account_of(nested_output=False)
    account.upload(deals(1), "in/deep/b.jsonl")
    arn = account.create(inputDataConfig={"s3InputDataConfig": {"s3Uri": account.uri("in")}})
    account.emulator.advance(600)
    account.status(arn)
    assert account.keys(arn) == ["b.jsonl.out", "manifest.json.out"]


def test_a_record_without_an_id_gets_one(account: Account) -> None:
    (record_id,) = account.done(b'{"modelInput": {}}\n')
    assert re.fullmatch("[A-Z0-9]{11}", record_id)


def test_output_is_sealed_with_the_key_asked_for(account: Account) -> None:
    key = "arn:aws:kms:us-east-1:000000000000:key/" + "a" * 36
    output = {"s3Uri": account.uri("out"), "s3EncryptionKeyId": key}
    arn = account.create(deals(1), outputDataConfig={"s3OutputDataConfig": output})
    account.emulator.advance(600)
    account.status(arn)
    name = f"{account.folder}/out/{arn.rpartition('/')[2]}/in.jsonl.out"
    assert account.s3.head_object(Bucket="batchjobs-tests", Key=name)["SSEKMSKeyId"] == key


def failed(account: Account, content: bytes | None, **more: Any) -> str:
    """The message of a job that fails its validation."""
    arn = account.create(content, **more)
    account.emulator.advance(20)
    assert account.status(arn) == "Validating"
    account.emulator.advance(10)
    job = account.look(arn)
    assert (job["status"], job["totalRecordCount"], account.keys(arn)) == ("Failed", 0, [])
    assert account.emulator.charges == []
    return str(job["message"])


def test_too_few_records_fail_the_job(account_of: Accounts) -> None:
    message = failed(account_of(min_records=100), deals(99))
    assert message == "The job has 99 records, fewer than the required minimum of 100."


@pytest.mark.parametrize("limit", ["file_records", "job_records", "file_bytes", "job_bytes"])
def test_too_much_input_fails_the_job(account_of: Accounts, limit: str) -> None:
    assert re.search(r"more than|may have", failed(account_of(**{limit: 2}), deals(3)))


@pytest.mark.parametrize("line", [b"not json", b"[]", b'{"recordId": "a"}', b'{"recordId": 1, "modelInput": {}}'])
def test_a_line_that_is_no_record_fails_the_job(account: Account, line: bytes) -> None:
    assert "in.jsonl, line 2" in failed(account, deals(1) + line + b"\n")


def test_absent_input_fails_the_job(account: Account) -> None:
    assert "No input file" in failed(account, None)


def test_an_absent_bucket_fails_the_job(account: Account) -> None:
    elsewhere = {"s3OutputDataConfig": {"s3Uri": "s3://no-such-bucket/out"}}
    assert "no-such-bucket" in failed(account, deals(1), outputDataConfig=elsewhere)


def test_only_the_records_of_a_wrong_body_fail_not_the_job(account: Account) -> None:
    answers = account.done(records([claude("good"), {"bad": 1}]))
    assert answers["job-0"]["modelOutput"]["stop_reason"] == "end_turn"
    assert answers["job-1"]["error"]["errorCode"] == 400
    assert "modelOutput" not in answers["job-1"]


def test_a_stopped_job_has_what_was_done_and_charges_it(account: Account) -> None:
    arn = account.create(deals(10))
    account.emulator.advance(300)
    assert account.jobs.stop_model_invocation_job(jobIdentifier=arn)["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert account.status(arn) == "Stopping"
    account.emulator.advance(600)
    job = account.look(arn)
    done = {one["recordId"] for one in account.output(arn)}
    assert (job["status"], job["processedRecordCount"], len(done)) == ("Stopped", 5, 5)
    assert {one.custom_id for one in account.emulator.charges} == done
    assert account.manifest(arn)["processedRecordCount"] == 5


def test_a_job_stopped_before_it_began_leaves_nothing(account: Account) -> None:
    arn = account.create(deals(3))
    account.jobs.stop_model_invocation_job(jobIdentifier=arn)
    account.emulator.advance(600)
    assert (account.status(arn), account.keys(arn), account.emulator.charges) == ("Stopped", [], [])


def test_stopping_twice_is_stopping_once(account: Account) -> None:
    arn = account.create(deals(3))
    for _ in range(2):
        account.jobs.stop_model_invocation_job(jobIdentifier=arn)
        account.emulator.advance(500)
    assert account.status(arn) == "Stopped"


@pytest.mark.parametrize("code", ["ValidationException", "ConflictException"])
def test_a_job_that_has_ended_cannot_be_stopped(account_of: Accounts, code: str) -> None:
    account = account_of(stop_error=code)
    arn = account.create(deals(1))
    account.emulator.advance(600)
    with pytest.raises(ClientError) as refused:
        account.jobs.stop_model_invocation_job(jobIdentifier=arn)
    assert refused.value.response["Error"]["Code"] == code
    assert account.status(arn) == "Completed"


def test_a_job_that_runs_out_of_time_is_partially_completed(account_of: Accounts) -> None:
    account = account_of([Fault(action="expire", fraction=0.3)])
    arn = account.create(deals(10))
    account.emulator.advance(DAY - 1)
    assert account.status(arn) == "InProgress"
    account.emulator.advance(1)
    assert (account.status(arn), len(account.output(arn)), len(account.emulator.charges)) == (
        "PartiallyCompleted",
        3,
        3,
    )
    assert account.manifest(arn)["totalRecordCount"] == 10


def test_a_job_that_never_began_expires_without_output(account_of: Accounts) -> None:
    account = account_of([Fault(action="expire", fraction=0)])
    arn = account.create(deals(10))
    account.emulator.advance(DAY)
    assert (account.status(arn), account.keys(arn), account.emulator.charges) == ("Expired", [], [])


def test_the_timeout_is_what_was_asked_for(account_of: Accounts) -> None:
    account = account_of(settings={"batch_seconds": 4 * DAY})
    short, long = account.create(deals(8)), account.create(timeoutDurationInHours=168)
    account.emulator.advance(4 * DAY)
    assert (account.status(short), account.status(long)) == ("PartiallyCompleted", "Completed")


def test_records_that_never_ran_may_be_listed_as_expired(account_of: Accounts) -> None:
    account = account_of([Fault(action="expire", fraction=0.3)], unprocessed_listed=True)
    arn = account.create(deals(10))
    account.emulator.advance(DAY)
    account.status(arn)
    late = [one["error"] for one in account.output(arn) if "error" in one]
    assert (len(late), {(one["expired"], one["retryable"]) for one in late}) == (7, {(True, True)})
    assert account.manifest(arn)["processedRecordCount"] == 3


def test_nothing_is_in_s3_before_the_end(account: Account) -> None:
    arn = account.create(deals(10))
    account.emulator.advance(300)
    assert (account.status(arn), account.keys(arn)) == ("InProgress", [])


def test_results_in_the_making_are_not_completed(account_of: Accounts) -> None:
    account = account_of(settings={"patience_seconds": 0.01})
    busy = Event()
    account.emulator._world.worker.submit(busy.wait)
    ended, stopped = account.create(deals(3)), account.create()
    account.emulator.advance(300)
    account.jobs.stop_model_invocation_job(jobIdentifier=stopped)
    account.emulator.advance(600)
    assert [account.status(one) for one in (ended, stopped)] == ["InProgress", "Stopping"]
    busy.set()
    assert len(account.emulator.charges) == 4
    assert [account.status(one) for one in (ended, stopped)] == ["Completed", "Stopped"]


def test_a_job_whose_output_cannot_be_written_has_not_ended(account: Account) -> None:
    arn = account.create(deals(3))
    account.emulator.advance(600)
    account.emulator.s3_endpoint = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(ClientError, match="InternalServerException"):
        account.look(arn)
    account.emulator.s3_endpoint = account.s3_endpoint
    assert (account.status(arn), len(account.output(arn))) == ("Completed", 3)


def test_without_an_s3_server_jobs_fail(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)
    account.emulator.s3_endpoint = None
    assert "No S3 server was given" in failed(account, deals(1))


def test_the_s3_server_may_be_named_by_the_environment(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", account.s3_endpoint)
    account.emulator.s3_endpoint = None
    assert "modelOutput" in account.done(deals(1))["job-0"]


def test_output_can_grow_while_the_job_is_in_progress(account_of: Accounts) -> None:
    account = account_of([Fault(action="early_output")])
    arn = account.create(deals(10))
    account.emulator.advance(300)
    account.status(arn)
    assert (account.keys(arn), len(account.output(arn))) == (["in.jsonl.out"], 5)
    account.emulator.advance(300)
    assert (account.status(arn), len(account.output(arn))) == ("Completed", 10)


def test_a_converse_job_answers_in_converse_words(account: Account) -> None:
    answer = account.done(records([converse("a deal")]), modelInvocationType="Converse")["job-0"]["modelOutput"]
    assert misfits(reply_shape("bedrock-runtime", "Converse"), answer) == []


def test_the_charge_book_names_the_records_of_a_job(account: Account) -> None:
    arn = account.create(deals(3), clientRequestToken="t-1", tags=[{"key": "team", "value": "a"}])
    account.emulator.advance(600)
    account.status(arn)
    charge, record = account.emulator.charges[0], account.emulator.batches[0]
    assert (charge.provider, charge.batch_id, charge.synchronous) == ("bedrock", arn.rpartition("/")[2], False)
    assert (charge.label["clientRequestToken"], charge.label["team"]) == ("t-1", "a")
    assert (record.status, record.requests, record.custom_id_prefix) == ("Completed", 3, "job-")
