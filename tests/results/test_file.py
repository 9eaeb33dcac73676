"""The database file: one process at a time, moved aside when unreadable, published without disturbing a reader."""

import os
from pathlib import Path

import duckdb
import pytest

from storage.contract import Corrupt, Damaged, StoreUnavailable
from storage.duckfile import meaning
from storage.migrations import MIGRATIONS, Migration, migrate, schema_version
from storage.results import Results
from tests.results.kit import Night, answer_of, ask, python

OPEN_ELSEWHERE = "import sys, pathlib; from storage.results import Results; Results(pathlib.Path(sys.argv[1])).close()"
READER = """
import sys, duckdb
def count():
    return connection.execute("SELECT count(*) FROM results").fetchone()[0]
connection = duckdb.connect(sys.argv[1], read_only=True)
print(count(), flush=True)
sys.stdin.readline()
print(count(), flush=True)
connection.close()
connection = duckdb.connect(sys.argv[1], read_only=True)
print(count(), flush=True)
"""


def columns_added(count: int) -> tuple[Migration, ...]:
    """The migrations of later releases, as they might be."""
    later = (
        Migration(
            MIGRATIONS[-1].version + n, f"note {n}", f"ALTER TABLE jobs ADD COLUMN note_{n} VARCHAR DEFAULT 'none'"
        )
        for n in range(1, count + 1)
    )
    return (*MIGRATIONS, *later)


def test_an_empty_file_gets_every_migration_once(tmp_path: Path) -> None:
    path = tmp_path / "private.duckdb"
    for _ in range(2):
        Results(path).close()
    assert ask(path, "FROM schema_migrations ORDER BY version") == [(m.version, m.name) for m in MIGRATIONS]


def test_a_file_of_this_release_takes_the_migrations_of_the_next_and_keeps_its_rows(night: Night) -> None:
    night.job("j1", 1)
    night.settle("j1", "1-00001", {"a": "succeeded"})
    night.results.close()
    with duckdb.connect(str(night.folder / "private.duckdb")) as connection:
        migrate(connection, columns_added(2))
        migrate(connection, columns_added(2))
        assert schema_version(connection) == MIGRATIONS[-1].version + 2
        assert connection.execute("SELECT job_id, note_1, note_2 FROM jobs").fetchall() == [("j1", "none", "none")]
        assert connection.execute("SELECT count(*) FROM results").fetchall() == [(1,)]


def test_a_migration_that_fails_leaves_the_version_before_it(tmp_path: Path) -> None:
    broken = (*columns_added(1), Migration(99, "broken", "CREATE TABLE half (a INTEGER); SELECT * FROM nowhere"))
    with duckdb.connect(str(tmp_path / "file")) as connection, pytest.raises(duckdb.CatalogException):
        migrate(connection, broken)
    with duckdb.connect(str(tmp_path / "file")) as connection:
        assert schema_version(connection) == MIGRATIONS[-1].version + 1
        assert connection.execute("SELECT 1 FROM duckdb_tables() WHERE table_name = 'half'").fetchall() == []


def newer(path: Path) -> None:
    Results(path).close()
    with duckdb.connect(str(path)) as connection:
        migrate(connection, columns_added(1))


def somebody_elses(path: Path) -> None:
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE theirs (a INTEGER)")


def truncated(path: Path) -> None:
    Results(path).close()
    os.truncate(path, 9000)


def with_a_flipped_header(path: Path) -> None:
    Results(path).close()
    content = bytearray(path.read_bytes())
    for at in range(4096, 12288, 64):
        content[at] ^= 255
    path.write_bytes(content)


def garbage(path: Path) -> None:
    path.write_bytes(b"this is not a database " * 1000)


def empty(path: Path) -> None:
    path.touch()


@pytest.mark.parametrize("spoil", [newer, somebody_elses, truncated, with_a_flipped_header, garbage, empty])
def test_a_file_that_cannot_be_used_is_moved_aside_and_a_fresh_one_made(tmp_path: Path, spoil) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "private.duckdb"
    spoil(path)
    before = path.read_bytes()
    with Results(path) as results:
        assert results.set_aside == tmp_path / "private.duckdb.set-aside-1"
        assert (
            results.set_aside.read_bytes()[8192:] == before[8192:]
        )  # DuckDB may have touched the header of a sound one
        Night(tmp_path, results).job("j1", 0)


def test_every_file_moved_aside_keeps_a_name_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "private.duckdb"
    for number in (1, 2, 3):
        path.write_bytes(b"garbage" * number)
        (tmp_path / "private.duckdb.wal").write_bytes(b"log" * number)
        Results(path).close()
    assert [(tmp_path / f"private.duckdb.set-aside-{n}").read_bytes() for n in (1, 2, 3)] == [
        b"garbage" * n for n in (1, 2, 3)
    ]
    assert (tmp_path / "private.duckdb.set-aside-3.wal").read_bytes() == b"log" * 3


def test_a_sound_file_is_not_moved(tmp_path: Path) -> None:
    for _ in range(2):
        with Results(tmp_path / "private.duckdb") as results:
            assert results.set_aside is None


def test_a_sound_file_that_grew_and_shrank_is_not_moved(night: Night) -> None:
    for number in range(4):  # what is freed at the end of the file is cut off, and counted as a block all the same
        night.job(f"j{number}", 1)
        night.settle(f"j{number}", "1-00001", {f"a{number}": "succeeded"})
        night.results.close()
        night.results = Results(night.folder / "private.duckdb")
        assert night.results.set_aside is None
    assert night.ask("SELECT count(*) FROM jobs") == [(4,)]


