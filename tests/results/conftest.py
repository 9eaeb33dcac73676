"""A fresh results store for every test of this folder."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.results import Results
from tests.results.kit import Night


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made once: opening a copy takes half as long as making one anew."""
    path = tmp_path_factory.mktemp("empty") / "private.duckdb"
    Results(path).close()
    return path


@pytest.fixture
def night(tmp_path: Path, empty_store: Path) -> Iterator[Night]:
    shutil.copy(empty_store, tmp_path / "private.duckdb")
    night = Night(tmp_path)
    yield night
    night.results.close()
