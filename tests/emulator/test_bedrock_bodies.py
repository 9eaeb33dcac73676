"""What each family of models is asked and answers, in a job and at once (PROVIDERS §3.1, §3.4, §3.7)."""

import json
from collections.abc import Callable
from typing import Any

import jsonschema
import pytest

from providers.emulator import Rates
from tests.emulator.aws import CLAUDE, Account, claude, converse, records
from tests.emulator.shapes import misfits, reply_shape
from tests.emulator.support import DEAL

Accounts = Callable[..., Account]
NOVA, LLAMA = "amazon.nova-lite-v1:0", "us.meta.llama3-3-70b-instruct-v1:0"
MISTRAL, OLD_MISTRAL = "mistral.pixtral-large-2502-v1:0", "mistral.mistral-large-2407-v1:0"
CUT, CALM = {"rates": Rates(truncated=1)}, {"rates": Rates()}
TOOL = {"name": "deal", "inputSchema": {"json": DEAL}}


def nova(prompt: str, **more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": [{"text": prompt}]}]
    return {"schemaVersion": "messages-v1", "messages": messages, "inferenceConfig": {"maxTokens": 900}, **more}


def chat(prompt: str, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": prompt}], "max_tokens": 900, **more}


def one(account: Account, body: Any, **more: Any) -> dict[str, Any]:
    """The output line of a job with one record."""
    return account.done(records([body]), **more)["job-0"]


def output(account: Account, body: Any, model: str) -> Any:
    return one(account, body, modelId=model)["modelOutput"]


def test_claude_answers_a_message(account: Account) -> None:
    answer, charge = output(account, claude("a deal"), CLAUDE), account.emulator.charges[0]
    jsonschema.validate(json.loads(answer["content"][0]["text"]), DEAL)
    assert (answer["stop_reason"], answer["model"]) == ("end_turn", "claude-haiku-4-5-20251001")
    assert answer["id"].startswith("msg_bdrk_")
    assert answer["usage"] == {
        "input_tokens": charge.input_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": charge.output_tokens,
    }


def test_claude_uses_a_tool(account: Account) -> None:
    tools = [{"name": "deal", "input_schema": DEAL}]
    body = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 900, "tools": tools, **chat("a deal")}
    answer = output(account, body, CLAUDE)
    jsonschema.validate(answer["content"][0]["input"], DEAL)
    assert (answer["stop_reason"], answer["content"][0]["name"]) == ("tool_use", "deal")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"anthropic_version": "2023-06-01"}, "anthropic_version"),
        ({"model": "claude-haiku-4-5"}, "model: Extra inputs are not permitted"),
        ({"modelId": CLAUDE}, "modelId: Extra inputs are not permitted"),
        ({"stream": False}, "stream: Extra inputs are not permitted"),
        ({"colour": "red"}, "colour: Extra inputs are not permitted"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}}, "additionalProperties"),
    ],
)
def test_a_wrong_body_for_claude_is_an_error_for_good(account: Account, change: dict[str, Any], words: str) -> None:
    error = one(account, claude("a deal", **change))["error"]
    assert (error["errorCode"], error["retryable"], error["expired"]) == (400, False, False)
    assert words in error["errorMessage"]


def test_claude_demands_its_version(account: Account) -> None:
    body = {key: value for key, value in claude("a deal").items() if key != "anthropic_version"}
    assert one(account, body)["error"]["errorMessage"] == "anthropic_version: Field required"


def test_members_of_the_record_itself_are_not_permitted(account: Account) -> None:
    line = json.dumps({"recordId": "job-0", "modelId": CLAUDE, "modelInput": claude("a deal")}).encode()
    assert "Extra inputs are not permitted" in account.done(line)["job-0"]["error"]["errorMessage"]


def test_nothing_is_cached(account: Account) -> None:
    system = [{"type": "text", "text": "Read deals. " * 500, "cache_control": {"type": "ephemeral"}}]
    usage = output(account, claude("a deal", system=system), CLAUDE)["usage"]
    assert usage["cache_read_input_tokens"] == usage["cache_creation_input_tokens"] == 0
    assert usage["input_tokens"] == account.emulator.charges[0].input_tokens > 1_000


def test_nova_answers_in_its_own_words(account: Account) -> None:
    answer, charge = output(account, nova("a deal"), NOVA), account.emulator.charges[0]
    usage = answer["usage"]
    assert (answer["stopReason"], answer["output"]["message"]["role"]) == ("end_turn", "assistant")
    assert (usage["inputTokens"], usage["outputTokens"]) == (charge.input_tokens, charge.output_tokens)
    assert usage["cacheReadInputTokenCount"] == 0


def test_nova_uses_a_tool_under_invoke_model(account: Account) -> None:
    answer = output(account, nova("a deal", toolConfig={"tools": [{"toolSpec": TOOL}]}), NOVA)
    jsonschema.validate(answer["output"]["message"]["content"][0]["toolUse"]["input"], DEAL)
    assert answer["stopReason"] == "tool_use"


def test_llama_generates(account: Account) -> None:
    answer, charge = output(account, {"prompt": "a deal", "max_gen_len": 900}, LLAMA), account.emulator.charges[0]
    assert (answer["stop_reason"], answer["prompt_token_count"]) == ("stop", charge.input_tokens)
    assert answer["generation_token_count"] == charge.output_tokens
    assert answer["generation"]


