"""Nights of embeddings: the same way as any answer, to a column of floats."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from batchjobs.errors import UsageError
from batchjobs.project import open_results
from batchjobs.purge import purge
from batchjobs.verify import verify
from providers.emulator import Fault, Rates
from tests.core.test_rebuild import contents, rebuilt
from tests.world import World, documents

MakeWorld = Callable[..., World]
TASK = "tests.small_task:PASSAGES"


def night(world: World, count: int = 30, **settings: Any) -> Any:
    return world.run(world.write(documents(count)), task=TASK, **settings)


def test_vectors_are_lists_of_floats_that_duckdb_compares(make_world: MakeWorld):
    world = make_world()
    assert night(world).succeeded == 30
    same = "SELECT count(*), min(len(embedding)), min(list_cosine_similarity(embedding, embedding)) FROM passages"
    assert world.sql(same) == [(30, 16, pytest.approx(1))]
    assert world.sql("SELECT typeof(embedding) FROM passages LIMIT 1") == [("FLOAT[]",)]


def test_the_vector_is_that_of_the_items_own_text(make_world: MakeWorld):
    world = make_world()
    texts = [f"This is document number {n} of tea." for n in (1, 2, 1)]
    job = world.run(world.write([{"doc_id": str(n), "text": text} for n, text in enumerate(texts)]), task=TASK)
    [(one,), (two,), (three,)] = world.sql("SELECT embedding FROM passages ORDER BY doc_id")
    assert one == three != two
    assert (job.succeeded, len(world.emulator.charges)) == (3, 2)  # equal texts are bought once


def test_a_changed_length_is_another_request(make_world: MakeWorld):
    world = make_world()
    source = world.write(documents(3))
    for length in (8, 9):
        path = world.folder / f"{length}.toml"
        path.write_text(
            f'name = "passages"\nversion = 1\nid = "doc_id"\nresult = "embedding"\ndimensions = {length}\n'
            '[models]\nopenai = "text-embedding-3-small"\n[prompt]\nuser = "{{ text }}"\n'
        )
        assert world.run(source, task=str(path)).succeeded == 3
        assert world.sql("SELECT DISTINCT len(embedding) FROM passages") == [(length,)]
    assert len(world.emulator.charges) == 6


def test_input_is_all_that_costs(make_world: MakeWorld):
    world = make_world()
    job = night(world)
    tokens = sum(charge.input_tokens for charge in world.emulator.charges)
    assert job.cost == tokens * Decimal("0.01") / 1_000_000
    assert {charge.output_tokens for charge in world.emulator.charges} == {0}
    [most] = [shard.plan.tokens for shard in job.shards]
    assert (job.plan.ceiling_cost, job.plan.max_output_tokens) == (most * Decimal("0.01") / 1_000_000, 0)


def test_a_wrong_vector_is_invalid_and_bought_again_as_it_was(make_world: MakeWorld):
    world = make_world(rates=Rates(invalid=1.0))
    job = night(world, 5, max_attempts=2)
    assert (job.in_flight, job.failed) == (0, 5)
    assert world.sql("SELECT DISTINCT outcome, code FROM attempts") == [("invalid", "schema")]
    assert set(world.billed().values()) == {2}


def test_a_bad_night_loses_nothing_and_can_be_proved(make_world: MakeWorld):
    faults = [Fault(route="POST *batches", action="accept_then_drop"), Fault(action="stranger_lines", count=1)]
    world = make_world(rates=Rates(transient=0.2, permanent=0.1, invalid=0.1), faults=faults)
    job = night(world, 60, shard_requests=25)
    assert (job.state, job.succeeded + job.failed) == ("finished", 60)
    assert verify(world.desk(), job.id).violations == []
    with open_results(world.desk()) as results:
        assert len(results.failures(job.id)) == job.failed > 0
    live = contents(world)
    assert rebuilt(world) == live


def test_a_purge_leaves_no_vector(make_world: MakeWorld):
    world = make_world()
    job = night(world)
    vectors = "SELECT count(*) FROM passages WHERE embedding IS NOT NULL"
    kept = "SELECT count(*) FROM results WHERE answer LIKE '%0.%'"
    assert (world.sql(vectors), world.sql(kept)) == ([(30,)], [(30,)])
    desk = world.desk()
    with desk.exclusive("test"):
        purge(desk, job.id)
    assert (world.sql(vectors), world.sql(kept)) == ([(0,)], [(0,)])
    assert verify(world.desk(), job.id).violations == []


def test_a_server_that_is_described_embeds_too(make_world: MakeWorld):
    table = {"chat_path": "", "embeddings_path": "/v1/embeddings", "url_variable": "OPENAI_BASE_URL"}
    job = night(
        make_world(), provider="compatible", compatible=table, model="text-embedding-3-large",
        price_as="openai/text-embedding-3-large",
    )  # fmt: skip
    assert (job.succeeded, job.cost > 0) == (30, True)


@pytest.mark.parametrize("provider", ["anthropic", "bedrock", "azure", "groq"])
def test_who_has_no_embeddings_says_so(make_world: MakeWorld, provider: str):
    with pytest.raises(UsageError, match=f"asks for embeddings, and {provider} has none"):
        night(make_world(), provider=provider, model="m")


@pytest.mark.parametrize(("task", "endpoint"), [(TASK, "chat"), ("tests.small_task:TASK", "embeddings")])
def test_an_endpoint_that_does_not_suit_the_task_is_refused(make_world: MakeWorld, task: str, endpoint: str):
    world = make_world()
    with pytest.raises(UsageError, match="leave the endpoint out"):
        world.run(world.write(documents(1)), task=task, endpoint=endpoint)
