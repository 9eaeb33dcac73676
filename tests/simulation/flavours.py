"""The two providers with the network cut off: all code above the wire is the real one, below it is the world."""

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from providers import anthropic, openai, openai_batches
from providers.contract import Gone, Provider, ShardFile, Tag, Unavailable
from tests.simulation.world import Batch, World

_OPENAI_WORDS = {"queued": "validating", "running": "in_progress", "stopping": "cancelling", "rejected": "failed"}
_ANTHROPIC_WORDS = {"running": "in_progress", "stopping": "canceling", "ended": "ended"}


def _at_once(call: Callable[..., Any], *args: Any) -> Any:
    """Patience is tested elsewhere: here every read is tried once, so that every failure is seen."""
    return call(*args)


def connect(world: World) -> Provider:
    """The provider as a worker sees it."""
    if world.flavour == "openai":
        return _OpenAI(openai.load_format("chat"), None, _at_once, None, world)  # type: ignore[arg-type]
    return _Anthropic(anthropic.load_format(), None, _at_once, world)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class _OpenAI(openai.OpenAI):
    world: World

    def close(self) -> None:
        """There is no connection."""

    def create(self, shard: ShardFile, staged: str, tag: Tag) -> str:  # noqa: ARG002 -- the upload says it all
        return self.world.sell(self.world.uploads[staged], tag)

    def _upload(self, shard: ShardFile) -> str:
        if self.world.weather.strikes("stage-down"):
            raise Unavailable("the upload failed")
        name = f"file-in-{len(self.world.uploads) + 1}"
        self.world.uploads[name] = shard.path.read_bytes()
        return name

    def _seen(self, file_id: str) -> None:
        """An upload is seen at once."""

    def _read_batch(self, ref: str) -> tuple[Any, bytes, float | None]:
        world = self.world
        batch = world.known(ref)
        told = _openai_batch(batch)
        if batch.state != "rejected" and world.weather.strikes("status-backwards"):
            told.status, told.output_file_id = "validating", None
        if world.weather.strikes("status-unknown-word"):
            told.status = "Dreaming"
        if world.weather.strikes("status-without-counts"):
            told.request_counts = None
        if told.output_file_id and world.weather.strikes("output-owed"):
            told.output_file_id = None
        return told, msgspec.json.encode(told), None

    def _read_page(self, after: str | None) -> Any:
        rows, more = self.world.page(after)
        return openai_batches.Page([_openai_batch(batch) for batch in rows], more)

    def _content(self, file_id: str, what: str) -> Iterator[bytes]:
        kind, _, ref = file_id.partition("/")
        batch = self.world.batches[ref]
        if self.world.gone(batch):
            raise Gone(f"{what} is deleted")
        yield from self.world.content(batch, kind)

    def _cancel(self, ref: str) -> None:
        self.world.stop(ref)


def _openai_batch(batch: Batch) -> Any:
    output = sum(batch.counted[fate] for fate in ("ok", "truncated", "refused", "invalid"))
    failed = batch.counted["failed"] + batch.counted["errored"]
    errors = None
    if batch.state == "rejected":
        errors = {"data": [{"code": batch.how, "line": None, "message": batch.message}]}
    label = {f"batchjobs_{name}": value for name, value in batch.label.items()}
    return openai_batches.Batch(
        id=batch.id,
        status=_OPENAI_WORDS.get(batch.state) or batch.how,
        created_at=batch.created_at.timestamp(),
        output_file_id=f"output/{batch.id}" if output else None,
        error_file_id=f"error/{batch.id}" if batch.counted.total() > output else None,
        request_counts=openai_batches.Counts(len(batch.requests), output, failed),
        errors=errors,
        metadata=label,
    )


@dataclass(frozen=True, slots=True)
class _Anthropic(anthropic.Anthropic):
    world: World

    def close(self) -> None:
        """There is no connection."""

    def create(self, shard: ShardFile, staged: str, tag: Tag) -> str:  # noqa: ARG002 -- nothing is staged
        return self.world.sell(shard.path.read_bytes(), tag)

    def _read_batch(self, ref: str) -> tuple[Any, float | None]:
        world = self.world
        told = _anthropic_batch(world, world.known(ref))
        if world.weather.strikes("status-backwards"):
            told.processing_status = "in_progress"
        if world.weather.strikes("status-unknown-word"):
            told.processing_status = "dreaming"
        if world.weather.strikes("status-without-counts"):
            told.request_counts = None
        return told, None

    def _read_page(self, after: str | None) -> Any:
        rows, more = self.world.page(after)
        return anthropic._Page([_anthropic_batch(self.world, batch) for batch in rows], more)

    def _results(self, ref: str, chunk_bytes: int = 0) -> Generator[bytes, None, None]:  # noqa: ARG002
        batch = self.world.batches[ref]
        if self.world.gone(batch) or batch.state != "ended":
            raise Unavailable(f"the results of {ref} are not there", kind="absent")
        yield from self.world.content(batch, "output")

    def _cancel(self, ref: str) -> None:
        self.world.stop(ref)


def _anthropic_batch(world: World, batch: Batch) -> Any:
    total = len(batch.requests)
    counts = anthropic._Counts(processing=total)
    if batch.state == "ended":
        succeeded = sum(batch.counted[fate] for fate in ("ok", "truncated", "refused", "invalid"))
        errored = batch.counted["failed"] + batch.counted["errored"]
        counts = anthropic._Counts(0, succeeded, errored, batch.counted["cancelled"], batch.counted["expired"])
    archived = batch.ended_at if batch.state == "ended" and world.gone(batch) else None
    return anthropic._Batch(batch.id, batch.created_at, _ANTHROPIC_WORDS[batch.state], archived, counts)
