"""`make demo`: a night's run on the sample deals through the real SDKs, against emulated providers on loopback."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

from batchjobs.rehearsal import pointed_at
from providers.emulator import Emulator, Fault, Rates

HERE = Path("examples")
STORE = "demo-store"
FAULTS = [
    Fault(action="expire", route="POST /v1/batches", nth=2, fraction=0.5),
    Fault(action="status", route="GET /v1/batches/*", nth=4, times=2, status=503),
    Fault(action="cut", route="GET /v1/files/*/content", nth=1, after=4000),
]
SQL = (
    "SELECT deal_id, deal_name, owner, risk_level, recommended_next_action FROM deals_at_risk LIMIT 5",
    "SELECT * FROM deal_clusters LIMIT 5",
    "SELECT day, model, requests, cost_usd, saved_usd FROM spend",
)


def main() -> int:
    """Run both sample tasks; the exit code is 0 when everything ended as it should."""
    say("Emulated OpenAI and Anthropic on 127.0.0.1, with 6% transient failures, some invalid and cut answers,")
    say("one batch that expires half way, one download that breaks. Nothing here costs anything.\n")
    # 24 virtual hours pass in 12 seconds, so that even the expired batch is an evening's entertainment.
    emulator = Emulator(
        seed=11,
        speed=7200.0,
        batch_seconds=12_000.0,
        rates=Rates(transient=0.06, permanent=0.01, truncated=0.02, invalid=0.02),
        faults=FAULTS,
    )
    with emulator, pointed_at(emulator.url):
        deals = batchjobs("run", HERE / "deals/deals.jsonl", "--provider", "openai", "--shard-requests", "50")
        task = HERE / "summarise/task.toml"
        notes = batchjobs("run", HERE / "summarise/documents.jsonl", "--task", task, "--provider", "anthropic")
        billed = Counter(charge.custom_id for charge in emulator.charges)
    twice = sum(times > 1 for times in billed.values())
    say(f"\nThe emulator's charge book: {billed.total()} requests billed in this run, {twice} of them twice.")
    say(f"Try some SQL on {STORE}/results.duckdb:")
    for query in SQL:
        say(f'  .venv/bin/python -m examples.query {STORE}/results.duckdb "{query}"')
    expected = {0, 3}  # the sample has deals that fail for good: 3 says so
    return 0 if deals in expected and notes in expected and not twice else 1


def batchjobs(*arguments: object) -> int:
    """One command, as a person would type it."""
    words = [str(argument) for argument in (*arguments, "--store", STORE, "--interval", "0.6")]
    say(f"$ batchjobs {' '.join(words)}")
    return subprocess.run([sys.executable, "-m", "batchjobs", *words], env=os.environ, check=False).returncode


def say(text: str) -> None:
    """A line for the person who watches."""
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
