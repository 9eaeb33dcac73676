"""This machine's own disk fails, beside the store: told in one sentence, and the same command goes on."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from batchjobs.errors import Unreachable, UsageError
from batchjobs.rounds import one_pass
from tests.world import World, documents


def test_a_disk_that_fails_during_a_pass_is_told_with_what_to_do(world: World):
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with (
        pytest.raises(Unreachable, match=r"failed \(No space left on device\): free some space"),
        world.desk().exclusive("x"),
    ):
        raise full


def test_a_lock_that_cannot_be_made_is_told(world: World):
    desk = world.desk()
    (desk.state_dir / "lock").mkdir()
    with pytest.raises(Unreachable, match="Is a directory"), desk.exclusive("x"):
        pass


def test_a_reader_that_went_away_is_no_fault_of_the_disk(world: World):
    with pytest.raises(BrokenPipeError), world.desk().exclusive("x"):
        raise BrokenPipeError


def test_a_night_whose_disk_fails_for_a_while_goes_on(world: World):
    job = world.send(world.write(documents(4)))
    world.emulator.advance(600)
    desk = world.desk()
    desk.state_dir.rename(world.folder / "away")
    with pytest.raises(Unreachable, match="No such file"):
        one_pass(desk, [job.id])
    (world.folder / "away").rename(desk.state_dir)
    assert one_pass(desk, [job.id]).jobs[0].succeeded == 4


def test_the_exit_code_tells_even_where_no_sentence_can_be_written(tmp_path: Path):
    """A log on the very disk that is full."""
    words = [sys.executable, "-m", "batchjobs", "status", "no-such-job", "--store", str(tmp_path / "store")]
    with Path("/dev/full").open("w") as full:
        assert subprocess.run(words, stdout=full, stderr=full, check=False).returncode == UsageError.exit_code
