"""What the deaths share: one fork server for all cases of a test process."""

from collections.abc import Iterator

import pytest

from tests.kill.forkserver import ForkServer


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    with ForkServer(tmp_path_factory.mktemp("commands")) as server:
        yield server
