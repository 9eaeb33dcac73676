"""A plant per kind of store: one machine on a directory or on S3, or two machines on S3."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from providers.emulator import Emulator, Rates
from tests.concurrency.kit import Plant

MakePlant = Callable[..., Plant]
MACHINES = {"directory": 1, "s3-one": 1, "s3-two": 2}
RATES = Rates(transient=0.2, permanent=0.1)  # neither is billed: what is billed twice was bought twice


@pytest.fixture
def make_plant(tmp_path: Path) -> Iterator[MakePlant]:
    with ExitStack() as stack:

        def make(store: str, provider: str = "openai", machines: int = 1, **options: Any) -> Plant:
            settings = {"seed": 5, "speed": 1.0, "batch_seconds": 0.3, "rates": RATES} | options
            return Plant(stack.enter_context(Emulator(**settings)), store, tmp_path, provider, machines)

        yield make


@pytest.fixture
def plant(request: pytest.FixtureRequest, tmp_path: Path, make_plant: MakePlant) -> Plant:
    """Of the kind and provider that the test names; the campaign has every mix of them."""
    kind, provider = request.param
    store = str(tmp_path / "store") if kind == "directory" else str(request.getfixturevalue("s3_url"))
    return make_plant(store, provider, MACHINES[kind])
