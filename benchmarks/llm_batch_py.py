"""llm-batch-py, the nearest rival that keeps durable state: a run that packs and sends, one that collects, two more.

It keeps manifests of batches, requests and results as parquet on the disk (no fsync), knows equal requests by a key,
validates answers with pydantic when it gives them out as a frame, and keeps their raw text in its results, not the
provider's lines. Its count of tokens uses a made-up vocabulary here, as its own is downloaded.
"""

import os
from pathlib import Path
from typing import Any

import polars as pl
import tiktoken
from llm_batch_py import BatchConfig, OpenAIConfig, ResultCacheStoreConfig, Runner, StructuredOutputJob
from llm_batch_py import structured_template as template
from pydantic import BaseModel

from benchmarks.contender import Steps, finish_batches, given


class Label(BaseModel):
    """What is asked for."""

    label: str


def without_download() -> None:
    """It counts tokens with a vocabulary from the internet; one of single bytes is counted no slower."""
    bytes_alone = {bytes([byte]): byte for byte in range(256)}
    for name in ("o200k_base", "cl100k_base"):
        words = r"""\p{L}+|\p{N}|[^\p{L}\p{N}]"""
        tiktoken.registry.ENCODINGS[name] = tiktoken.Encoding(
            name, pat_str=words, mergeable_ranks=bytes_alone, special_tokens={}
        )


def main() -> None:
    without_download()
    asked, steps = given(), Steps()
    os.environ |= {"OPENAI_BASE_URL": f"{asked.emulator}/v1", "OPENAI_API_KEY": "none"}
    job = job_of(asked.source, asked.folder)
    with steps.step("pack and send"):
        Runner().run(job)
    finish_batches(asked.emulator)
    with steps.step("collect"):
        Runner().run(job)
    with steps.step("again"):
        Runner().run(job)
    with steps.step("next night"):
        Runner().run(job_of(asked.tomorrow, asked.folder))
    steps.print()


def job_of(source: Path, folder: Path) -> Any:
    return StructuredOutputJob(
        name="short",
        key_cols=["id"],
        input_df=pl.read_ndjson(source),
        prompt_builder=template(system="Label it.", messages="{{ row.text }}", name="label", version="1"),
        output_model=Label,
        provider=OpenAIConfig(model="gpt-4.1-mini"),
        result_cache=ResultCacheStoreConfig(root_uri=str(folder)),
        batch=BatchConfig(batch_size=50_000),
    )


if __name__ == "__main__":
    main()
