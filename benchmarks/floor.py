"""The least anybody can do: one pass of the fastest JSON codec over the bytes, and the bytes on the disk (fsync).

It renders nothing, keeps no key, checks no answer, knows no twin and no stranger, talks to nobody, and could not go on
after a crash. Its answers lie in a local file, where the others fetch theirs from the emulator.
"""

import os
from pathlib import Path
from typing import IO, Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.contender import SHARED, Steps, given


def main() -> None:
    asked, steps = given(), Steps()
    asked.folder.mkdir()
    with steps.step("read"):
        read(asked.source)
    with steps.step("pack"):
        ids = packed(asked.source, asked.folder / "shard.jsonl")
    answers = asked.folder / "answers.jsonl"
    answers.write_bytes(b"".join(answered(one) for one in ids))
    with steps.step("collect"):
        collected(answers, asked.folder)
    steps.print()


def read(source: Path) -> None:
    """Every line read and decoded: what no rerun can spare that looks at its items."""
    decode = msgspec.json.Decoder().decode
    with source.open("rb") as lines:
        for line in lines:
            decode(line)


def packed(source: Path, target: Path) -> list[str]:
    """Every line decoded, its request encoded and written."""
    ids = []
    decode, encode = msgspec.json.Decoder().decode, msgspec.json.Encoder().encode
    with source.open("rb") as lines, target.open("wb") as out:
        for number, line in enumerate(lines):
            item = decode(line)
            ids.append(f"r-{number:032x}")
            text = item.get("text") or line.decode()
            messages = [{"role": "system", "content": "Label it."}, {"role": "user", "content": text}]
            body = {"messages": messages} | SHARED
            request = {"custom_id": ids[-1], "method": "POST", "url": "/v1/chat/completions", "body": body}
            out.write(encode(request) + b"\n")
        _durable(out)
    _durable_names(target.parent)
    return ids


def answered(custom_id: str) -> bytes:
    """A result line as OpenAI writes them."""
    message = {"role": "assistant", "content": '{"label":"a word"}', "refusal": None}
    usage = {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25}
    body = {"id": "chatcmpl-1", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage}
    response = {"status_code": 200, "request_id": "r", "body": body}
    return msgspec.json.encode({"id": "b-1", "custom_id": custom_id, "response": response, "error": None}) + b"\n"


def collected(source: Path, folder: Path) -> None:
    """Every line decoded; the raw bytes and a table of the answers written."""
    columns: dict[str, list[Any]] = {"custom_id": [], "answer": []}
    decode = msgspec.json.Decoder().decode
    with source.open("rb") as lines, (folder / "raw.jsonl").open("wb") as raw:
        for line in lines:
            told = decode(line)
            columns["custom_id"].append(told["custom_id"])
            columns["answer"].append(told["response"]["body"]["choices"][0]["message"]["content"])
            raw.write(line)
        _durable(raw)
    pq.write_table(pa.table(columns), folder / "answers.parquet", compression="zstd")
    with (folder / "answers.parquet").open("rb+") as table:
        _durable(table)
    _durable_names(folder)


def _durable(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _durable_names(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


if __name__ == "__main__":
    main()
