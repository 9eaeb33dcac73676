"""Rows of CSV files, Parquet files and DuckDB queries as JSON lines."""

import gzip
import hashlib
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from storage.contract import InputError
from storage.inputs import Input, Line, open_input
from storage.lines import LINE_BYTES_MAX
from tests.storage.sources import VALUES, Opener, items, lines, made_parquet, problems

# CSV


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_csv_rows_become_objects_of_text(given: Opener, delimiter: str) -> None:
    data = 'deal_id,name,note\n00123,Å,"a\r\nb ""c"""\n7,x,\n'.replace(",", delimiter).encode()
    assert items(given("a.csv", data)) == [
        {"deal_id": "00123", "name": "Å", "note": 'a\r\nb "c"'},
        {"deal_id": "7", "name": "x"},
    ]


def test_csv_rows_have_the_number_of_the_line_they_begin_on(given: Opener) -> None:
    source = given("a.csv", b'\xef\xbb\xbfid,note\r\n1,"two\nlines"\n\n2,x\n')
    assert [line.number for line in lines(source)] == [2, 5]
    assert [item["id"] for item in items(source)] == ["1", "2"]


def test_malformed_csv_rows_are_named_and_the_others_come(given: Opener) -> None:
    source = given("a.csv", b'id,note\n1,a\n2\n3,"a"b\n4,b,c\n5,\xff\n6,d\n')
    assert [number for number, _ in problems(source)] == [3, 4, 5, 6]
    assert [line.number for line in lines(source) if line.data] == [2, 7]
    assert dict(problems(source))[3] == "not a CSV row: 1 cells where the header has 2"
    assert dict(problems(source))[6] == "not UTF-8"


def test_a_csv_quote_that_never_ends_is_named_where_it_begins(given: Opener) -> None:
    assert problems(given("a.csv", b'id,note\n1,a\n2,"b\n3,c\n')) == [(3, "not a CSV row: unexpected end of data")]


def test_an_overlong_csv_line_is_named_and_the_next_row_comes(given: Opener) -> None:
    source = given("a.csv", b"id,note\n1," + b"x" * LINE_BYTES_MAX + b"\n2,b\n")
    assert problems(source) == [(2, "longer than 16 MiB")]
    assert lines(source)[-1] == Line(3, b'{"id":"2","note":"b"}')


def test_long_csv_cells_come_whole(given: Opener) -> None:
    assert items(given("a.csv", b"id,note\n1," + b"x" * 1_000_000)) == [{"id": "1", "note": "x" * 1_000_000}]


def test_csv_cells_that_are_json_become_json_and_others_stay_text(given: Opener) -> None:
    data = b'emails,note\n"[{""subject"": ""[a]""}]",[call] with {x}\n[],"{""a"": 1}"\n'
    assert items(given("a.csv", data)) == [
        {"emails": [{"subject": "[a]"}], "note": "[call] with {x}"},
        {"emails": [], "note": {"a": 1}},
    ]


def test_deeply_nested_csv_cells_stay_text(given: Opener) -> None:
    cell = b"[" * 100_000 + b"]" * 100_000
    assert items(given("a.csv", b"a\n" + cell)) == [{"a": cell.decode()}]


@pytest.mark.parametrize("data", [b"", b"id,note\n", b"\xef\xbb\xbf", b"id,note\n\n,\n,,,\n"])
def test_a_csv_without_rows_has_no_lines(given: Opener, data: bytes) -> None:
    assert lines(given("a.csv", data)) == []


@pytest.mark.parametrize("header", [b"id,id", b'id,"no', b"id,,"])
def test_a_bad_csv_header_is_refused(given: Opener, header: bytes) -> None:
    with pytest.raises(InputError, match="header"):
        lines(given("a.csv", header + b"\n1,2\n"))


def test_compressed_csv_is_read(given: Opener) -> None:
    assert items(given("a.csv.gz", gzip.compress(b"id\n1\n"))) == [{"id": "1"}]


# Parquet and DuckDB

ROW = {
    "id": 1, "name": "deal 1", "amount": 1.50, "emails": [{"date": "2026-01-02", "n": 1}], "nothing": None, "odd": None,
    "seen": "2026-01-02T02:04:05.000000Z", "times": ["2026-01-02T02:04:05"], "the time": "2026-01-02T03:04:05",
    "won": True,
}  # fmt: skip


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "crm.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute(f"CREATE TABLE deals AS {VALUES}")
        connection.execute("CREATE TABLE many AS SELECT i, hash(i) AS h FROM range(125000) AS r(i)")
    return path


def query(database: Path, spool: Path, text: str) -> Input:
    return open_input(str(database), query=text, spool_dir=spool)


def test_parquet_rows_become_objects(given: Opener, tmp_path: Path) -> None:
    source = given("a.parquet", made_parquet(tmp_path / "made"))
    assert items(source)[0] == ROW
    assert [line.number for line in lines(source)] == [1, 2]


