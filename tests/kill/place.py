"""One store, one emulated provider, and the commands of one person there, each a process that can be killed."""

import json
import os
import signal
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from batchjobs.jobs import Job, load_all
from batchjobs.plan import ShardPlan
from batchjobs.rehearsal import variables
from batchjobs.shards import Phase
from providers.emulator import Emulator
from storage.contract import ObjectStore
from storage.directory import DirectoryStore
from storage.layout import answers_prefix
from storage.s3 import S3Store
from tests.kill.forkserver import Done, ForkServer
from tests.storage.stores import BUCKET, CREDENTIALS, s3_client
from tests.world import TASK, documents

HOUR_S = 3600.0
TABLES = ("jobs", "shards", "requests", "items", "attempts", "results", "rejects", "strays")
CREATE = {
    "openai": "POST /v1/batches",
    "anthropic": "POST /v1/messages/batches",
    "bedrock": "POST /model-invocation-job",
}
TWIN = {"doc_id": "twin", "text": documents(1)[0]["text"]}
ITEMS = [*documents(9), TWIN, "no item"]
SHARD_REQUESTS = "4"
FEW = documents(3)
BEDROCK_ITEMS = documents(201)  # it takes no batch of fewer than 100
SETTINGS = {
    "bedrock": {
        "MODEL": "us.anthropic.claude-haiku-4-5-20251001-v1:0",
        "BEDROCK_ROLE_ARN": "arn:aws:iam::000000000000:role/batch",
    }
}
DOCUMENTED = {0, 3, 4}  # the exit codes of a command at which nothing is wrong with the world


@dataclass(frozen=True)
class Store:
    """Where a place keeps the truth; an S3 server is named as users name it, in the environment."""

    url: str
    endpoint: str = ""

    @property
    def environ(self) -> dict[str, str]:
        return CREDENTIALS | {"AWS_ENDPOINT_URL_S3": self.endpoint} if self.endpoint else {}

    def opened(self) -> ObjectStore:
        return S3Store(self.url, s3_client(self.endpoint)) if self.endpoint else DirectoryStore(Path(self.url))


def in_bucket(endpoint: str) -> Store:
    """An empty store at an S3 server."""
    return Store(f"s3://{BUCKET}/{uuid.uuid4().hex}", endpoint)


@dataclass
class Place:
    """`command` runs one to its end, or to the point where it is killed."""

    folder: Path
    emulator: Emulator
    provider: str
    store: Store
    server: ForkServer
    settings: Mapping[str, str] = field(default_factory=dict)  # BATCHJOBS_* besides those below
    few: bool = False  # items, too few for a batch of Bedrock

    def command(self, *words: str, kill_after: float | None = None, **more: str) -> Done:
        return self.server.run([*words, "--json"], self.environ() | more, kill_after)

    def must(self, *words: str) -> Done:
        done = self.command(*words)
        assert done.code in DOCUMENTED, f"{words}: {done}"
        assert "Traceback" not in done.err
        return done

    def killed_at(self, point: str, nth: int, *words: str) -> None:
        done = self.command(*words, BATCHJOBS_KILL_AT=f"{point}:{nth}")
        assert done.code == -signal.SIGKILL, f"{words} did not pass {point} {nth} times: {done}"

    def environ(self) -> dict[str, str]:
        ours = {
            "STORE": self.store.url,
            "RESULTS": str(self.folder / "results.duckdb"),
            "STATE_DIR": str(self.folder / "state"),
            "TASK": TASK,
            "PROVIDER": self.provider,
            "SHARD_REQUESTS": SHARD_REQUESTS,
            "INTERVAL": "0.01",
            "DEADLINE": "20s",
            "GRACE": "0",
        } | SETTINGS.get(self.provider, {})
        settings = {f"BATCHJOBS_{name}": value for name, value in ours.items()}
        return os.environ | self.store.environ | variables(self.emulator.url) | settings | dict(self.settings)

    def items(self, name: str = "items.jsonl", items: Sequence[Any] = ()) -> str:
        path = self.folder / name
        items = items or (FEW if self.few else BEDROCK_ITEMS if self.provider == "bedrock" else ITEMS)
        path.write_text("".join(json.dumps(item) + "\n" for item in items))
        return str(path)

    def jobs(self) -> list[Job]:
        jobs, troubles = load_all(self.store.opened())
        assert troubles == []
        return jobs

    def end_batches(self) -> None:
        """All batches are over, and those of later are over at once."""
        self.emulator.batch_seconds = self.emulator.cancel_seconds = 0.0
        self.emulator.advance(2 * HOUR_S)

    def never_bought(self) -> list[ShardPlan]:
        """Shards whose purchase was meant and never arrived; or its answer was to be had once, and was lost."""
        arrived = [batch.custom_id_prefix for batch in self.emulator.batches]
        return [
            shard.plan
            for job in self.jobs()
            for shard in job.shards
            if shard.phase is Phase.unknown
            and not any(one.startswith(shard.plan.id_prefix) for one in arrived)
            and not (shard.plan.at_once and self._is_kept(job, shard.plan))
        ]

    def _is_kept(self, job: Job, plan: ShardPlan) -> bool:
        return any(self.store.opened().keys(answers_prefix(job.id, self.provider, plan.id)))

    def purchases(self) -> Counter[str]:
        """Batches by what they were bought for: OpenAI's carry their tag, Anthropic's the shard in their ids."""
        return Counter(str(dict(batch.label) or batch.custom_id_prefix) for batch in self.emulator.batches)

    def billed(self) -> Counter[str]:
        """How often each prompt was billed; one that failed is not."""
        return Counter(charge.prompt_hash for charge in self.emulator.charges)

    def contents(self) -> dict[str, list[Any]]:
        """What an analyst sees."""
        with duckdb.connect(self.folder / "results.duckdb", read_only=True) as connection:
            return {table: connection.execute(f"FROM {table} ORDER BY ALL").fetchall() for table in TABLES}
