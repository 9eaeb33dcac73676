"""The DuckDB files as a command meets them: what is no good is set aside and made anew, and a sentence says so."""

import shutil
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
from click.testing import CliRunner, Result

from batchjobs.cli import cli
from batchjobs.errors import exit_code_of
from batchjobs.verify import verify
from storage.results import Results
from tests.damage.kit import flip
from tests.world import World, documents

MakeWorld = Callable[..., World]


@pytest.fixture
def night(make_world: MakeWorld) -> World:
    """A finished job, and its two DuckDB files."""
    world = make_world()
    world.run(world.write(documents(40)))
    return world


def command(world: World, *words: str) -> tuple[int, str]:
    """Exit code and everything said."""
    settings = {
        "BATCHJOBS_STORE": world.store,
        "BATCHJOBS_RESULTS": str(world.folder / "results.duckdb"),
        "BATCHJOBS_STATE_DIR": str(world.folder / "state"),
    }
    done: Result = CliRunner().invoke(cli, words, env=settings, standalone_mode=False)
    code = done.return_value if done.exception is None else exit_code_of(done.exception)
    return code, done.output + str(done.exception or "")


def garbage(path: Path) -> None:
    path.write_bytes(b"this is not a database " * 1000)


def garbage_log(path: Path) -> None:
    path.with_name(f"{path.name}.wal").write_bytes(b"this is not a log " * 1000)


def newer(path: Path) -> None:
    with duckdb.connect(path) as connection:
        connection.execute("INSERT INTO schema_migrations (version, name) VALUES (999, 'of a later release')")


def a_bad_block(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[content.index(b"doc-1")] ^= 255
    path.write_bytes(content)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:20_000])


SPOILS = [garbage, garbage_log, newer, a_bad_block, cut_short]


@pytest.mark.parametrize("spoil", SPOILS)
@pytest.mark.parametrize("words", [["collect"], ["verify"], ["failures", "JOB"], ["rebuild"]])
def test_a_private_file_that_is_no_good_is_made_anew(night: World, spoil: Callable[[Path], None], words: list[str]):
    job = next((Path(night.store) / "jobs").iterdir()).name
    before = night.sql("SELECT * FROM label ORDER BY ALL")
    spoil(night.desk().database)
    code, said = command(night, *(job if word == "JOB" else word for word in words))
    assert code == 0, said
    assert "made anew" in said or silent(spoil, words)
    assert verify(night.desk()).violations == []
    command(night, "collect")
    assert night.sql("SELECT * FROM label ORDER BY ALL") == before


def silent(spoil: Callable[[Path], None], words: list[str]) -> bool:
    """What needs no sentence: DuckDB passes over such a log, and a collect that has nothing to merge reads no block."""
    return words == ["rebuild"] or spoil is garbage_log or (spoil is a_bad_block and words == ["collect"])


def test_a_private_file_in_use_is_left_alone_and_the_holder_named(night: World):
    with Results(night.desk().database):
        code, said = command(night, "collect")
    assert (code, "is in use by process" in said) == (6, True)
    assert command(night, "collect")[0] == 0


def test_a_directory_in_the_private_files_place_is_said(night: World):
    path = night.desk().database
    path.unlink()
    path.mkdir()
    code, said = command(night, "collect")
    assert (code, str(path) in said) == (6, True)


def read_only(path: Path) -> None:
    path.chmod(0o444)


@pytest.mark.parametrize("spoil", [garbage, flip, read_only, Path.unlink])
def test_the_analysts_file_is_replaced_whatever_became_of_it(night: World, spoil: Callable[[Path], None]):
    before = night.sql("SELECT * FROM label ORDER BY ALL")
    spoil(night.folder / "results.duckdb")
    assert command(night, "collect")[0] == 0
    assert night.sql("SELECT * FROM label ORDER BY ALL") == before


def test_a_directory_in_the_analysts_files_place_is_said_and_nothing_is_lost(night: World):
    path = night.folder / "results.duckdb"
    path.unlink()
    path.mkdir()
    code, said = command(night, "collect")
    assert (code, str(path) in said) == (6, True)
    shutil.rmtree(path)
    assert command(night, "collect")[0] == 0
    assert night.sql("SELECT count(*) FROM label") == [(40,)]
