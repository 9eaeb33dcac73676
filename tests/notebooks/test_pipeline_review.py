"""The review notebook in a fresh kernel: over a finished night, over one still in flight, and over none."""

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode

from batchjobs.rehearsal import pointed_at
from providers.emulator import Emulator, Rates
from tests.world import World

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "notebooks/pipeline_review.ipynb"
SAMPLE = ROOT / "examples/deals/deals.jsonl"
PLOTS = ["region", "owner", "money", "cluster", "pair", "quality", "spend"]
TABLES = ["night", "first", "pair", "doubt", "failed", "rejected", "healed"]
NAUGHTY = "<script>alert(1)</script> for $5 & $6"


def committed() -> NotebookNode:
    return nbformat.read(NOTEBOOK, as_version=nbformat.NO_CONVERT)


def sample(lines: int) -> list[bytes]:
    """The first lines of the sample, and one deal so valuable that it comes first, with markup for a name."""
    deals = SAMPLE.read_bytes().split(b"\n")[:lines]
    top = json.loads(deals[0]) | {"deal_id": "TW-1", "deal_name": NAUGHTY, "stage": "Engaging", "amount": 9e9}
    return [*deals, json.dumps(top).encode()]


@contextmanager
def night(folder: Path) -> Iterator[World]:
    rates = Rates(transient=0.1, permanent=0.1, truncated=0.05, invalid=0.05)
    with Emulator(seed=7, speed=0.0, batch_seconds=600.0, rates=rates) as emulator, pointed_at(emulator.url):
        world = World(emulator, str(folder / "store"), folder)
        try:
            yield world
        finally:
            world.close()


@contextmanager
def reviewed(folder: Path, **settings: str) -> Iterator[NotebookNode]:
    """The notebook with all cells executed, while its kernel is still alive."""
    client = NotebookClient(committed(), timeout=60, resources={"metadata": {"path": str(folder)}})
    variables = {name: value for name, value in os.environ.items() if name != "BATCHJOBS_RESULTS"}
    with client.setup_kernel(env=variables | {"IPYTHONDIR": str(folder / "ipython")} | settings):
        for number, cell in enumerate(client.nb.cells):
            client.execute_cell(cell, number)
        yield client.nb


def outputs(notebook: NotebookNode, kind: str) -> dict[str, str]:
    """What cells show in this MIME type, by cell id."""
    shown = [(cell.id, output) for cell in notebook.cells for output in cell.get("outputs", [])]
    return {name: output.data[kind] for name, output in shown if kind in output.get("data", {})}


def streams(notebook: NotebookNode, name: str) -> str:
    every = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "".join(output.text for output in every if output.get("name") == name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished night's results."""
    folder = tmp_path_factory.mktemp("night")
    with night(folder) as world:
        world.run(world.write(sample(40)), task="deal-intelligence")
    return folder


@pytest.fixture(scope="module")
def review(folder: Path) -> Iterator[NotebookNode]:
    with reviewed(folder, BATCHJOBS_RESULTS=str(folder / "results.duckdb")) as notebook:
        yield notebook


def facts(folder: Path, query: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(folder / "results.duckdb", read_only=True) as results:
        return results.execute(query).fetchall()


def test_the_committed_notebook_is_stripped():
    code = [cell for cell in committed().cells if cell.cell_type == "code"]
    assert [cell.id for cell in code if cell.outputs or cell.execution_count is not None] == []


def test_the_committed_notebook_opens_anywhere():
    notebook = committed()
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert notebook.metadata.kernelspec.name == "python3"
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)


def test_every_plot_is_drawn_and_nothing_is_complained_about(review: NotebookNode):
    assert list(outputs(review, "image/png")) == PLOTS
    assert streams(review, "stderr") == ""


def test_every_table_has_rows(review: NotebookNode):
    tables = outputs(review, "text/html")
    assert list(tables) == TABLES
    assert all(table.count("<tr>") > 1 for table in tables.values())


def test_the_night_is_told_as_the_results_have_it(review: NotebookNode, folder: Path):
    told = re.findall(r">([^<>]*)</td>", outputs(review, "text/html")["night"])
    counts = facts(folder, "SELECT items, succeeded, failed, in_flight, reused, rejected, duplicates FROM job_progress")
    assert told[3:10] == [str(count) for count in counts[0]]
    assert counts[0][2] > 0


def test_deals_are_listed_in_their_priority(review: NotebookNode, folder: Path):
    listed = re.findall(r">(TW-\d+) · ", outputs(review, "text/html")["first"])
    assert listed == [row[0] for row in facts(folder, "SELECT deal_id FROM deal_priorities ORDER BY priority LIMIT 10")]


def test_what_a_model_or_a_crm_wrote_is_shown_and_never_interpreted(review: NotebookNode):
    first = outputs(review, "text/html")["first"]
    assert "&lt;script&gt;alert(1)&lt;/script&gt; for $5 &amp; $6" in first
    assert "<script" not in "".join(outputs(review, "text/html").values())
    assert 'class="tex2jax_ignore mathjax_ignore"' in first


def test_an_open_notebook_does_not_hold_the_results(review: NotebookNode, folder: Path):
    with duckdb.connect(folder / "results.duckdb") as writer:  # refused while anybody has the file open
        assert writer.execute("SELECT count(*) > 0 FROM items").fetchall() == [(True,)]


def test_a_night_in_flight_is_reviewed_without_an_error(tmp_path: Path):
    with night(tmp_path) as world:
        world.send(world.write(sample(10)), task="deal-intelligence")
    with reviewed(tmp_path, BATCHJOBS_RESULTS=str(tmp_path / "results.duckdb")) as notebook:
        assert outputs(notebook, "image/png") == {}
        assert streams(notebook, "stdout").count("No open deal has an answer yet.") == 5


def test_missing_results_are_one_sentence(tmp_path: Path):
    with pytest.raises(CellExecutionError) as stopped, reviewed(tmp_path):
        pass
    told = stopped.value.traceback.rpartition("-----")[2].strip()  # below the cell's source
    beginning = "There are no results at ../demo-store/results.duckdb: run `make demo`, or set BATCHJOBS_RESULTS to "
    assert told.startswith(beginning)
    assert "\n" not in told
