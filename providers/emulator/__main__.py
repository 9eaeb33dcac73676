"""`python -m providers.emulator`: serve until SIGINT or SIGTERM, for other processes to talk to."""

import argparse
import signal
import sys
import threading
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from providers.emulator.bedrock_settings import BedrockSettings
from providers.emulator.emulator import Emulator, environment
from providers.emulator.faults import Fault
from providers.emulator.world import Rates

_KEY = "the-emulator-takes-any"


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve as the arguments say; prints the base URLs first."""
    emulator = emulator_of(_parser().parse_args(arguments))
    over = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: over.set())
    with emulator:
        told = environment(emulator.url, _KEY)
        sys.stdout.write("".join(f"{name}={value}\n" for name, value in told.items()))
        sys.stdout.flush()
        over.wait()
    return 0


def emulator_of(asked: argparse.Namespace) -> Emulator:
    """The emulator that parsed arguments describe."""
    return Emulator(
        port=asked.port,
        speed=asked.speed,
        seed=asked.seed,
        batch_seconds=asked.batch_seconds,
        rates=Rates(**{rate.name: getattr(asked, rate.name) for rate in fields(Rates)}),
        faults=[fault_of(text) for text in asked.fault],
        state_dir=asked.state_dir,
        enqueued_token_limit=asked.enqueued_token_limit,
        s3_endpoint=asked.s3_endpoint,
        bedrock=BedrockSettings(min_records=asked.bedrock_min_records),
    )


def fault_of(text: str) -> Fault:
    """A fault from `name=value,name=value`, e.g. "action=status,route=POST /v1/batches,status=503,times=2"."""
    kinds: dict[str, Any] = {field.name: field.type for field in fields(Fault)}
    values: dict[str, Any] = {}
    for pair in text.split(","):
        name, _, value = pair.partition("=")
        if name not in kinds:
            raise argparse.ArgumentTypeError(f"a fault has no {name!r}; it has {', '.join(kinds)}")
        values[name] = _READERS.get(kinds[name], str)(value)
    return Fault(**values)


def _truth(text: str) -> bool:
    return text.lower() in {"1", "true", "yes"}


_READERS: dict[Any, Any] = {int: int, float: float, bool: _truth}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m providers.emulator", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 (the default) takes a free one")
    parser.add_argument("--speed", type=float, default=60.0, help="virtual seconds per real second (default 60)")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--batch-seconds", type=float, default=600.0, help="virtual time of a batch (default 600)")
    parser.add_argument("--fault", action="append", default=[], metavar="NAME=VALUE,…", help="may be repeated")
    parser.add_argument("--state-dir", type=Path, help="where files and charges are kept; default: nowhere")
    parser.add_argument("--enqueued-token-limit", type=int, help="OpenAI's queue, per model; default: none")
    parser.add_argument("--s3-endpoint", help="where Bedrock's buckets are; default: AWS_ENDPOINT_URL_S3")
    parser.add_argument("--bedrock-min-records", type=int, default=100, help="of a job (default 100)")
    for rate in fields(Rates):
        parser.add_argument(f"--{rate.name}", type=float, default=0.0, metavar="SHARE", help="share of items, 0 to 1")
    return parser


if __name__ == "__main__":
    sys.exit(main())