def test_what_is_no_file_stays_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "private.duckdb").mkdir()
    with pytest.raises(StoreUnavailable, match="read and write"):
        Results(tmp_path / "private.duckdb")
    assert (tmp_path / "private.duckdb").is_dir()


@pytest.mark.parametrize("missing", [1, 300_000, 900_000])
def test_a_file_whose_end_is_missing_is_made_anew(night: Night, missing: int) -> None:
    """DuckDB opens some of them and stumbles later, over what lay there."""
    night.job("a", 20_000)
    night.shard("a", "1-00001", [f"key-{n}" for n in range(20_000)])
    path = night.folder / "private.duckdb"
    night.results.close()
    os.truncate(path, path.stat().st_size - missing)
    with Results(path) as results:
        assert results.set_aside is not None
        assert results.violations() == []


def test_a_setting_that_is_none_moves_nothing(tmp_path: Path) -> None:
    Results(tmp_path / "private.duckdb").close()
    with pytest.raises(ValueError, match="threads"):
        Results(tmp_path / "private.duckdb", threads=0)
    Results(tmp_path / "private.duckdb").close()
    assert [path.name for path in tmp_path.iterdir()] == ["private.duckdb"]


def test_a_block_that_went_bad_is_named_and_never_read(night: Night) -> None:
    night.job("j1", 2000)
    night.settle("j1", "1-00001", {f"{number:064}": "succeeded" for number in range(2000)})
    night.results.close()
    path = night.folder / "private.duckdb"
    content = bytearray(path.read_bytes())
    content[content.index(b"deal 0000")] ^= 255
    path.write_bytes(content)
    with pytest.raises(Corrupt, match=r"private\.duckdb is damaged"):
        look_at_everything(path)


def look_at_everything(path: Path) -> None:
    with Results(path) as results:
        results.violations()


def test_a_second_process_is_told_who_has_the_file(night: Night) -> None:
    told = answer_of(OPEN_ELSEWHERE, str(night.folder / "private.duckdb"))
    assert f"in use by process {os.getpid()}: wait for it" in told
    assert told.startswith("storage.contract.StoreUnavailable")


def test_the_file_stays_locked_after_it_was_published(night: Night) -> None:
    night.publish()
    night.publish()
    assert "StoreUnavailable" in answer_of(OPEN_ELSEWHERE, str(night.folder / "private.duckdb"))


def test_the_file_is_free_once_closed(night: Night) -> None:
    night.results.close()
    assert answer_of(OPEN_ELSEWHERE + "; print('free')", str(night.folder / "private.duckdb")) == "free"


def test_one_process_opens_the_file_once(night: Night) -> None:
    with pytest.raises(StoreUnavailable, match=f"process {os.getpid()}"):
        Results(night.folder / "private.duckdb")


def test_a_reader_keeps_what_it_opened_and_the_next_look_sees_the_new(night: Night) -> None:
    night.job("j1", 3)
    night.settle("j1", "1-00001", {"a": "succeeded"})
    with python(READER, str(night.publish())) as reader:
        assert reader.stdin is not None
        assert reader.stdout is not None
        assert reader.stdout.readline() == "1\n"
        night.settle("j1", "1-00002", {"b": "succeeded", "c": "succeeded"})
        night.publish()
        reader.stdin.write("look again\n")
        reader.stdin.flush()
        assert reader.stdout.read() == "1\n3\n"


def test_publishing_leaves_no_other_file_and_keeps_the_mode(night: Night) -> None:
    target = night.publish()
    target.chmod(0o640)
    night.publish()
    assert target.stat().st_mode & 0o777 == 0o640
    assert {path.name for path in night.folder.iterdir()} <= {"private.duckdb", "private.duckdb.wal", "results.duckdb"}


def test_what_a_killed_publisher_left_does_not_matter(night: Night) -> None:
    (night.folder / "results.duckdb.new").write_bytes(b"half a copy" * 100_000)
    night.job("j1", 0)
    assert night.ask("SELECT job_id FROM jobs") == [("j1",)]


def test_a_place_that_cannot_be_written_leaves_the_published_file_alone(night: Night) -> None:
    (night.folder / "file").touch()
    with pytest.raises(StoreUnavailable, match=r"cannot publish .* run the same command again"):
        night.results.publish(night.folder / "file" / "results.duckdb")
    (night.folder / "results.duckdb").mkdir()
    with pytest.raises(StoreUnavailable, match=r"cannot publish .* run the same command again"):
        night.results.publish(night.folder / "results.duckdb")


def test_the_published_file_has_the_format_of_the_older_client(night: Night) -> None:
    with duckdb.connect(str(night.publish()), read_only=True) as connection:
        tags = connection.execute("SELECT tags FROM duckdb_databases() WHERE NOT internal").fetchall()
    assert tags == [({"storage_version": "v1.5.0+"},)]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (duckdb.IOException("Could not write file: No space left on device"), StoreUnavailable),
        (duckdb.OutOfMemoryException("failed to allocate"), StoreUnavailable),
        (duckdb.FatalException("database has been invalidated"), Corrupt),
        (duckdb.ConversionException("Could not convert 'the customer said'"), Damaged),
    ],
)
def test_an_error_says_what_to_do_and_quotes_nothing(error: duckdb.Error, kind: type[Exception]) -> None:
    said = meaning(error, "the outcomes of j1/1-00001", Path("private.duckdb"))
    assert type(said) is kind
    assert "customer" not in str(said)


def test_what_a_killed_process_spilled_is_removed(tmp_path: Path) -> None:
    left = tmp_path / "private.duckdb.spill" / "duckdb_temp_storage_DEFAULT-0.tmp"
    left.parent.mkdir()
    left.write_bytes(b"personal data")
    Results(tmp_path / "private.duckdb").close()
    assert not left.exists()
