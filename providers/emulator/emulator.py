"""The emulator as one object: start it, move its clock, order faults, read who was billed for what."""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Self

from providers.emulator import anthropic, bedrock, bedrock_quotas, control
from providers.emulator.anthropic import Anthropic
from providers.emulator.batches import Batch
from providers.emulator.bedrock import Bedrock
from providers.emulator.bedrock_quotas import Quotas
from providers.emulator.faults import Fault, FaultBook
from providers.emulator.openai import OpenAI
from providers.emulator.openai_dialects import DIALECTS
from providers.emulator.server import RequestRecord, Server, Service, Site
from providers.emulator.world import Charge, Clock, Dice, Patience, Settings, World, moment

# Who is emulated, and by which variables its SDK is led here. The first that claims a call gets it; OpenAI, the last,
# claims every one.
EMULATED: Sequence[tuple[Callable[[World], Service], Mapping[str, str]]] = (
    (Quotas, bedrock_quotas.VARIABLES),
    (Bedrock, bedrock.VARIABLES),
    (Anthropic, anthropic.VARIABLES),
    *((partial(OpenAI, dialect=dialect), dialect.variables) for dialect in reversed(DIALECTS)),
)


def environment(url: str, key: str) -> dict[str, str]:
    """The environment in which the SDKs talk to the emulator at `url`."""
    return {name: text.format(url=url, key=key) for _, told in EMULATED for name, text in told.items()}


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """One accepted batch, as the provider sees it."""

    provider: str
    id: str
    label: Mapping[str, str]  # OpenAI's metadata; Bedrock's tags, name and token; empty at Anthropic, which keeps none
    created_at: datetime
    status: str  # in the provider's own words
    requests: int
    custom_id_prefix: str  # what all its custom ids begin with


@dataclass(kw_only=True, eq=False)
class Emulator(Settings):
    """OpenAI and others that speak like it, Anthropic and Bedrock on 127.0.0.1, from `serve` to `stop`, or in a `with`.

    The virtual clock is the providers' clock: all their timestamps follow it. A client that lives by the real clock is
    best served with speed=1 and a small `batch_seconds`, one with a clock of its own with speed=0 and `advance`.
    port: 0 takes a free one. state_dir: where uploads, results and charges are kept; by default a temporary directory,
    removed at the end.
    """

    faults: Sequence[Fault] = ()
    port: int = 0
    state_dir: Path | None = None

    def __post_init__(self) -> None:
        self._book = FaultBook(self.faults)
        self._server: Server | None = None

    def __enter__(self) -> Self:
        self.serve()
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    def serve(self) -> None:
        """Start answering."""
        folder = Path(tempfile.mkdtemp(prefix="emulator-")) if self.state_dir is None else Path(self.state_dir)
        folder.mkdir(parents=True, exist_ok=True)
        worker = ThreadPoolExecutor(1, thread_name_prefix="emulator-worker")
        clock = Clock(self.start, self.speed)
        self._world = World(clock, Dice(self.seed, self.rates), self, folder, worker)
        self._providers = [make(self._world) for make, _ in EMULATED]
        services = [(one, one.routes()) for one in self._providers]
        self._site = Site(self._world, self._book, services, control.routes(self))
        self._server = Server(self.port, self._site)
        self._server.start()

    def stop(self) -> None:
        """Stop answering, let go of every connection, and remove what is temporary: read the books before."""
        if self._server is None:
            return
        self._server.stop()
        self._server = None
        for provider in self._providers:
            for batch in provider.batches():
                if batch.work is not None:
                    batch.work.stop()
        self._world.worker.shutdown(cancel_futures=True)
        if self.state_dir is None:
            shutil.rmtree(self._world.folder)

    @property
    def url(self) -> str:
        """Anthropic's, Bedrock's and Azure's base URL; OpenAI's is this plus /v1, Groq's plus /groq.

        A server that takes whatever is asked of it stands at /compatible/v1, one with many quirks at /together/v1.
        """
        if self._server is None:
            raise RuntimeError("the emulator is not serving")
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def now(self) -> datetime:
        """The virtual clock."""
        return moment(self._world.clock.now())

    def advance(self, seconds: float) -> None:
        """Move the virtual clock forward."""
        self._world.clock.advance(seconds)

    @property
    def charges(self) -> list[Charge]:
        """One for every request that was billed: those executed and answered, in the order of batches."""
        return list(self.iter_charges())

    def iter_charges(self) -> Iterator[Charge]:
        """As `charges`, one at a time, for books too long for memory."""
        now = self._world.clock.now()
        for provider in self._providers:
            for batch in provider.batches():
                yield from batch.charges(now)
        yield from self._world.direct_charges()

    @property
    def batches(self) -> list[BatchRecord]:
        """Every accepted batch, oldest first."""
        patience = self._world.patience()
        records = [_record(provider, batch, patience) for provider in self._providers for batch in provider.batches()]
        return sorted(records, key=lambda record: record.created_at)

    @property
    def requests(self) -> list[RequestRecord]:
        """The newest hundred thousand HTTP requests, in order of arrival."""
        return list(self._site.log)

    def add_fault(self, fault: Fault) -> None:
        """Order a fault; its calls are counted from now on."""
        self._book.add(fault)

    def clear_faults(self) -> None:
        """Take back every fault, except what has already happened to batches."""
        self._book.clear()


def _record(provider: Service, batch: Batch, patience: Patience) -> BatchRecord:
    return BatchRecord(
        provider=batch.provider,
        id=batch.id,
        label=batch.label,
        created_at=moment(batch.plan.created),
        status=provider.word(batch, patience),
        requests=batch.sheet.total,
        custom_id_prefix=batch.sheet.prefix,
    )
