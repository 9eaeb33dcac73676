"""Many clients, many batches, one emulator."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import pytest
from anthropic import Anthropic
from openai import OpenAI

from providers.emulator import Emulator, Rates
from tests.emulator.support import deals, entries, submit


@pytest.fixture
def clients_of(openai_for: Callable[..., OpenAI], anthropic_for: Callable[..., Anthropic]) -> Any:
    return lambda emulator: (openai_for(emulator), anthropic_for(emulator))


def test_creates_in_parallel_all_count(emulator: Emulator, oa: OpenAI, an: Anthropic) -> None:
    def create(number: int) -> str:
        return submit(oa, deals(5)).id if number % 2 else an.messages.batches.create(requests=entries(5)).id

    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(create, range(24)))
    emulator.advance(600)
    charged = Counter(one.batch_id for one in emulator.charges)
    assert charged == dict.fromkeys(ids, 5)
    assert len(emulator.batches) == 24


def test_reads_while_the_clock_moves_never_see_results_half_made(
    emulate: Callable[..., Emulator], openai_for: Callable[..., OpenAI]
) -> None:
    emulator = emulate(rates=Rates(transient=0.2))
    client = openai_for(emulator)
    batch = submit(client, deals(400))
    with ThreadPoolExecutor(4) as pool:
        looks = pool.map(lambda _: (emulator.advance(10), client.batches.retrieve(batch.id))[1], range(80))
    for look in looks:
        counts = look.request_counts
        assert (look.status == "completed") == bool(look.output_file_id)
        assert look.status != "completed" or counts.completed + counts.failed == 400


def test_results_in_the_making_are_not_finished(emulate: Callable[..., Emulator], clients_of: Any) -> None:
    emulator = emulate(patience_seconds=0.01)
    client, other = clients_of(emulator)
    busy = Event()
    emulator._world.worker.submit(busy.wait)
    batch, message_batch = submit(client, deals(3)), other.messages.batches.create(requests=entries(3))
    emulator.advance(600)
    assert client.batches.retrieve(batch.id).status == "finalizing"
    assert other.messages.batches.retrieve(message_batch.id).processing_status == "in_progress"
    busy.set()
    assert len(emulator.charges) == 6
    assert client.batches.retrieve(batch.id).status == "completed"


def test_openai_and_anthropic_share_a_port(emulator: Emulator, oa: OpenAI, an: Anthropic) -> None:
    assert oa.models.list().data[0].object == "model"
    assert an.models.list().data[0].type == "model"
