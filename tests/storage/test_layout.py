"""Keys: whatever ids are accepted, a key stays inside its job and belongs to nothing else."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import layout
from storage.contract import BadName

ids = st.text(max_size=130) | st.from_regex(r"[A-Za-z0-9._-]{1,130}", fullmatch=True)
hashes = st.text(max_size=9) | st.from_regex(r"[0-9a-f]{8}", fullmatch=True)
numbers = st.integers(-2, 2_000_000)

BUILDERS: dict[Callable[..., str], tuple[st.SearchStrategy[Any], ...]] = {
    layout.plan_key: (ids,),
    layout.shard_key: (ids, ids, hashes),
    layout.requests_key: (ids, ids, hashes),
    layout.carried_key: (ids, hashes),
    layout.rejects_key: (ids, hashes),
    layout.raw_key: (ids, ids, numbers, ids, hashes),
    layout.outcomes_key: (ids, ids, hashes),
    layout.strays_key: (ids, ids, hashes),
    layout.ledger_key: (ids, ids, numbers),
}
calls = st.one_of(*(st.tuples(st.just(build), st.tuples(*arguments)) for build, arguments in BUILDERS.items()))


def made(call: tuple[Callable[..., str], tuple[Any, ...]]) -> str | None:
    try:
        return call[0](*call[1])
    except BadName:
        return None


@given(calls)
def test_a_key_stays_inside_its_job_and_every_store_can_hold_it(call: Any) -> None:
    key = made(call)
    if key is not None:
        assert layout.checked_key(key) == key
        assert key.startswith(layout.job_prefix(call[1][0]))
        assert key.startswith(layout.jobs_prefix())
        assert key.split("/")[1] == call[1][0]


@given(calls, calls)
def test_two_things_never_share_a_key(one: Any, other: Any) -> None:
    if one != other and made(one) is not None:
        assert made(one) != made(other)


near = st.sampled_from(["a", "1", "a-1", "1-a", "a_1", "a-1-a", "carried", "rejects", "plan", "items"])
near_hashes = st.sampled_from(["00000000", "deadbeef"])
near_numbers = st.sampled_from([1, 11, 111, 999_999])
NEAR = {id(ids): near, id(hashes): near_hashes, id(numbers): near_numbers}
near_calls = st.one_of(
    *(st.tuples(st.just(build), st.tuples(*(NEAR[id(a)] for a in arguments))) for build, arguments in BUILDERS.items())
)


@given(near_calls, near_calls)
def test_not_even_look_alikes_share_a_key(one: Any, other: Any) -> None:
    assert made(one) is not None
    assert (made(one) == made(other)) == (one == other)


@pytest.mark.parametrize("job", ["", ".", "..", "../x", "a/b", "/a", "a\n", "ä", "-a", ".a", "a" * 101, "a b", "a\0"])
def test_a_hostile_job_id_is_refused(job: str) -> None:
    for build in (layout.plan_key, layout.job_prefix, layout.ledgers_prefix):
        with pytest.raises(BadName, match="job id"):
            build(job)


def test_keys_are_where_the_design_says() -> None:
    job, shard, sha8 = "2026-11-21-deal-intelligence-ab12cd34", "1-00003", "deadbeef"
    assert layout.plan_key(job) == f"jobs/{job}/plan.json"
    assert layout.shard_key(job, shard, sha8) == f"jobs/{job}/shards/1-00003.deadbeef.jsonl.zst"
    assert layout.shard_key(job, shard, sha8, packed=False) == f"jobs/{job}/shards/1-00003.deadbeef.jsonl"
    assert layout.answers_prefix(job, "bedrock", shard) == f"jobs/{job}/bedrock/1-00003/"
    assert layout.requests_key(job, shard, sha8) == f"jobs/{job}/shards/1-00003.deadbeef.items.parquet"
    assert layout.carried_key(job, sha8) == f"jobs/{job}/carried.deadbeef.parquet"
    assert layout.rejects_key(job, sha8) == f"jobs/{job}/rejects.deadbeef.parquet"
    assert layout.raw_key(job, shard, 2, "output", sha8) == f"jobs/{job}/raw/1-00003/2-output.deadbeef.jsonl.zst"
    assert layout.outcomes_key(job, shard, sha8) == f"jobs/{job}/outcomes/1-00003.deadbeef.parquet"
    assert layout.strays_key(job, shard, sha8) == f"jobs/{job}/strays/1-00003.deadbeef.parquet"
    assert layout.ledger_key(job, shard, 1) == f"jobs/{job}/ledger/1-00003/000001.json"
    assert layout.doctor_key("ab12", "race") == "doctor/ab12/race"


def test_keys_of_records_sort_as_their_numbers_do() -> None:
    keys = [layout.ledger_key("a", "b", number) for number in (1, 2, 9, 10, 99, 100, 999_999)]
    assert keys == sorted(keys)
