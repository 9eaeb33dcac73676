"""Model invocation jobs from create to output."""

from tests.emulator.aws import Account, deals


def test_a_job_is_answered_record_by_record(account: Account) -> None:
    arn = account.create(deals(20), clientRequestToken="night-1")
    account.emulator.advance(600)
    done = account.look(arn)
    answers = {one["recordId"]: one["modelOutput"] for one in account.output(arn)}
    assert (done["status"], done["successRecordCount"], done["clientRequestToken"]) == ("Completed", 20, "night-1")
    assert set(answers) == {f"job-{at}" for at in range(20)}
    assert "risk_score" in answers["job-7"]["content"][0]["text"]
