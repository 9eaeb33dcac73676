"""Screening: what a new job need not buy, decided in the order given, however the items are cut into chunks."""

import random
from collections import Counter
from pathlib import Path

import pytest

from storage.results import Results, Verdict
from tests.results.kit import Night


def fill(night: Night) -> Results:
    """One answered request, one dead, one in flight."""
    night.job("j1", 3)
    night.settle("j1", "1-00001", {"answered": "succeeded", "dead": "refused"})
    night.shard("j1", "1-00002", ["flying"])
    night.results.start_screening()
    return night.results


def test_the_five_verdicts(night: Night) -> None:
    results = fill(night)
    items = ["d1", "d2", "d3", "d4", "d5", "d1"]
    keys = ["answered", "flying", "dead", "fresh", "fresh", "other"]
    assert results.screen(items, keys) == ["reused", "in_flight", "new", "new", "shared", "duplicate"]


def test_chunks_remember_each_other(night: Night) -> None:
    results = fill(night)
    assert results.screen(["d1", "d2"], ["x", "y"]) == ["new", "new"]
    assert results.screen(["d3", "d1", "d4"], ["x", "z", "z"]) == ["shared", "duplicate", "new"]


def test_a_duplicate_buys_nothing_and_shares_nothing(night: Night) -> None:
    results = fill(night)
    assert results.screen(["d1", "d1", "d2"], ["x", "y", "y"]) == ["new", "duplicate", "new"]
    assert results.screen(["d1", "d3"], ["z", "z"]) == ["duplicate", "new"]


def test_a_screening_forgets_the_one_before(night: Night) -> None:
    results = fill(night)
    results.screen(["d1"], ["x"])
    results.start_screening()
    assert results.screen(["d1"], ["x"]) == ["new"]


def test_a_settled_shard_is_no_longer_in_flight(night: Night) -> None:
    results = fill(night)
    night.merge("j1", "1-00002", {"flying": "failed"})
    night.close_shard("j1", "1-00002", 1)
    results.start_screening()
    assert results.screen(["d1"], ["flying"]) == ["new"]


def test_an_empty_chunk_has_no_verdicts(night: Night) -> None:
    assert fill(night).screen([], []) == []


def test_hostile_ids_are_data(night: Night) -> None:
    ids = ["'; DROP TABLE results; --", '"', "\u2028", "=1+1", "a\x00b", "a", "", "İ", "i̇"]
    assert fill(night).screen(ids, ids) == ["new"] * len(ids)


def test_a_hundred_thousand_items_fit_in_little_memory(tmp_path: Path) -> None:
    size = 50_000
    with Results(tmp_path / "private.duckdb", memory_mb=48) as results:
        results.start_screening()
        verdicts: Counter[Verdict] = Counter()
        for start in (0, size, 0):
            ids = [f"{number:0120}" for number in range(start, start + size)]
            verdicts.update(results.screen(ids, [f"{number // 2:064}" for number in range(start, start + size)]))
    assert verdicts == {"new": size, "shared": size, "duplicate": size}


def expected(pairs: list[tuple[str, str]]) -> list[str]:
    """The rule, said once more in plain Python."""
    items: set[str] = set()
    bought: set[str] = set()
    verdicts = []
    for item, key in pairs:
        verdict = {"answered": "reused", "flying": "in_flight"}.get(key, "shared" if key in bought else "new")
        verdicts.append("duplicate" if item in items else verdict)
        items.add(item)
        bought.update({key} if verdicts[-1] == "new" else ())
    return verdicts


@pytest.mark.parametrize("seed", range(5))
def test_verdicts_are_those_of_the_plain_rule(night: Night, seed: int) -> None:
    chance = random.Random(seed)
    results = fill(night)
    for _ in range(8):
        size = chance.randrange(1, 30)
        pairs = [
            (f"d{chance.randrange(12)}", chance.choice(["answered", "flying", "dead", *"uvwxyz"])) for _ in range(size)
        ]
        cut = chance.randrange(size)
        results.start_screening()
        found = [results.screen([d for d, _ in part], [k for _, k in part]) for part in (pairs[:cut], pairs[cut:])]
        assert [*found[0], *found[1]] == expected(pairs)
