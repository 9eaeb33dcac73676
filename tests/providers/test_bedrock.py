"""What is Bedrock's alone: tokens that buy once, jobs in S3, its words and its refusals (PROVIDERS §3)."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from providers import bedrock
from providers.contract import OutcomeUnknown, Refused, ShardFile, State, Status, Tag, Unavailable
from providers.emulator import BedrockSettings, Fault, Rates
from tests.providers.bench import DAY_S, JOBS, ROLE, Bench
from tests.providers.kit import BEDROCK, CONVERSE

pytestmark = pytest.mark.contract("the provider's own ways")

Make = Callable[..., Bench]
NAME = re.compile(r"[a-zA-Z0-9]{1,63}(-*[a-zA-Z0-9\+\-\.]){0,63}")  # §3.1
TOKEN = re.compile(r"[a-zA-Z0-9]{1,256}(-*[a-zA-Z0-9]){0,256}")


@pytest.fixture(params=[BEDROCK], ids="-".join)
def case(request: pytest.FixtureRequest) -> tuple[str, str]:
    chosen: tuple[str, str] = request.param
    return chosen


@pytest.fixture
def account(make_bench: Make) -> Callable[..., Bench]:
    """An account of its own, with the switches that a test needs."""

    def make(case: tuple[str, str] = BEDROCK, rates: Any = None, **switches: Any) -> Bench:
        settings = BedrockSettings(**{"min_records": 1, "jobs_per_model": None} | switches)
        return make_bench(case, bedrock=settings, **({} if rates is None else {"rates": rates}))

    return make


def refusal(bench: Bench, **how: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        bench.buy(**how)
    return caught.value


def job(bench: Bench, ref: str) -> Any:
    client: Any = bench.provider
    return client.client.get_model_invocation_job(jobIdentifier=ref)


@pytest.mark.contract("one POST per create")
def test_a_purchase_is_one_post_of_one_attempt(bench: Bench) -> None:
    """§0.2: botocore would try three times."""
    bench.buy()
    (post,) = bench.purchases
    assert "attempt=1" in post.headers["amz-sdk-request"]


@pytest.mark.contract("one POST per create")
@pytest.mark.parametrize("code", ["ThrottlingException", "InternalServerException"])
def test_not_even_what_botocore_would_repeat_is_posted_twice(bench: Bench, code: str) -> None:
    bench.fault("status", status=429 if code == "ThrottlingException" else 500, code=code, times=0)
    with pytest.raises((Refused, OutcomeUnknown)):
        bench.buy()
    assert len(bench.purchases) == 1


@pytest.mark.contract("requests arrive as they are")
@pytest.mark.parametrize(("case", "kind"), [(BEDROCK, "InvokeModel"), (CONVERSE, "Converse")])
def test_a_job_says_all_that_was_asked(bench: Bench, kind: str) -> None:
    """§3.1"""
    shard = bench.shard()
    told = job(bench, bench.buy(shard))
    assert (told["modelId"], told["roleArn"], told["modelInvocationType"]) == (shard.model, ROLE, kind)
    assert told["inputDataConfig"]["s3InputDataConfig"]["s3Uri"] == shard.url
    assert told["outputDataConfig"]["s3OutputDataConfig"]["s3Uri"] == shard.output_url


def test_key_and_hours_are_passed_on(bench: Bench) -> None:
    bench.provider = bench.connect(options={"role_arn": ROLE, "kms_key": "alias/night", "timeout_hours": "72"})
    told = job(bench, bench.buy())
    assert told["outputDataConfig"]["s3OutputDataConfig"]["s3EncryptionKeyId"] == "alias/night"
    assert told["timeoutDurationInHours"] == 72


@pytest.mark.parametrize("tag", [Tag("20261120-deal_intel.x-ab12cd34", "1-00001x0a1b2c3d", 12), Tag("-" * 90, "_", 1)])
def test_names_and_tokens_keep_to_the_patterns(tag: Tag) -> None:
    """§3.1: botocore checks neither."""
    names = bedrock._names(ShardFile(None, "s3://b/k", 1, "m", "p"), tag)  # type: ignore[arg-type]
    assert NAME.fullmatch(names["jobName"])
    assert len(names["jobName"]) <= 63
    assert TOKEN.fullmatch(names["clientRequestToken"])
    assert len(names["clientRequestToken"]) == 64


def test_the_same_tag_buys_once(bench: Bench) -> None:
    """§3.1: the second create is ignored without a word, and the first job comes back."""
    shard = bench.shard()
    assert bench.buy(shard) == bench.buy(shard)
    assert (len(bench.purchases), len(bench.batches)) == (2, 1)


def test_another_send_and_another_store_are_other_purchases(bench: Bench) -> None:
    """Two stores can hold jobs of one name: one's answers must not be written into the other."""
    shard = bench.shard()
    elsewhere = bench.shard(text="Another")
    assert shard.url != elsewhere.url
    refs = {bench.buy(shard), bench.buy(shard, bench.tag(2)), bench.buy(elsewhere)}
    assert len(refs) == 3


