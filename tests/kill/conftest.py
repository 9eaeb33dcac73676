"""What the deaths share: one fork server for all cases of a test process."""

from collections.abc import Iterator

import pytest

from batchjobs.rehearsal import exported
from tests.kill.forkserver import ForkServer
from tests.storage.stores import CREDENTIALS


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    with exported(CREDENTIALS), ForkServer(tmp_path_factory.mktemp("commands")) as server:
        yield server
