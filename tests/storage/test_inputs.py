"""One stream of JSON lines from any source, whatever the source does."""

import gzip
import hashlib
import io
import json
import os
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import duckdb
import pytest
import zstandard
from hypothesis import given as given_any
from hypothesis import strategies as st

from storage.contract import InputError, StoreUnavailable
from storage.inputs import Input, Line, open_input
from storage.lines import LINE_BYTES_MAX, whole_lines
from tests.storage.stores import BUCKET, s3_client

THREE = b'{"id":1}\n{"id":2}\n{"id":3}\n'
Opener = Callable[..., Input]


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    (tmp_path / "spool").mkdir()
    return tmp_path / "spool"


@pytest.fixture
def given(tmp_path: Path, spool: Path) -> Opener:
    """Opens a file of this name with these bytes."""

    def open_file(name: str, data: bytes, **options: Any) -> Input:
        (tmp_path / name).write_bytes(data)
        return open_input(str(tmp_path / name), spool_dir=spool, **options)

    return open_file


def lines(source: Input) -> list[Line]:
    return [line for chunk in source.chunks() for line in chunk]


def items(source: Input) -> list[Any]:
    return [json.loads(line.data or b"null") for line in lines(source)]


def problems(source: Input) -> list[tuple[int, str]]:
    return [(line.number, line.problem) for line in lines(source) if line.data is None]


# JSON lines


@pytest.mark.parametrize("name", ["a.jsonl", "a.ndjson", "a.json", "A.JSONL", "my.deals.jsonl"])
def test_json_lines_come_as_they_are(given: Opener, name: str) -> None:
    assert lines(given(name, THREE)) == [Line(1, b'{"id":1}'), Line(2, b'{"id":2}'), Line(3, b'{"id":3}')]


def test_an_empty_file_has_no_lines(given: Opener) -> None:
    assert list(given("a.jsonl", b"").chunks()) == []


def test_blank_lines_count_but_do_not_come(given: Opener) -> None:
    assert lines(given("a.jsonl", b'\n{"id":1}\n \t\n\n{"id":2}')) == [Line(2, b'{"id":1}'), Line(5, b'{"id":2}')]


def test_windows_line_ends_and_a_byte_order_mark_are_dropped(given: Opener) -> None:
    assert lines(given("a.jsonl", b'\xef\xbb\xbf{"id":1}\r\n{"id":2}\r\n')) == [
        Line(1, b'{"id":1}'),
        Line(2, b'{"id":2}'),
    ]


def test_only_line_feeds_end_a_line(given: Opener) -> None:
    text = '{"id":"a\u2028b\u0085c\x0bd\x0c"}'.encode()
    assert lines(given("a.jsonl", text)) == [Line(1, text)]


def test_bad_encoding_is_left_to_the_parser(given: Opener) -> None:
    assert lines(given("a.jsonl", b'{"id":"\xff"}\n')) == [Line(1, b'{"id":"\xff"}')]


def test_lines_longer_than_a_block_come_whole(given: Opener) -> None:
    long = b'"' + b"x" * (5 << 20) + b'"'
    assert lines(given("a.jsonl", b"1\n" + long + b"\n2\n" + long)) == [
        Line(1, b"1"), Line(2, long), Line(3, b"2"), Line(4, long)
    ]  # fmt: skip


@given_any(st.lists(st.binary(max_size=6) | st.sampled_from([b"\n", b"\r\n", b"a\nb", b""]), max_size=9))
def test_lines_do_not_depend_on_how_the_text_was_cut(parts: list[bytes]) -> None:
    wanted = b"".join(parts).split(b"\n")
    assert list(whole_lines(parts)) == (wanted if wanted[-1] else wanted[:-1])


def test_a_line_of_the_greatest_length_comes_and_one_byte_more_does_not(given: Opener) -> None:
    fits = b"x" * LINE_BYTES_MAX
    found = lines(given("a.jsonl", fits + b"\n" + fits + b"y\n" + THREE))
    assert [(line.number, line.data is None, line.problem) for line in found] == [
        (1, False, ""), (2, True, "longer than 16 MiB"), (3, False, ""), (4, False, ""), (5, False, "")
    ]  # fmt: skip


def test_a_json_array_is_refused_with_advice(given: Opener) -> None:
    with pytest.raises(InputError, match="jq -c"):
        lines(given("a.json", b'[\n{"id":1}\n]'))


