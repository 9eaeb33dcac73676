"""llm-batch-inference, a stateless wrapper: one call that packs and sends, one that collects, all in memory.

It keeps nothing on the disk, validates nothing, knows no key, no twin and no shard, reads no error file, and could not
go on after a crash: the answers are a list. Its input is read and its messages are made here, as the others do.
"""

import asyncio
import json
import os
from pathlib import Path

import lbi.v1 as lbi

from benchmarks.contender import SHARED, Steps, finish_batches, given

MODEL = str(SHARED["model"])
EXTRA = {"response_format": SHARED["response_format"]}


def main() -> None:
    asked, steps = given(), Steps()
    os.environ |= {"OPENAI_BASE_URL": f"{asked.emulator}/v1", "OPENAI_API_KEY": "none"}
    with asyncio.Runner() as runner:
        provider = lbi.create_provider("openai")
        with steps.step("pack and send"):
            batch = runner.run(sent(provider, asked.source))
        finish_batches(asked.emulator)
        with steps.step("collect"):
            results = runner.run(provider.get_results(batch))
    assert all(result.content for result in results)
    steps.print()


async def sent(provider: lbi.BaseBatchProvider, source: Path) -> str:
    """The id of the one batch that it makes of everything."""
    with source.open("rb") as lines:
        requests = [request(json.loads(line)) for line in lines]
    info = await provider.create_batch(requests, MODEL, "short.jsonl")
    return str(info.batch_id)


def request(item: dict[str, str]) -> lbi.BatchRequest:
    messages = [
        lbi.Message(role=lbi.Role.SYSTEM, content="Label it."),
        lbi.Message(role=lbi.Role.USER, content=item["text"]),
    ]
    return lbi.BatchRequest(custom_id=item["id"], messages=messages, max_tokens=50, extra=EXTRA)


if __name__ == "__main__":
    main()
