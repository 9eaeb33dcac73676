"""What deaths in the wrong moment have left behind once, each as plainly as it can be shown."""

import json

from click.testing import CliRunner

from batchjobs.cli import cli
from tests.world import TASK, World, documents


def test_the_rejects_of_a_command_that_died_once_it_was_accepted_are_written_by_the_next(world: World):
    source = world.write([*documents(2), b"not json"])
    job = world.accept(source).plan.job
    rejects = world.folder / f"{job}.rejects.jsonl"
    words = ["submit", str(source), "--task", TASK, "--provider", world.provider, "--store", world.store, "--results"]
    for _ in range(2):
        CliRunner().invoke(cli, [*words, str(world.folder / "results.duckdb")], standalone_mode=False)
        assert [json.loads(line)["line"] for line in rejects.read_text().splitlines()] == [3]
