import json

from anthropic import Anthropic
from openai import OpenAI

from providers.emulator import Emulator
from tests.emulator.support import deals, entries, results, submit


def test_an_openai_batch_is_answered_item_by_item(emulator: Emulator, oa: OpenAI) -> None:
    batch = submit(oa, deals(20), metadata={"tag": "night"})
    emulator.advance(600)
    done = oa.batches.retrieve(batch.id)
    answers = {one["custom_id"]: one["response"]["body"] for one in results(oa, done.output_file_id)}
    assert (done.status, done.metadata, done.request_counts.completed) == ("completed", {"tag": "night"}, 20)
    assert set(answers) == {f"job-{index}" for index in range(20)}
    assert "risk_score" in json.loads(answers["job-7"]["choices"][0]["message"]["content"])


def test_an_anthropic_batch_is_answered_item_by_item(emulator: Emulator, an: Anthropic) -> None:
    batch = an.messages.batches.create(requests=entries(20))
    emulator.advance(600)
    answers = {one.custom_id: one.result for one in an.messages.batches.results(batch.id)}
    assert an.messages.batches.retrieve(batch.id).request_counts.succeeded == 20
    assert set(answers) == {f"job-{index}" for index in range(20)}
    assert "risk_score" in json.loads(answers["job-7"].message.content[0].text)


def test_every_answered_item_is_charged_once(emulator: Emulator, oa: OpenAI) -> None:
    batch = submit(oa, deals(20), metadata={"tag": "night"})
    emulator.advance(600)
    charges = emulator.charges
    assert {(one.batch_id, one.label["tag"]) for one in charges} == {(batch.id, "night")}
    assert sorted(one.custom_id for one in charges) == sorted(f"job-{index}" for index in range(20))
    assert emulator.batches[0].custom_id_prefix == "job-"