def test_a_lost_purchase_may_be_repeated_at_once(bench: Bench) -> None:
    """RELIABILITY §4.1: on Bedrock the token makes it safe."""
    shard = bench.shard()
    bench.fault("accept_then_drop")
    with pytest.raises(OutcomeUnknown):
        bench.buy(shard)
    ref = bench.buy(shard)
    assert [bench.ref_of(batch) for batch in bench.batches] == [ref]


def test_a_token_that_belongs_to_other_work_is_noticed(bench: Bench) -> None:
    """RELIABILITY §4.1: read the job back and compare model and input."""
    shard, taken = bench.shard(), bench.shard(text="Other work")
    names = bedrock._names(shard, bench.tag())
    client: Any = bench.provider
    client.client.create_model_invocation_job(**client._order(taken), **names)
    told = refusal(bench, shard=shard)
    assert (told.kind, told.code) == ("blocked", "token_taken")
    assert bench.find(shard) == []


def test_another_model_under_our_token_is_noticed(bench: Bench) -> None:
    shard = bench.shard()
    client: Any = bench.provider
    order = client._order(shard) | {"modelId": "amazon.nova-lite-v1:0"}
    client.client.create_model_invocation_job(**order, **bedrock._names(shard, bench.tag()))
    assert refusal(bench, shard=shard).code == "token_taken"


def test_a_model_told_as_an_arn_is_the_same_model() -> None:
    arn = "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-3-haiku-20240307-v1:0"
    shard = ShardFile(None, "s3://b/k", 1, "anthropic.claude-3-haiku-20240307-v1:0", "p")  # type: ignore[arg-type]
    told = {"jobArn": f"{JOBS}abcdefghijkl", "submitTime": datetime.now(UTC), "modelId": arn}
    place = {"inputDataConfig": {"s3InputDataConfig": {"s3Uri": "s3://b/k"}}}
    assert bedrock._fits(msgspec.convert(told | place, bedrock._Job), shard)


@pytest.mark.contract("refused told from unknown")
def test_a_job_that_cannot_be_read_back_is_unknown_and_found_later(bench: Bench) -> None:
    shard = bench.shard()
    bench.fault("not_found", bench.batch_route("GET"))
    with pytest.raises(OutcomeUnknown, match="cannot be read back"):
        bench.buy(shard)
    assert [found.ref for found in bench.find(shard)] == [bench.ref_of(bench.batches[0])]


@pytest.mark.contract("refused told from unknown")
def test_a_clash_with_our_own_job_is_our_own_job(bench: Bench) -> None:
    """§3.1: a name that exists fails the create, should the token be forgotten first."""
    shard = bench.shard()
    ref = bench.buy(shard)
    bench.fault("status", status=400, code="ConflictException")
    assert bench.buy(shard) == ref


@pytest.mark.contract("refused told from unknown")
def test_a_clash_that_shows_nothing_is_unknown(bench: Bench) -> None:
    bench.fault("status", status=400, code="ConflictException")
    with pytest.raises(OutcomeUnknown, match="cannot be seen yet"):
        bench.buy()


@pytest.mark.contract("refused told from unknown")
def test_a_clash_whose_list_cannot_be_read_is_unknown(bench: Bench) -> None:
    bench.fault("status", status=400, code="ConflictException")
    bench.fault("status", "GET /model-invocation-jobs", status=403, times=0)
    with pytest.raises(OutcomeUnknown):
        bench.buy()


@pytest.mark.contract("refused told from unknown")
def test_a_clash_with_somebody_elses_name_is_refused(bench: Bench) -> None:
    shard = bench.shard()
    client: Any = bench.provider
    names = bedrock._names(shard, bench.tag())
    client.client.create_model_invocation_job(**client._order(shard), **names | {"clientRequestToken": "theirs"})
    told = refusal(bench, shard=shard)
    assert (told.kind, told.code) == ("never", "ConflictException")


