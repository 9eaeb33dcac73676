"""The tables of shards and jobs: as wide as what is in them, and as the screen lets them be."""

from io import StringIO

from rich.console import Console

from batchjobs.grid import Column, Grid

COLUMNS = (Column("shard"), Column("sent", right=True), Column("batch", width_max=6), Column("note"))


def shown(width: int, *rows: list[str], title: str = "") -> list[str]:
    console = Console(file=StringIO(), width=width, color_system=None)
    console.print(Grid(title, COLUMNS, list(rows)))
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


def test_columns_are_as_wide_as_their_cells():
    assert shown(80, ["1-00001", "1,000", "batch", "completed"], title="night: shards") == [
        "night: shards",
        "shard    sent batch note",
        "1-00001 1,000 batch completed",
    ]


def test_a_cell_that_is_too_long_is_cut():
    assert shown(80, ["1", "1", "batch_123", ""])[1] == "1        1 batch…"


def test_the_last_column_goes_on_below():
    assert shown(32, ["1", "1", "b", "it may have been bought"])[1:] == [
        "1        1 b     it may have",
        "                 been bought",
    ]


def test_wide_letters_take_two_places():
    assert shown(80, ["1", "1", "日本", "x"], ["1", "1", "日本語字", "x"])[1:] == [
        "1        1 日本   x",
        "1        1 日本 … x",
    ]


def test_markup_is_text():
    assert shown(80, ["[bold]1", "1", "b", "[red]x"])[1] == "[bold]1    1 b     [red]x"
