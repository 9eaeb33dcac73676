"""One stream of JSON lines from any source, whatever the source does."""

import gzip
import hashlib
import io
import os
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import pytest
import zstandard
from hypothesis import given as given_any
from hypothesis import strategies as st

from storage.contract import InputError, StoreUnavailable
from storage.inputs import Line, last_of, open_input
from storage.lines import LINE_BYTES_MAX, whole_blocks, whole_lines
from tests.storage.sources import Opener, lines, made_parquet, problems
from tests.storage.stores import BUCKET, s3_client

THREE = b'{"id":1}\n{"id":2}\n{"id":3}\n'


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
    blocks = [block or b"" for block in whole_blocks(parts)]
    assert (b"".join(blocks), [block for block in blocks[:-1] if block[-1:] != b"\n"]) == (b"".join(parts), [])


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


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv"])
def test_a_large_file_comes_in_small_chunks(given: Opener, name: str) -> None:
    chunks = list(given(name, b"x" * 99 + b"\n" + (b"7" * 99 + b"\n") * 9_999).chunks())
    numbers = [[line.number for line in chunk] for chunk in chunks]
    assert [number for some in numbers for number in some] == list(range(1 + (name == "a.csv"), 10_001))
    assert [last_of(chunk) for chunk in chunks] == [some[-1] for some in numbers]
    assert max(map(len, numbers)) < 3_000


def test_an_input_can_be_read_twice(given: Opener) -> None:
    source = given("a.jsonl.gz", gzip.compress(THREE))
    assert lines(source) == lines(source) != []


def test_memory_stays_flat_over_a_large_file(given: Opener) -> None:
    source = given("a.jsonl", (b"x" * 4095 + b"\n") * 10_000)
    tracemalloc.start()
    assert sum(1 for chunk in source.chunks() for _ in chunk) == 10_000
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
    chunks = source.chunks()
    next(chunks)
    with (tmp_path / "a.jsonl").open("ab") as file:
        file.write(b"4\n")
    with pytest.raises(InputError, match="changed"):
        list(chunks)