def test_a_parquet_file_is_found_whatever_its_name(given: Opener, tmp_path: Path) -> None:
    data = made_parquet(tmp_path / "made")
    for name in ("it's.parquet", "[1].parquet", "a*b?.parquet", "ä b.parquet", "a{b,c}.parquet"):
        assert len(lines(given(name, data))) == 2


def test_parquet_rows_keep_their_order(given: Opener, tmp_path: Path) -> None:
    made_parquet(tmp_path / "made", "SELECT i FROM range(125000) AS r(i)")
    source = given("a.parquet", (tmp_path / "made").read_bytes())
    assert [item["i"] for item in items(source)] == list(range(125_000))


@pytest.mark.parametrize("data", [b"", b"PAR1", b"hello" * 100])
def test_a_file_that_is_not_parquet_is_refused(given: Opener, data: bytes) -> None:
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        lines(given("a.parquet", data))


def test_a_parquet_file_with_broken_pages_ends_with_a_named_problem(given: Opener, tmp_path: Path) -> None:
    data = bytearray(made_parquet(tmp_path / "made", "SELECT hash(i) AS h FROM range(150000) AS r(i)"))
    beginning = len(data) * 9 // 10  # in the second of two row groups
    data[beginning - 40_000 : beginning] = bytes(40_000)
    source = given("a.parquet", bytes(data))
    assert "cannot be read from here on" in problems(source)[-1][1]


def test_rows_of_a_query_become_objects_in_its_order(database: Path, spool: Path) -> None:
    assert items(query(database, spool, "SELECT * FROM deals ORDER BY id DESC;"))[1] == ROW
    found = items(query(database, spool, "SELECT i FROM many ORDER BY h -- by hash\n"))
    with duckdb.connect(str(database), read_only=True) as connection:
        wanted = connection.execute("SELECT i FROM many ORDER BY h").fetchall()
    assert [item["i"] for item in found] == [i for (i,) in wanted]


def test_the_same_query_has_the_same_identity_each_time(database: Path, spool: Path) -> None:
    text = "SELECT h % 1000 AS g, count(*) AS n FROM many GROUP BY ALL"
    first = query(database, spool, text)
    assert first.sha256 == query(database, spool, text).sha256
    assert first.sha256 == hashlib.sha256(b"".join((line.data or b"") + b"\n" for line in lines(first))).hexdigest()
    assert first.sha256 != query(database, spool, text + " LIMIT 9").sha256


def test_json_columns_and_columns_of_one_name_survive(database: Path, spool: Path) -> None:
    source = query(database, spool, """SELECT '{"b": [1]}'::JSON AS a, 1 AS x, 2 AS x, NULL::JSON AS n""")
    assert items(source) == [{"a": {"b": [1]}, "x": 1, "x_1": 2, "n": None}]


@pytest.mark.parametrize(
    "text",
    [
        "SELECT * FROM nowhere", "SELEC 1", "SELECT 1; SELECT 2", "DROP TABLE deals", "COPY deals TO 'x.csv'",
        "SELECT * FROM read_text('/etc/passwd')", "SELECT * FROM 'a.parquet'", "SELECT 'secret'::INT", "INSTALL httpfs",
        ") AS a; DROP TABLE deals --", "SELECT spool", "SELECT error('secret')", ";",
    ],
)  # fmt: skip
def test_a_query_that_cannot_be_run_is_refused_in_one_sentence(database: Path, spool: Path, text: str) -> None:
    with pytest.raises(InputError, match=r"the query (over .*crm\.duckdb cannot be run|broke off): ") as caught:
        query(database, spool, text)
    assert "\n" not in str(caught.value)


def test_a_query_error_never_shows_a_value(database: Path, spool: Path) -> None:
    for text in ("SELECT 'se' || 'cret' || name AS x, x::INT FROM deals", "SELECT CAST(name AS DATE) FROM deals"):
        with pytest.raises(InputError) as caught:
            query(database, spool, text)
        assert "secret" not in str(caught.value)
        assert "deal 1" not in str(caught.value)


def test_a_database_that_somebody_writes_to_is_refused(database: Path, spool: Path) -> None:
    holder = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", holder, str(database)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(InputError, match="lock"):
            query(database, spool, "SELECT 1")
        process.communicate()


def test_a_file_that_is_no_database_is_refused(given: Opener) -> None:
    with pytest.raises(InputError, match="not a valid DuckDB"):
        given("a.duckdb", b"hello" * 1000, query="SELECT 1")


def test_a_query_and_a_database_go_together(given: Opener, database: Path, spool: Path) -> None:
    with pytest.raises(InputError, match="go together"):
        given("a.jsonl", b"{}", query="SELECT 1")
    with pytest.raises(InputError, match="go together"):
        open_input(str(database), spool_dir=spool)
