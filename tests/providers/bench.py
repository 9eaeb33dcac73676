"""A provider on the bench: the real SDK on one side, the emulator on the other, and the verbs between them."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import providers
from providers.contract import Found, Provider, Reply, ShardFile, Tag
from providers.emulator import BatchRecord, Charge, Emulator, Fault, RequestRecord
from providers.failures import patient
from storage.content import file_sha8
from storage.s3 import S3Store
from tests.providers.kit import TOGETHER, prompt, template

BASES = {"openai": "/v1", "azure": "/openai", "groq": "/groq/openai/v1", "compatible": "/together/v1"}
BATCHES = {name: f"{base}/batches" for name, base in BASES.items()}
BATCHES |= {"anthropic": "/v1/messages/batches", "bedrock": "/model-invocation-job"}
CREATE = {name: f"POST {path}" for name, path in BATCHES.items()}
LIST = {name: f"GET {path}" for name, path in BATCHES.items()} | {"bedrock": "GET /model-invocation-jobs"}
JOBS = "arn:aws:bedrock:us-east-1:000000000000:model-invocation-job/"
ROLE = "arn:aws:iam::000000000000:role/batch"
DAY_S = 86_400.0


@dataclass
class Bench:
    """One way of asking. `slept` are the waits between the tries of reads; they move the virtual clock.

    The emulator may have seen other tests: this bench sees what happened since it was set up. `connections` are clients
    that may be used again, as making one takes longer than most tests.
    """

    case: tuple[str, str]
    emulator: Emulator
    folder: Path
    timeout_s: float = 30.0
    connections: dict[tuple[str, str], Any] = field(default_factory=dict)
    opened: list[Provider] = field(default_factory=list)
    slept: list[float] = field(default_factory=list)
    store: S3Store | None = None  # where Bedrock reads requests and writes answers

    def __post_init__(self) -> None:
        self.began = self.emulator.now
        self._seen = len(self.emulator.requests)
        if self.case not in self.connections:
            self.connections[self.case] = self._connect()
        own = {} if self.store is None else {"objects": self.store}
        self.provider: Provider = replace(self.connections[self.case], patiently=patient(self.sleep), **own)

    @property
    def name(self) -> str:
        return self.case[0]

    def connect(self, **settings: Any) -> Provider:
        """A client of this bench's own, closed with it."""
        self.opened.append(self._connect(**settings))
        return self.opened[-1]

    def close(self) -> None:
        for provider in self.opened:
            provider.close()

    def _connect(self, **settings: Any) -> Provider:
        own: dict[str, Any] = {"switches": TOGETHER} if self.name == "compatible" else {}
        if self.store is not None:
            own = {"objects": self.store, "options": {"role_arn": ROLE}}
        return providers.connect(*self.case, sleep=self.sleep, **({"timeout_s": self.timeout_s} | own | settings))

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.emulator.advance(seconds)

    def fault(self, action: str, route: str = "", **how: Any) -> None:
        """Order a fault, by default of the purchase."""
        self.emulator.add_fault(Fault(action=action, route=route or CREATE[self.name], **how))

    def batch_route(self, method: str, tail: str = "") -> str:
        return f"{method} {BATCHES[self.name]}/*{tail}"

    def cancel_route(self) -> str:
        return self.batch_route("POST", "/stop" if self.name == "bedrock" else "/cancel")

    def results_route(self) -> str:
        """Where results go wrong: for those that Bedrock writes to S3 it is ordered with the purchase."""
        if self.name == "bedrock":
            return CREATE[self.name]
        return f"GET {self.shelf}/*/content" if self.name in BASES else self.batch_route("GET", "/results")

    @property
    def shelf(self) -> str:
        """Where files are kept by OpenAI and those like it."""
        return f"{BASES.get(self.name, '/v1')}/files"

    def ref_of(self, batch: BatchRecord) -> str:
        """What `create` calls a batch."""
        return f"{JOBS}{batch.id}" if self.name == "bedrock" else batch.id

    def shard(self, requests: int = 5, name: str = "1-00001", text: str = "Question", **changes: Any) -> ShardFile:
        shared, asked = self.provider.format, template(self.case, **changes)
        prefix = f"job8aaaa-{name}-"
        ids = [f"{prefix}{n:04}" for n in range(requests)]
        bodies = [shared.encode(asked, prompt(f"{text} {n}")) for n in range(requests)]
        path = self.folder / f"{name}.jsonl"
        path.write_bytes(shared.lines(ids, bodies))
        if self.store is None:
            return ShardFile(path, "file:///nowhere", requests, asked.model, prefix)
        key = f"jobs/night/shards/{name}.{file_sha8(path)}.jsonl"
        self.store.create_from(key, path)
        answers = f"{self.store.url}/jobs/night/bedrock/{name}/"
        return ShardFile(path, f"{self.store.url}/{key}", requests, asked.model, prefix, answers)

    def buy(self, shard: ShardFile | None = None, tag: Tag | None = None) -> str:
        bought = shard or self.shard()
        return self.provider.create(bought, self.provider.stage(bought), tag or self.tag())

    def finished(self, shard: ShardFile | None = None) -> str:
        """A batch whose time is over."""
        ref = self.buy(shard)
        self.emulator.advance(2 * DAY_S)
        return ref

    def tag(self, send: int = 1, shard: str = "1-00001") -> Tag:
        return Tag("2026-11-20-verdict-ab12cd34", shard, send)

    def find(self, shard: ShardFile, send: int = 1, since: datetime | None = None) -> list[Found]:
        return self.provider.find(shard, self.tag(send), since or self.began)

    def files(self, ref: str) -> dict[str, bytes]:
        return {raw.kind: b"".join(raw.chunks) for raw in self.provider.raw(ref)}

    def lines(self, ref: str) -> list[bytes]:
        files = self.files(ref).items()
        return [line for kind, data in files if kind != "batch" for line in data.split(b"\n") if line]

    def replies(self, ref: str) -> list[Reply]:
        return [self.provider.format.decode(line) for line in self.lines(ref)]

    def outcomes(self, ref: str) -> Sequence[str]:
        return sorted(reply.outcome.value for reply in self.replies(ref))

    @property
    def purchases(self) -> list[RequestRecord]:
        """Every purchase that went over the wire."""
        return [one for one in self.requests if f"{one.method} {one.path}" == CREATE[self.name]]

    @property
    def requests(self) -> list[RequestRecord]:
        return self.emulator.requests[self._seen :]

    @property
    def batches(self) -> list[BatchRecord]:
        return [batch for batch in self.emulator.batches if batch.created_at >= self.began]

    @property
    def charges(self) -> list[Charge]:
        ours = {batch.id for batch in self.batches}
        return [charge for charge in self.emulator.charges if charge.batch_id in ours]

    def later(self, **delta: float) -> datetime:
        return self.began + timedelta(**delta)