def test_what_is_wrong_with_stdin_is_said_of_stdin(spool: Path) -> None:
    with pytest.raises(InputError, match=r"^stdin is a JSON array"):
        lines(open_input("-", spool_dir=spool, stdin=io.BytesIO(b"[]")))


def test_utf_16_is_refused(given: Opener) -> None:
    with pytest.raises(InputError, match="UTF-8"):
        lines(given("a.jsonl", '{"id":1}'.encode("utf-16")))


# chunks


def test_chunks_have_at_most_the_lines_and_bytes_asked_for(given: Opener) -> None:
    source = given("a.jsonl", b"1\n2\n3\n44444\n5\n6\n")
    assert [[line.number for line in chunk] for chunk in source.chunks(2, 100)] == [[1, 2], [3, 4], [5, 6]]
    assert [[line.number for line in chunk] for chunk in source.chunks(9, 3)] == [[1, 2, 3], [4], [5, 6]]


def test_an_input_can_be_read_twice(given: Opener) -> None:
    source = given("a.jsonl.gz", gzip.compress(THREE))
    assert lines(source) == lines(source) != []


def test_memory_stays_flat_over_a_large_file(given: Opener) -> None:
    source = given("a.jsonl", (b"x" * 4095 + b"\n") * 10_000)
    tracemalloc.start()
    assert sum(len(chunk) for chunk in source.chunks(1000, 1 << 20)) == 10_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


# compression


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.zst", "a.jsonl", "-"])
@pytest.mark.parametrize("compress", [gzip.compress, zstandard.compress])
def test_compressed_files_are_read_by_what_they_hold(
    given: Opener, spool: Path, name: str, compress: Callable[[bytes], bytes]
) -> None:
    data = compress(THREE) + compress(THREE)  # members may follow each other
    source = open_input("-", spool_dir=spool, stdin=io.BytesIO(data)) if name == "-" else given(name, data)
    assert [line.data for line in lines(source)] == THREE.split() * 2


def test_a_file_that_was_decompressed_on_the_way_is_read_all_the_same(given: Opener) -> None:
    assert len(lines(given("a.jsonl.gz", THREE))) == 3


@pytest.mark.parametrize("compress", [gzip.compress, zstandard.compress])
def test_a_truncated_file_ends_with_a_named_problem(given: Opener, compress: Callable[[bytes], bytes]) -> None:
    data = compress(os.urandom(2 << 20).hex().encode().replace(b"0", b"\n"))
    (number, problem), *others = problems(given("a.jsonl.gz", data[:-1000]))
    assert not others
    assert number > 50_000
    assert "Truncated" in problem


def test_a_corrupt_file_ends_with_a_named_problem(given: Opener) -> None:
    data = bytearray(gzip.compress(THREE))
    data[-6] ^= 1  # in the checksum
    assert "cannot be read from here on" in problems(given("a.jsonl.gz", bytes(data)))[-1][1]


def bomb(fill: bytes, mebibytes: int) -> bytes:
    packer = zlib.compressobj(wbits=31)
    return b"".join(packer.compress(fill * (1 << 20)) for _ in range(mebibytes)) + packer.flush()


@pytest.mark.parametrize(("fill", "mebibytes"), [(b"x", 50), (b"\n", 1)])
def test_a_bomb_takes_bounded_memory(given: Opener, fill: bytes, mebibytes: int) -> None:
    source = given("a.jsonl.gz", bomb(fill, mebibytes))
    tracemalloc.start()
    found = lines(source)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == ([Line(1, None, "longer than 16 MiB")] if fill == b"x" else [])
    assert peak < 2.5 * LINE_BYTES_MAX


def test_a_file_that_grows_beyond_reason_is_cut_off(given: Opener) -> None:
    assert "100 times" in problems(given("a.jsonl.gz", bomb(b"x", 70)))[-1][1]


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

VALUES = """
    SELECT i AS id, 'deal ' || i AS name, 1.50::DECIMAL(9,2) AS amount, [{'date': DATE '2026-01-02', 'n': i}] AS emails,
    NULL AS nothing, 'nan'::DOUBLE AS odd, TIMESTAMPTZ '2026-01-02 03:04:05+01' AS seen,
    [TIMESTAMPTZ '2026-01-02 03:04:05+01'] AS times, TIMESTAMP '2026-01-02 03:04:05' AS "the time", true AS won
    FROM range(1, 3) AS r(i)
"""
ROW = {
    "id": 1, "name": "deal 1", "amount": 1.50, "emails": [{"date": "2026-01-02", "n": 1}], "nothing": None, "odd": None,
    "seen": "2026-01-02T02:04:05.000000Z", "times": ["2026-01-02T02:04:05"], "the time": "2026-01-02T03:04:05",
    "won": True,
}  # fmt: skip


