"""The runtime's two calls, for what is too little for a job (PROVIDERS §3.2, §3.5)."""

import json
from collections.abc import Callable
from typing import Any

import jsonschema
import pytest
from botocore.exceptions import ClientError

from providers.emulator import Fault, Rates
from tests.emulator.aws import CLAUDE, Account, claude, converse, records
from tests.emulator.shapes import misfits, raw, reply_shape
from tests.emulator.support import DEAL

Accounts = Callable[..., Account]


def invoke(account: Account, body: Any, model: str = CLAUDE) -> Any:
    return json.loads(account.runtime.invoke_model(modelId=model, body=json.dumps(body))["body"].read())


def test_invoke_answers_at_once_and_charges_the_full_price(account: Account) -> None:
    answer, charge = invoke(account, claude("a deal")), account.emulator.charges[0]
    jsonschema.validate(json.loads(answer["content"][0]["text"]), DEAL)
    assert (charge.provider, charge.synchronous, charge.batch_id) == ("bedrock", True, "")
    assert answer["usage"]["input_tokens"] == charge.input_tokens


def test_converse_answers_at_once_and_charges_the_full_price(account: Account) -> None:
    answer = account.runtime.converse(modelId=CLAUDE, **converse("a deal"))
    charge = account.emulator.charges[0]
    jsonschema.validate(json.loads(answer["output"]["message"]["content"][0]["text"]), DEAL)
    assert (charge.synchronous, charge.output_tokens) == (True, answer["usage"]["outputTokens"])


def test_converse_is_what_botocore_says(account: Account) -> None:
    status, _, document = raw(account.emulator, "POST", f"/model/{CLAUDE}/converse", converse("a deal"))
    assert (status, misfits(reply_shape("bedrock-runtime", "Converse"), document)) == (200, [])


def test_a_call_and_a_job_give_the_same_answer_to_the_same_prompt(account: Account) -> None:
    at_once = invoke(account, claude("a deal"))
    batched = account.done(records([claude("a deal")]))["job-0"]["modelOutput"]
    assert at_once == batched
    assert len({one.prompt_hash for one in account.emulator.charges}) == 1


def test_tools_work_with_converse_at_once(account: Account) -> None:
    tools = {"tools": [{"toolSpec": {"name": "deal", "inputSchema": {"json": DEAL}}}]}
    answer = account.runtime.converse(modelId=CLAUDE, **converse("a deal", outputConfig={}, toolConfig=tools))
    jsonschema.validate(answer["output"]["message"]["content"][0]["toolUse"]["input"], DEAL)
    assert answer["stopReason"] == "tool_use"


def test_a_model_can_be_named_by_its_arn(account: Account) -> None:
    arn = f"arn:aws:bedrock:us-east-1:000000000000:inference-profile/{CLAUDE}"
    assert invoke(account, claude("a deal"), arn)["stop_reason"] == "end_turn"


def test_the_headers_count_the_tokens(account: Account) -> None:
    reply = account.runtime.invoke_model(modelId=CLAUDE, body=json.dumps(claude("a deal")))
    headers, charge = reply["ResponseMetadata"]["HTTPHeaders"], account.emulator.charges[0]
    assert headers["x-amzn-bedrock-input-token-count"] == str(charge.input_tokens)
    assert headers["x-amzn-bedrock-output-token-count"] == str(charge.output_tokens)


@pytest.mark.parametrize(("model", "body"), [("acme.best-v1:0", claude("a")), (CLAUDE, {"messages": []}), (CLAUDE, [])])
def test_a_wrong_call_is_refused_and_not_charged(account: Account, model: str, body: Any) -> None:
    with pytest.raises(ClientError, match="ValidationException"):
        invoke(account, body, model)
    assert account.emulator.charges == []


def test_a_passing_error_clears_when_the_call_is_made_again(account_of: Accounts) -> None:
    account = account_of(settings={"rates": Rates(transient=1)})
    with pytest.raises(ClientError) as refused:
        invoke(account, claude("a deal"))
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] in {500, 503}
    assert invoke(account, claude("a deal"))["stop_reason"] == "end_turn"


def test_a_call_can_be_throttled(account_of: Accounts) -> None:
    account = account_of([Fault(action="status", status=429, route="POST /model/*/converse")])
    with pytest.raises(ClientError, match="ThrottlingException"):
        account.runtime.converse(modelId=CLAUDE, **converse("a deal"))
    assert account.runtime.converse(modelId=CLAUDE, **converse("a deal"))["stopReason"] == "end_turn"
