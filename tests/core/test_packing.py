"""Packing into shards: full ones, small remainders, and what a provider reads where it lies."""

from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from batchjobs.pack import Packer, Pricing, ShardLimits, ceiling_tokens, shard_limits
from batchjobs.prices import FREE, RateCard, Rates
from batchjobs.render import Requests, key_salt
from batchjobs.settle import raw_lines, unpacked
from providers import load_format
from storage.contract import Damaged
from tests.small_task import TASK

OPENAI, BEDROCK = load_format("openai"), load_format("bedrock")
ROOMY = ShardLimits(
    requests=100, bytes=10_000_000, tokens=None, requests_min=30, requests_max=129, bytes_max=20_000_000
)


@dataclass
class Kept:
    """What was put into the store, with its bytes."""

    objects: dict[str, bytes] = field(default_factory=dict)

    def create_from(self, key: str, path: Path) -> None:
        self.objects[key] = path.read_bytes()


def packer(spool: Path, limits: ShardLimits, kept: Kept | None = None, **options: int) -> Packer:
    return Packer(
        store=kept or Kept(),
        format=BEDROCK,
        job="job",
        short="job8aaaa",
        attempt=1,
        limits=limits,
        pricing=Pricing(FREE, 100),
        spool=spool,
        names=(f"1-{n:05}" for n in count(1)),
        **options,
    )


def requests(number: int, size: int = 100) -> Requests:
    body = b'{"prompt":"%b"}' % (b"x" * size)
    return Requests.of([(n, f"item-{n}", f"{n:032x}" * 2, body, "{}") for n in range(number)])


def packed(spool: Path, limits: ShardLimits, number: int, size: int = 100, **options: int) -> list[int]:
    """How many requests went into each shard."""
    one = packer(spool, limits, **options)
    one.add(requests(number, size))
    one.close()
    return [shard.requests for shard in one.shards]


@pytest.mark.parametrize(
    ("number", "shards"),
    [
        (0, []),
        (5, [1] * 5),
        (30, [30]),
        (100, [100]),
        (101, [101]),
        (129, [129]),
        (130, [100, 30]),
        (229, [100, 129]),
        (230, [100, 100, 30]),
    ],
)
def test_a_small_remainder_joins_its_neighbour(tmp_path: Path, number: int, shards: list[int]):
    """PROVIDERS §3.2: a batch of fewer than 100 is refused, and is never padded."""
    assert packed(tmp_path, ROOMY, number) == shards


def test_without_a_minimum_every_shard_is_filled_and_the_rest_stands_alone(tmp_path: Path):
    assert packed(tmp_path, ShardLimits(requests=100, bytes=10_000_000, tokens=None), 201) == [100, 100, 1]


def test_a_remainder_that_the_provider_would_not_take_with_its_neighbour_is_answered_one_by_one(tmp_path: Path):
    tight = replace(ROOMY, bytes=50_000, bytes_max=51_000)
    assert packed(tmp_path, tight, 60, size=890) == [51, *[1] * 9]


def test_single_requests_are_priced_in_full_and_lie_as_shards_of_their_own(tmp_path: Path):
    kept, (half, full) = Kept(), [(Rates(*[Decimal(price)] * 4),) for price in (1, 2)]
    one = replace(packer(tmp_path, ROOMY, kept), pricing=Pricing(RateCard(half, full), 100))
    one.add(requests(3))
    one.close()
    assert [(shard.id, shard.at_once) for shard in one.shards] == [(f"1-0000{n}", True) for n in (1, 2, 3)]
    assert [kept.objects[shard.key].count(b"\n") for shard in one.shards] == [1, 1, 1]
    size = len(requests(1).bodies[0])
    assert one.shards[0].ceiling_cost == Decimal(2 * (ceiling_tokens([size])[0] + 100)) / 1_000_000


