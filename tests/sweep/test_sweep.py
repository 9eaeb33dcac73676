"""The n-th effect of a night fails; the same command again ends it. A part of it here, all of it in the campaign."""

import errno
from pathlib import Path

import pytest

from tests.sweep.loop import Tally, sweep
from tests.sweep.troubles import Trouble, bucket, disk, wire

HEALED = {"finished", "in flight", "waiting", "unknown purchase", "StoreUnavailable", "Unreachable"}


def said(tally: Tally, effects: int) -> None:
    """The loop went through all of the night, and every end was one that a person is told of."""
    assert tally.effects >= effects
    assert set(tally.ends) <= HEALED


@pytest.mark.parametrize(("number", "lasting"), [(errno.ENOSPC, False), (errno.EIO, True)])
def test_a_disk_that_fails_at_any_call_costs_nothing(tmp_path: Path, number: int, lasting: bool):
    tally = sweep(disk("", number), "openai", tmp_path, lasting=lasting, first=7, stride=47)
    said(tally, effects=200)
    assert tally.ends["StoreUnavailable"] > 0


@pytest.mark.parametrize(
    ("trouble", "lasting"),
    [
        (wire("answer lost", action="accept_then_drop"), False),
        (wire("key revoked", action="status", status=401), True),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_a_provider_that_fails_at_any_call_costs_nothing(
    tmp_path: Path, provider: str, trouble: Trouble, lasting: bool
):
    tally = sweep(trouble, provider, tmp_path, lasting=lasting, stride=1 + lasting)
    said(tally, effects=5)
    assert not lasting or tally.ends["Unreachable"] > 0


@pytest.mark.parametrize(
    ("how", "lasting", "stride", "effects"),
    [
        ({"spoil": "lose", "only": "PUT"}, False, 4, 10),
        ({"status": 403, "code": "AccessDenied"}, True, 29, 32),
    ],
    ids=["answers lost", "access denied"],
)
def test_a_bucket_that_fails_at_any_call_costs_nothing(
    tmp_path: Path, s3_server: str, how: dict, lasting: bool, stride: int, effects: int
):
    tally = sweep(bucket("", s3_server, **how), "anthropic", tmp_path, lasting=lasting, first=3, stride=stride)
    said(tally, effects)