@pytest.mark.contract("refused told from unknown")
@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("ServiceQuotaExceededException", 400, "later"),
        ("ThrottlingException", 429, "later"),
        ("ThrottlingException", 400, "later"),
        ("ValidationException", 400, "never"),
        ("AccessDeniedException", 403, "blocked"),
        ("ExpiredTokenException", 400, "blocked"),
        ("UnrecognizedClientException", 403, "blocked"),
        ("ResourceNotFoundException", 404, "blocked"),
    ],
)
def test_awss_refusals_are_told_by_what_to_do(bench: Bench, code: str, status: int, kind: str) -> None:
    """§3.5: AWS says with one 400 what passes and what never will."""
    bench.fault("status", status=status, code=code)
    told = refusal(bench)
    assert (told.kind, told.code, len(bench.batches)) == (kind, code, 0)


def test_a_full_quota_passes(account: Callable[..., Bench]) -> None:
    """§3.2: 20 jobs for each model and region."""
    bench = account(jobs_per_model=1)
    bench.buy(bench.shard(name="1-00002"), bench.tag(shard="1-00002"))
    assert refusal(bench).kind == "later"


@pytest.mark.parametrize("role", ["", "batch", "arn:aws:iam::1:user/me"])
def test_a_role_that_is_none_is_told_before_anything_is_bought(bench: Bench, role: str) -> None:
    bench.provider = bench.connect(options={"role_arn": role})
    with pytest.raises(Refused, match="bedrock_role_arn") as caught:
        bench.provider.stage(bench.shard())
    assert (caught.value.kind, bench.requests) == ("blocked", [])


@pytest.mark.parametrize(
    "url", ["file:///store/jobs/x.jsonl", "s3://Bad/x", "s3://bucket/dt=2026/x.jsonl", "s3://b-c/" + "x" * 1100]
)
def test_a_place_that_aws_cannot_read_is_told_before_anything_is_bought(bench: Bench, url: str) -> None:
    """§3.1: no = or : in keys, at most 1,024 characters."""
    shard = ShardFile(bench.folder, url, 5, "m", "p", "s3://bucket/out/")
    with pytest.raises(Refused, match="place of a shard") as caught:
        bench.provider.stage(shard)
    assert caught.value.kind == "blocked"


def told(word: str, **members: Any) -> Status:
    about = {"jobArn": f"{JOBS}abcdefghijkl", "submitTime": datetime(2026, 11, 20, tzinfo=UTC), "status": word}
    return bedrock.status_of(msgspec.convert(about | members, bedrock._Job))


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("Submitted", State.queued),
        ("Validating", State.queued),
        ("Scheduled", State.queued),
        ("InProgress", State.running),
        ("Stopping", State.stopping),
        ("Completed", State.ended),
        ("PartiallyCompleted", State.ended),
        ("Stopped", State.ended),
        ("Expired", State.ended),
        ("Failed", State.rejected),
    ],
)
def test_each_status_has_its_state(word: str, state: State) -> None:
    """§3.3, §8 (PROVIDERS §3.8)."""
    assert (told(word).state, told(word).warning) == (state, "")


@pytest.mark.contract("every status mapped, unknown ones survived")
def test_an_unknown_status_is_running_with_a_warning() -> None:
    """§8: never terminal."""
    status = told("Dreaming")
    assert status.state is State.running
    assert "unknown status" in status.warning


def test_counts_are_told_once_they_are_known() -> None:
    """§3.3: all are 0 while validating."""
    nothing = told("Validating", totalRecordCount=0, processedRecordCount=0, errorRecordCount=0)
    assert (nothing.total, nothing.done, nothing.failed) == (None, None, None)
    counted = told("Completed", totalRecordCount=9, processedRecordCount=8, errorRecordCount=2)
    assert (counted.total, counted.done, counted.failed) == (9, 8, 2)


def test_a_failed_job_says_why_and_one_that_had_begun_is_read() -> None:
    """PROVIDERS §3.9"""
    failed = told("Failed", message="The role cannot read the bucket.", totalRecordCount=0)
    assert (failed.state, failed.code, failed.message) == (State.rejected, "failed", "The role cannot read the bucket.")
    begun = told("Failed", totalRecordCount=9, processedRecordCount=4)
    assert (begun.state, begun.done) == (State.ended, 4)
    assert "is read" in begun.warning


