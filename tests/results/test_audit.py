"""The audit: every promised identity that does not hold is named."""

from collections.abc import Callable

import duckdb
import pytest

from storage.results import Results
from tests.results.kit import Night


@pytest.fixture
def spoil(night: Night) -> Callable[[str], list[str]]:
    """Do something to a sound store that no load could have done, and audit it."""
    night.job("j1", 2)
    night.settle("j1", "1-00001", {"a": "succeeded", "b": "errored"})
    night.settle("j1", "2-00001", {"b": "succeeded"})
    night.job("j2", 1, [("a deal", "a", "reused")])
    assert night.results.violations() == []

    def spoil(statement: str) -> list[str]:
        night.results.close()
        with duckdb.connect(str(night.folder / "private.duckdb")) as connection:
            connection.execute(statement)
        night.results = Results(night.folder / "private.duckdb")
        return night.results.violations()

    return spoil


@pytest.mark.parametrize(
    ("statement", "sentence"),
    [
        ("DELETE FROM items WHERE job_id = 'j2'", "job j2 has 0 items, 0 of them distinct, instead of 1"),
        ("UPDATE items SET item_id = 'x'", "job j1 has 2 items, 1 of them distinct, instead of 2"),
        ("DELETE FROM attempts WHERE outcome = 'errored'", "shard j1/1-00001 has 1 requests without an outcome"),
        ("INSERT INTO attempts SELECT * FROM attempts WHERE outcome = 'errored'", "has 3 outcomes for 2 requests"),
        ("INSERT INTO results FROM results WHERE request_key = 'a'", "request a has 2 accepted answers"),
        ("DELETE FROM results WHERE request_key = 'a'", "1 usable answers of which none was accepted"),
        ("UPDATE results SET shard_id = '1-00001'", "shard j1/1-00001 has 1 accepted answers that it did not bring"),
        ("DELETE FROM requests WHERE shard_id LIKE '2%'", "0 requests, 0 of them distinct, instead of 1"),
    ],
)
def test_what_is_lost_or_doubled_is_named(spoil: Callable[[str], list[str]], statement: str, sentence: str) -> None:
    assert any(sentence in found for found in spoil(statement))