def test_mistral_completes_a_prompt_without_saying_its_usage(account: Account) -> None:
    answer = output(account, {"prompt": "<s>[INST] a deal [/INST]", "max_tokens": 900}, OLD_MISTRAL)
    assert answer["outputs"][0]["stop_reason"] == "stop"
    assert "usage" not in answer
    assert account.emulator.charges[0].output_tokens > 0


def test_mistral_chats_within_a_schema(account: Account) -> None:
    shape = {"type": "json_schema", "json_schema": {"name": "deal", "schema": DEAL}}
    answer, charge = output(account, chat("a deal", response_format=shape), MISTRAL), account.emulator.charges[0]
    jsonschema.validate(json.loads(answer["choices"][0]["message"]["content"]), DEAL)
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["usage"]["prompt_tokens"] == charge.input_tokens


def test_old_mistrals_stop_in_another_word(account: Account) -> None:
    tools = [{"type": "function", "function": {"name": "deal", "parameters": DEAL}}]
    (choice,) = output(account, chat("a deal", tools=tools), OLD_MISTRAL)["choices"]
    jsonschema.validate(json.loads(choice["message"]["tool_calls"][0]["function"]["arguments"]), DEAL)
    assert choice["stop_reason"] == "tool_calls"


@pytest.mark.parametrize(
    ("model", "body", "reason"),
    [
        (CLAUDE, claude("a deal"), lambda answer: answer["stop_reason"]),
        (NOVA, nova("a deal"), lambda answer: answer["stopReason"]),
        (LLAMA, {"prompt": "a deal"}, lambda answer: answer["stop_reason"]),
        (OLD_MISTRAL, {"prompt": "a deal", "max_tokens": 9}, lambda answer: answer["outputs"][0]["stop_reason"]),
        (MISTRAL, chat("a deal"), lambda answer: answer["choices"][0]["finish_reason"]),
    ],
    ids=["claude", "nova", "llama", "mistral-text", "mistral-chat"],
)
def test_a_cut_answer_says_so(account_of: Accounts, model: str, body: Any, reason: Callable[[Any], str]) -> None:
    account = account_of(settings=CUT)
    assert reason(output(account, body, model)) in {"max_tokens", "length"}


def test_converse_answers_within_a_schema_whichever_the_model(account: Account) -> None:
    for model in (CLAUDE, MISTRAL):
        answer = one(account, converse("a deal"), modelId=model, modelInvocationType="Converse")["modelOutput"]
        jsonschema.validate(json.loads(answer["output"]["message"]["content"][0]["text"]), DEAL)
        assert misfits(reply_shape("bedrock-runtime", "Converse"), answer) == []
        assert answer["stopReason"] == "end_turn"


def test_a_model_without_structured_output_says_so(account_of: Accounts) -> None:
    refused = one(account_of(), converse("a deal"), modelId=NOVA, modelInvocationType="Converse")
    taken = one(
        account_of(structured=frozenset({"nova"})), converse("a deal"), modelId=NOVA, modelInvocationType="Converse"
    )
    assert "outputConfig.textFormat" in refused["error"]["errorMessage"]
    assert "modelOutput" in taken


def test_tools_in_a_converse_job_fail_unless_the_model_can(account_of: Accounts) -> None:
    body = converse("a deal", outputConfig={}, toolConfig={"tools": [{"toolSpec": TOOL}]})
    refused = one(account_of(), body, modelInvocationType="Converse")
    taken = one(account_of(tools_in_converse=True), body, modelInvocationType="Converse")["modelOutput"]
    assert refused["error"]["errorCode"] == 400
    assert taken["stopReason"] == "tool_use"
    assert misfits(reply_shape("bedrock-runtime", "Converse"), taken) == []


@pytest.mark.parametrize(
    "change",
    [
        {"modelId": CLAUDE},
        {"messages": []},
        {"messages": "hello"},
        {"messages": [{"role": "system", "content": [{"text": "a"}]}]},
        {"messages": [{"role": "user", "content": "a"}]},
        {"inferenceConfig": []},
        {"inferenceConfig": {"max_tokens": 5}},
        {"inferenceConfig": {"maxTokens": 0}},
        {"outputConfig": {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": {"schema": DEAL}}}}},
        {"outputConfig": {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": {"schema": "{"}}}}},
    ],
    ids=str,
)
def test_a_wrong_converse_body_is_an_error_for_good(account: Account, change: dict[str, Any]) -> None:
    error = one(account, converse("a deal", **change), modelInvocationType="Converse")["error"]
    assert (error["errorCode"], error["retryable"]) == (400, False)


@pytest.mark.parametrize(
    ("model", "body"),
    [
        (NOVA, claude("a deal")),
        (NOVA, {"messages": [1]}),
        (LLAMA, chat("a deal")),
        (LLAMA, {"prompt": "a", "max_gen_len": "many"}),
        (MISTRAL, {"prompt": 5}),
        (MISTRAL, chat("a deal", tools=[5])),
        (MISTRAL, chat("a deal", response_format={"type": "json_schema"})),
    ],
    ids=str,
)
def test_the_body_of_another_family_is_an_error(account: Account, model: str, body: Any) -> None:
    assert one(account, body, modelId=model)["error"]["errorCode"] == 400


def test_the_same_prompt_gets_the_same_answer(account: Account) -> None:
    first, second = (output(account, claude("a deal"), CLAUDE) for _ in range(2))
    other = output(account, claude("another deal"), CLAUDE)
    assert first == second != other
    assert account.emulator.charges[0].prompt_hash == account.emulator.charges[1].prompt_hash
