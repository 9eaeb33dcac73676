"""DuckDB is a projection: deleted, it comes back row for row."""

from collections.abc import Callable

from batchjobs.project import catch_up, open_results, publish
from providers.emulator import Rates
from tests.world import World, documents

TABLES = ("jobs", "shards", "requests", "items", "attempts", "results", "rejects", "strays")


def contents(world: World) -> dict[str, list]:
    return {table: world.sql(f"SELECT * FROM {table} ORDER BY ALL") for table in TABLES}


def rebuilt(world: World) -> dict[str, list]:
    desk = world.desk()
    desk.database.unlink()
    (world.folder / "results.duckdb").unlink()
    with desk.exclusive("test"), open_results(desk) as results:
        assert catch_up(desk, results) == []
        publish(desk, results)
    return contents(world)


def test_a_rebuilt_database_has_the_same_rows(make_world: Callable[..., World], provider: str):
    world = make_world(provider, rates=Rates(transient=0.1, permanent=0.05, truncated=0.05, invalid=0.05))
    world.run(world.write([*documents(80), b"bad line", *documents(1)]))
    world.emulator.advance(86_400)
    world.run(world.write(documents(90)))
    live = contents(world)
    assert rebuilt(world) == live
