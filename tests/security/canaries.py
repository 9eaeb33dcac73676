"""Keys and texts that must not be seen again, and everywhere they could be."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import pytest
import zstandard
from click.testing import CliRunner

from batchjobs.cli import cli
from batchjobs.telling import trace, words_of
from tests.world import TASK, World

KEY = "sk-canary-key-0123456789abcdef"
AWS_KEY, AWS_SECRET = "AKIACANARY0123456789", "canary+secret/0123456789abcdefghijklmnop"
PROMPT = "canary-prompt: Mrs Doe of Acme said yes"
ANSWER = "canary-answer"
KEYS = (KEY, AWS_KEY, AWS_SECRET)
TEXTS = (PROMPT, ANSWER, "Mrs Doe")
ENVIRONMENT = {"OPENAI_API_KEY": KEY, "ANTHROPIC_API_KEY": KEY}
DEBUG = {"OPENAI_LOG": "debug", "ANTHROPIC_LOG": "debug"}
# What a provider or a gateway may say back, with our own words in it.
ECHO = {"message": f"Incorrect key {KEY}, or the request is wrong: {PROMPT}", "code": f"bad {PROMPT}", "kind": PROMPT}
# Where the README and the tables' comments say that texts are.
TEXT_COLUMNS = {("results", "answer"), ("items", "summary"), ("attempts", "message")}


def answer(_prompt: str) -> str:
    return json.dumps({"label": ANSWER, "score": 5})


def items(count: int) -> list[dict[str, str]]:
    return [{"doc_id": f"doc-{n}", "text": f"{PROMPT} {n}"} for n in range(count)]


def found(text: str, words: tuple[str, ...] = KEYS + TEXTS) -> list[str]:
    """The canaries in a text, whole or as JSON writes them."""
    return [word for word in words if word in text or json.dumps(word)[1:-1] in text]


@dataclass
class Stage:
    """A world with canaries, and all that was said in it."""

    world: World
    said: list[str] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)

    def run(self, verb: str, *words: str) -> int:
        """A command inside this process; what it says, and what its error would say with -v, is kept."""
        more = ["--task", TASK, "--provider", self.world.provider] if verb in ("run", "submit") else []
        arguments = [verb, *words, *more, "--store", self.world.store]
        result = CliRunner().invoke(cli, arguments, standalone_mode=False)
        if result.exception is not None:
            error = result.exception
            self.said += [str(error), repr(error), words_of(error), *trace(error)]
        self.said += [result.stdout, result.stderr]
        self.codes.append(-1 if result.exception else int(result.return_value or 0))
        return self.codes[-1]

    def leaks(self) -> list[str]:
        """Every canary outside its place, with where it was."""
        return [f"{where}: {word}" for where, text, words in self._places() for word in found(text, words)]

    def _places(self) -> Iterator[tuple[str, str, tuple[str, ...]]]:
        yield "said", "\n".join(self.said), KEYS + TEXTS
        for batch in self.world.emulator.batches:
            yield "label", f"{batch.label} {batch.custom_id_prefix}", KEYS + TEXTS
        for path in sorted(self.world.folder.rglob("*")):
            yield "name", str(path.relative_to(self.world.folder)), KEYS + TEXTS
            if path.is_file():
                yield from self._content(path)

    def _content(self, path: Path) -> Iterator[tuple[str, str, tuple[str, ...]]]:
        name, data = path.name, path.read_bytes()
        if path.suffix == ".zst":
            data = zstandard.ZstdDecompressor().decompressobj().decompress(data)
        textless = path.suffix in (".json", ".toml") or name.endswith(".rejects.jsonl") or name == "lock"
        yield name, data.decode("latin-1"), KEYS + (TEXTS if textless else ())
        if path.suffix == ".duckdb":
            yield from _cells(path)
        if path.suffix == ".parquet" and not {"outcomes"} & set(path.parts):
            yield name, str(duckdb.sql(f"FROM read_parquet('{path}')").fetchall()), KEYS + TEXTS


def _cells(path: Path) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    with duckdb.connect(path, read_only=True) as connection:
        columns = connection.execute(
            "SELECT table_name, column_name FROM duckdb_columns() WHERE NOT internal AND table_name IN "
            "(SELECT table_name FROM duckdb_tables())"
        ).fetchall()
        for table, column in columns:
            values = connection.execute(f'SELECT "{column}" FROM "{table}"').fetchall()
            texts = () if (table, column) in TEXT_COLUMNS else TEXTS
            yield f"{table}.{column}", "\n".join(str(value) for (value,) in values), KEYS + texts


def in_environment(monkeypatch: pytest.MonkeyPatch, world: World, **more: str) -> None:
    settings = {
        "BATCHJOBS_RESULTS": str(world.folder / "results.duckdb"),
        "BATCHJOBS_STATE_DIR": str(world.folder / "state"),
        "BATCHJOBS_INTERVAL": "0.02",
        "BATCHJOBS_DEADLINE": "2s",
        "BATCHJOBS_SHARD_REQUESTS": "3",
    }
    for name, value in (ENVIRONMENT | settings | more).items():
        monkeypatch.setenv(name, value)


def command_line(pid: int) -> str:
    """What everybody on the machine may see of a process and its threads."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return "\n".join(
        (task / name).read_bytes().decode("latin-1").replace("\0", " ")
        for task in tasks
        for name in ("cmdline", "comm")
    )
