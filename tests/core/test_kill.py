"""SIGKILL at every fault point: the same command again ends the night as if nothing had happened."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from batchjobs.rehearsal import variables
from providers.emulator import Emulator, Rates
from tests.world import TASK, documents

POINTS = [
    "shards.before", "shards.after", "plan.before", "plan.after",
    "stage.before", "stage.after", "ledger-intent.before", "ledger-intent.after",
    "create.before", "create.after", "ledger-sent.before", "ledger-sent.after",
    "status.before", "ledger-ended.before", "ledger-ended.after",
    "raw.before", "raw.after", "ledger-fetched.before", "ledger-fetched.after",
    "outcomes.before", "outcomes.after", "ledger-settled.before", "ledger-settled.after",
    "ledger-retried.before", "ledger-retried.after",
    "merge.before", "merge.after", "publish.before", "publish.after",
]  # fmt: skip
NEVER_ARRIVED = {"ledger-intent.after", "create.before"}  # an intent whose purchase was never made: held for a person


@dataclass
class Night:
    folder: Path
    emulator: Emulator
    provider: str

    def run(self, *more: str, kill_at: str = "") -> subprocess.CompletedProcess[str]:
        command = [
            sys.executable, "-m", "batchjobs", "run", str(self.folder / "items.jsonl"), "--task", TASK, "--json",
            "--provider", self.provider, "--store", str(self.folder / "store"),
            "--interval", "0.02", "--deadline", "20s",
            *more,
        ]  # fmt: skip
        environ = os.environ | variables(self.emulator.url) | {"BATCHJOBS_GRACE": "0"}
        environ |= {"BATCHJOBS_KILL_AT": f"{kill_at}:1"} if kill_at else {}
        return subprocess.run(command, env=environ, capture_output=True, text=True, check=False)


@pytest.fixture
def night(tmp_path: Path, provider: str) -> Iterator[Night]:
    items = documents(12)
    (tmp_path / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    with Emulator(seed=3, speed=1.0, batch_seconds=0.3, rates=Rates(transient=0.3)) as emulator:
        yield Night(tmp_path, emulator, provider)


@pytest.mark.parametrize("point", POINTS)
def test_killed_at(point: str, night: Night):
    assert night.run(kill_at=point).returncode == -signal.SIGKILL
    more = ["--rebuy-unknown"] if point in NEVER_ARRIVED else []
    again = night.run(*more)
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["succeeded"] == 12
    assert set(Counter(charge.prompt_hash for charge in night.emulator.charges).values()) == {1}
    batches = len(night.emulator.batches)
    assert night.run().returncode == 0
    assert len(night.emulator.batches) == batches


def test_a_purchase_killed_before_it_was_made_is_held_and_said(night: Night):
    night.run(kill_at="create.before")
    again = night.run("--deadline", "1s")
    assert again.returncode == 4
    assert "rebuy-unknown" in json.loads(again.stdout)["stopped"]
    assert not night.emulator.batches
