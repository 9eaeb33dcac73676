"""A whole night survives a power cut at any call to the disk. A part of it here, all of it in the campaign."""

from pathlib import Path

import pytest

from tests.sweep.power import WRECKS, cut_night


@pytest.mark.parametrize("first", [9, 31])
def test_a_power_cut_at_any_call_costs_nothing(tmp_path: Path, provider: str, first: int):
    cuts = [
        nth
        for turn, nth in enumerate(range(first, 400, 61))
        if cut_night(provider, tmp_path / str(nth), nth, WRECKS[(5 * turn + first) % len(WRECKS)])
    ]
    assert len(cuts) > 3


@pytest.mark.parametrize("forgotten", ["files", "directories"])
def test_a_store_that_forgot_to_sync_would_be_caught(tmp_path: Path, forgotten: str):
    with pytest.raises(AssertionError, match="ledger"):
        cut_night("openai", tmp_path / "night", 150, ("lost", "empty", "kept"), forgotten)