def test_large_requests_fill_a_shard_only_once_they_are_enough(tmp_path: Path):
    """A person's limit on the bytes gives way to the provider's minimum, not to its maximum."""
    assert packed(tmp_path, replace(ROOMY, bytes=5_000), 60, size=1_000) == [30, 30]
    assert packed(tmp_path, replace(ROOMY, bytes=5_000, bytes_max=12_000), 24, size=1_000) == [1] * 24


def test_a_canary_is_at_least_a_batch(tmp_path: Path):
    assert packed(tmp_path, ROOMY, 160, first_requests=3) == [30, 100, 30]


def test_a_canary_is_never_larger_than_a_batch_may_be(tmp_path: Path):
    assert packed(tmp_path, ROOMY, 200, first_requests=150) == [100, 100]


def test_what_waits_keeps_its_order(tmp_path: Path):
    kept = Kept()
    one = packer(tmp_path, ROOMY, kept)
    one.add(requests(230))
    one.close()
    ids = [line.split(b'"')[3][-32:] for shard in one.shards for line in kept.objects[shard.key].splitlines()]
    assert ids == [b"%032x" % n for n in range(230)]
    assert [shard.id for shard in one.shards] == ["1-00001", "1-00002", "1-00003"]


@pytest.mark.parametrize("at_a_time", [1, 7, 29, 30, 64, 500])
@pytest.mark.parametrize(
    "tight", [{}, {"tokens": 3_000}, {"bytes": 9_000, "bytes_max": 12_000}, {"bytes": 2_000}, {"requests_min": 1}]
)
def test_shards_do_not_depend_on_how_many_requests_come_at_a_time(tmp_path: Path, at_a_time: int, tight: Any):
    some, limits = requests(333), replace(ROOMY, **tight)
    one = packer(tmp_path, limits)
    for start in range(0, 333, at_a_time):
        one.add(some.part(start, start + at_a_time))
    one.close()
    assert [shard.requests for shard in one.shards] == packed(tmp_path, limits, 333)
    assert max(shard.bytes for shard in one.shards) <= limits.bytes_max


def test_limits_leave_room_for_a_remainder():
    limits = shard_limits(BEDROCK, None, None, None)
    assert (limits.requests, limits.requests_min, limits.requests_max) == (49_901, 100, 50_000)
    assert shard_limits(BEDROCK, 20, None, None).requests == 100
    assert shard_limits(OPENAI, None, None, None).requests == 50_000


def test_a_shard_that_the_provider_reads_itself_lies_there_as_it_is(tmp_path: Path):
    """DESIGN §4"""
    kept = Kept()
    one = packer(tmp_path, ROOMY, kept)
    one.add(requests(30))
    one.close()
    (plan,) = one.shards
    assert plan.key.endswith(".jsonl")
    assert kept.objects[plan.key].startswith(b'{"recordId":"job8aaaa-1-00001-')


def test_plain_and_packed_shards_are_read_alike(tmp_path: Path):
    for name, format_ in (("plain", BEDROCK), ("packed", OPENAI)):
        kept = Kept()
        one = replace(packer(tmp_path, ROOMY, kept), format=format_)
        one.add(requests(30))
        one.close()
        path = tmp_path / f"{name}.{one.shards[0].key.partition('.')[2]}"
        path.write_bytes(kept.objects[one.shards[0].key])
        assert [format_.body(line + b"\n") for line in raw_lines(path)] == requests(30).bodies


def test_a_packed_shard_that_is_not_is_damaged(tmp_path: Path):
    path = tmp_path / "x.jsonl.zst"
    path.write_bytes(b"not compressed")
    with pytest.raises(Damaged, match="decompressed"):
        list(unpacked(path))


def test_where_a_body_names_no_model_the_key_does():
    """Else the answers of one model would be taken for another's, and be reused."""
    assert OPENAI.traits.names_model
    assert not BEDROCK.traits.names_model
    salts = {key_salt("bedrock", "aws", "invoke", TASK, model) for model in ("", "a", "b")}
    assert len(salts) == 3