def made_parquet(path: Path, query: str = VALUES) -> bytes:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"COPY ({query}) TO '{path}' (FORMAT parquet)")
    return path.read_bytes()


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "crm.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute(f"CREATE TABLE deals AS {VALUES}")
        connection.execute("CREATE TABLE many AS SELECT i, hash(i) AS h FROM range(150000) AS r(i)")
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
    made_parquet(tmp_path / "made", "SELECT i FROM range(150000) AS r(i)")
    source = given("a.parquet", (tmp_path / "made").read_bytes())
    assert [item["i"] for item in items(source)] == list(range(150_000))


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
        given("a.jsonl", THREE, query="SELECT 1")
    with pytest.raises(InputError, match="go together"):
        open_input(str(database), spool_dir=spool)


# where it comes from


def test_the_identity_of_a_file_is_the_hash_of_its_bytes(given: Opener) -> None:
    data = gzip.compress(THREE)
    assert given("a.jsonl.gz", data).sha256 == hashlib.sha256(data).hexdigest()


def test_stdin_is_json_lines(spool: Path) -> None:
    source = open_input("-", spool_dir=spool, stdin=io.BytesIO(THREE))
    assert (source.name, source.sha256) == ("stdin", hashlib.sha256(THREE).hexdigest())
    assert len(lines(source)) == 3


def test_a_pipe_is_read_once_and_can_be_read_again(tmp_path: Path, spool: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jsonl")
    writer = Thread(target=(tmp_path / "pipe.jsonl").write_bytes, args=(THREE,))
    writer.start()
    source = open_input(str(tmp_path / "pipe.jsonl"), spool_dir=spool)
    writer.join()
    assert lines(source) == lines(source) != []


@pytest.mark.parametrize("key", ["in/deals.jsonl", "in=1/my deals é.jsonl", "a.csv", "a.parquet"])
def test_an_s3_object_is_read_like_a_file(s3_server: str, tmp_path: Path, spool: Path, key: str) -> None:
    client = s3_client(s3_server)
    data = {"a.csv": b"id\n1\n", "a.parquet": made_parquet(tmp_path / "made")}.get(key, THREE)
    client.put_object(Bucket=BUCKET, Key=key, Body=data)
    source = open_input(f"s3://{BUCKET}/{key}", spool_dir=spool, s3_client=client)
    assert source.name == f"s3://{BUCKET}/{key}"
    assert source.sha256 == hashlib.sha256(data).hexdigest()
    assert len(lines(source)) in (1, 2, 3)


@pytest.mark.parametrize("url", [f"s3://{BUCKET}/none.jsonl", f"s3://{BUCKET}", "s3://B/x.jsonl", "s3:///x.jsonl"])
def test_an_s3_object_that_is_not_there_is_refused(s3_server: str, spool: Path, url: str) -> None:
    with pytest.raises(InputError):
        open_input(url, spool_dir=spool, s3_client=s3_client(s3_server))


def test_a_bucket_that_is_not_there_is_no_input_error(s3_server: str, spool: Path) -> None:
    with pytest.raises(StoreUnavailable):
        open_input("s3://no-such-bucket/a.jsonl", spool_dir=spool, s3_client=s3_client(s3_server))


@pytest.mark.parametrize(
    "name", ["none.jsonl", "none", "", "spool", "none.parquet", "none.duckdb", "a.xlsx", "a.jsonl.gz.txt"]
)
def test_what_is_no_input_is_refused_in_one_sentence(tmp_path: Path, spool: Path, name: str) -> None:
    with pytest.raises(InputError) as caught:
        open_input(str(tmp_path / name), spool_dir=spool, query="SELECT 1" if name.endswith(".duckdb") else None)
    assert "\n" not in str(caught.value)


def test_an_input_that_is_removed_is_refused(given: Opener, tmp_path: Path) -> None:
    source = given("a.jsonl", THREE)
    (tmp_path / "a.jsonl").unlink()
    with pytest.raises(InputError, match="changed"):
        lines(source)


def test_an_input_that_changes_while_it_is_read_is_refused(given: Opener, tmp_path: Path) -> None:
    source = given("a.jsonl", THREE)
    chunks = source.chunks(1)
    next(chunks)
    with (tmp_path / "a.jsonl").open("ab") as file:
        file.write(b"4\n")
    with pytest.raises(InputError, match="changed"):
        list(chunks)