def test_too_few_records_reject_the_job(account: Callable[..., Bench]) -> None:
    """§3.2, §3.9: told only after a while, in the job's message."""
    bench = account(min_records=100)
    status = bench.provider.status(bench.finished())
    assert (status.state, "minimum" in status.message) == (State.rejected, True)


def test_a_rejected_job_gives_its_own_document(bench: Bench) -> None:
    bench.fault("reject", code="invalid")
    files = bench.files(bench.finished())
    assert list(files) == ["batch"]
    assert json.loads(files["batch"])["status"] == "Failed"


def test_answers_come_with_the_manifest_and_without_the_echo(bench: Bench) -> None:
    """§3.4"""
    files = bench.files(bench.finished(bench.shard(text="Question that is not kept twice")))
    assert list(files) == ["output", "batch"]
    assert b"not kept twice" not in files["output"]
    assert json.loads(files["batch"])["processedRecordCount"] == 5


def test_a_job_that_tells_no_counts_has_those_of_its_manifest(account: Callable[..., Bench]) -> None:
    """§3.4"""
    bench = account(job_counts=False, rates=Rates(permanent=0.5))
    bench.fault("expire", fraction=0.4)
    ref = bench.buy(bench.shard(requests=10))
    assert bench.provider.status(ref).done is None
    bench.emulator.advance(8 * DAY_S)
    status = bench.provider.status(ref)
    assert (status.total, status.done) == (10, 4)
    assert status.failed == bench.outcomes(ref).count("failed") > 0


@pytest.mark.parametrize("manifest", [None, b"", b"[]", b'{"totalRecordCount":"5"}'])
def test_counts_that_nobody_tells_are_not_known(account: Callable[..., Bench], manifest: bytes | None) -> None:
    bench = account(job_counts=False)
    ref = bench.finished()
    bench.provider.status(ref)
    assert bench.store is not None
    (key,) = [key for key in bench.store.keys("jobs/night/bedrock/") if key.endswith(bedrock.MANIFEST)]
    bench.store.delete(key)
    if manifest is not None:
        bench.store.create(key, manifest)
    status = bench.provider.status(ref)
    assert (status.state, status.total, status.done) == (State.ended, None, None)


@pytest.mark.contract("results gone or not there yet")
def test_answers_before_the_end_are_not_read(bench: Bench) -> None:
    """§3.4: files can lie there while the job is in progress."""
    bench.fault("early_output")
    ref = bench.buy(bench.shard(requests=10))
    bench.emulator.advance(300)
    bench.provider.status(ref)
    assert bench.store is not None
    assert any(key.endswith(".jsonl.out") for key in bench.store.keys("jobs/"))
    with pytest.raises(Unavailable, match="has not ended"):
        bench.files(ref)


@pytest.mark.parametrize("listed", [False, True])
def test_an_expired_job_gives_what_was_done(account: Callable[..., Bench], listed: bool) -> None:
    """§3.3: what was processed is charged."""
    bench = account(unprocessed_listed=listed)
    bench.fault("expire", fraction=0.4)
    ref = bench.finished(bench.shard(requests=10))
    bench.emulator.advance(8 * DAY_S)
    status = bench.provider.status(ref)
    assert (status.state, status.word) == (State.ended, "partiallycompleted")
    assert bench.outcomes(ref) == ["expired"] * 6 * listed + ["succeeded"] * 4


@pytest.mark.contract("partial results read")
def test_a_job_that_never_began_has_no_answers(bench: Bench) -> None:
    """§3.3: Expired (PROVIDERS §3.9)."""
    bench.fault("expire", fraction=0.0)
    ref = bench.finished()
    bench.emulator.advance(8 * DAY_S)
    assert (bench.provider.status(ref).word, bench.lines(ref)) == ("expired", [])


@pytest.mark.contract("cancel in every state")
def test_a_stopped_job_gives_what_was_done(bench: Bench) -> None:
    ref = bench.buy(bench.shard(requests=10))
    bench.emulator.advance(300)
    bench.provider.cancel(ref)
    bench.emulator.advance(DAY_S)
    status = bench.provider.status(ref)
    assert status.word == "stopped"
    assert len(bench.lines(ref)) == status.done
    assert 0 < len(bench.lines(ref)) < 10


@pytest.mark.parametrize("code", ["ValidationException", "ConflictException"])
def test_stopping_what_has_ended_is_no_error_however_it_is_told(account: Callable[..., Bench], code: str) -> None:
    """§3.3: the model says the one, a live integration saw the other."""
    bench = account(stop_error=code)
    bench.provider.cancel(bench.finished())


@pytest.mark.contract("cancel in every state")
def test_a_page_instead_of_an_answer_is_no_promise_to_stop(bench: Bench) -> None:
    ref = bench.buy()
    bench.fault("status", bench.cancel_route(), status=200, body="<html>yes</html>", times=0)
    with pytest.raises(Unavailable, match="does not yet"):
        bench.provider.cancel(ref)


@pytest.mark.contract("short download noticed")
def test_answers_that_are_missing_may_still_come(bench: Bench) -> None:
    ref = bench.finished()
    bench.provider.status(ref)
    assert bench.store is not None
    for key in list(bench.store.keys("jobs/night/bedrock/")):
        bench.store.delete(key)
    with pytest.raises(Unavailable, match="no result file") as caught:
        bench.files(ref)
    assert caught.value.kind == "absent"


@pytest.mark.contract("results gone or not there yet")
def test_answers_in_another_store_are_not_looked_for_in_ours(bench: Bench) -> None:
    ref = bench.finished()
    for objects in (None, bench.connect().objects.__class__("s3://elsewhere/x", object())):  # type: ignore[attr-defined]
        with pytest.raises(Unavailable, match="lie in s3://") as caught:
            list(bench.connect(objects=objects).raw(ref))
        assert caught.value.kind == "blocked"


def test_each_way_of_asking_every_family_is_answered(account: Callable[..., Bench]) -> None:
    """§3.4, §3.7: request and answer of each family fit together, through the whole way."""
    models = [
        *("anthropic.claude-3-haiku-20240307-v1:0", "us.anthropic.claude-haiku-4-5-20251001-v1:0"),
        *("us.amazon.nova-lite-v1:0", "mistral.mistral-large-2407-v1:0", "mistral.ministral-3-14b-instruct"),
    ]
    bench = account()
    for number, model in enumerate(models):
        shard = bench.shard(name=f"1-{number:05}", model=model)
        ref = bench.buy(shard, bench.tag(shard=f"1-{number:05}"))
        bench.emulator.advance(DAY_S)
        replies = bench.replies(ref)
        assert [reply.outcome.value for reply in replies] == ["succeeded"] * 5
        assert all(json.loads(reply.text)["mood"] in ("good", "bad") for reply in replies)


@pytest.mark.parametrize("model", ["us.meta.llama3-3-70b-instruct-v1:0", "mistral.mistral-7b-instruct-v0:2"])
def test_a_family_that_is_only_told_the_schema_answers_in_its_shape(bench: Bench, model: str) -> None:
    ref = bench.finished(bench.shard(model=model))
    assert bench.outcomes(ref) == ["succeeded"] * 5


def test_a_thousand_of_one_name_are_all_found(account: Callable[..., Bench]) -> None:
    """RELIABILITY §5, fault 7, and lists that come in pages: a token may be forgotten, a name be given twice."""
    bench = account(token_seconds=0.0, names="none")
    shard = bench.shard()
    refs = {bench.buy(shard) for _ in range(bedrock.PAGE + 1)}
    assert {found.ref for found in bench.find(shard)} == refs
    lists = [one for one in bench.requests if one.path == "/model-invocation-jobs"]
    assert len(lists) == 2


@pytest.mark.contract("forgotten when asked")
def test_forgetting_deletes_nothing_and_waits_for_the_end(bench: Bench) -> None:
    """§3.1: there is no delete; requests and answers lie in our own store."""
    ref = bench.buy()
    with pytest.raises(Unavailable, match="has not ended"):
        bench.provider.forget(ref, "")
    bench.emulator.advance(DAY_S)
    bench.provider.forget(ref, "")
    bench.provider.forget("", "")
    bench.provider.forget(f"{JOBS}000000000000", "")
    assert all(one.method in ("POST", "GET") for one in bench.requests)


@pytest.mark.contract("forgotten when asked")
def test_what_cannot_be_looked_at_is_not_forgotten(bench: Bench) -> None:
    ref = bench.finished()
    bench.emulator.add_fault(Fault(action="status", route=bench.batch_route("GET"), status=500, times=0))
    with pytest.raises(Unavailable):
        bench.provider.forget(ref, "")
