"""Executing the items of one batch: in shuffled order, ahead of the virtual clock, into files on disk."""

import os
import threading
from array import array
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import msgspec

_SLICE = 256  # items between two flushes; progress is told at flushes only


@dataclass(frozen=True, slots=True)
class Sheet:
    """The items of a batch as the provider has read them: where each line begins on disk, and what they come to."""

    source: Path
    offsets: "array[int]"  # one more than there are items
    tokens: int = 0
    model: str = ""
    prefix: str = ""  # what all custom ids begin with

    @property
    def total(self) -> int:
        return len(self.offsets) - 1

    @classmethod
    def empty(cls) -> "Sheet":
        return cls(Path(), array("Q", [0]))

    def linked(self, path: Path) -> "Sheet":
        """The same items in a file of one's own, which outlives the one they came in."""
        os.link(self.source, path)
        return replace(self, source=path)


class Done(NamedTuple):
    """One executed item. `line` goes to the output file, or to the error file when `failed`; both end in a newline."""

    line: bytes
    failed: bool
    custom_id: str
    prompt_hash: str
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0  # a part of the input tokens
    struck: bytes = b""  # the prompt whose transient error this was


class Tally(NamedTuple):
    """What the first so many items of a batch came to."""

    succeeded: int
    failed: int
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0


class Work:
    """The items of one batch, their order and their results.

    A worker runs ahead; whoever wants the results of the first `count` items calls `wait(count)`. What was executed
    ahead but never came to pass (a cancel, an expiry) is cut off by `keep`.
    """

    def __init__(
        self, sheet: Sheet, order: Sequence[int], execute: Callable[[bytes], Done], stem: Path, *, together: bool
    ) -> None:
        """`together`: errors go to the output file too, as Anthropic has it."""
        self._sheet = sheet
        self._order = order
        self._execute = execute
        self.output = stem.with_suffix(".output")
        self.errors = stem.with_suffix(".errors")
        self.billed = stem.with_suffix(".billed")
        self._together = together
        self._failed = bytearray()
        self._input = array("I")
        self._produced = array("I")
        self._cached = array("I")
        self._struck: list[tuple[int, bytes]] = []
        self._flushed = 0
        self._started = False
        self._stopped = False
        self._crash: BaseException | None = None
        self._changed = threading.Condition()

    @property
    def total(self) -> int:
        return len(self._order)

    def run(self) -> None:
        """Execute every item; for the worker."""
        with self._changed:
            if self._stopped:
                return
            self._started = True
        try:
            self._run()
        except BaseException as error:
            self._crash = error
            raise
        finally:
            with self._changed:
                self._started = False
                self._stopped = True
                self._changed.notify_all()

    def wait(self, count: int, timeout: float | None) -> bool:
        """Wait (real seconds) until the first `count` items are executed; whether they are."""
        with self._changed:
            ready = self._changed.wait_for(lambda: self._flushed >= count or self._stopped, timeout)
            if self._crash is not None:
                raise RuntimeError("the emulator could not execute a batch") from self._crash
            return ready and self._flushed >= count

    def stop(self) -> None:
        """Execute no further; returns when the worker has let go."""
        with self._changed:
            self._stopped = True
            self._changed.wait_for(lambda: not self._started)

    @property
    def reached(self) -> int:
        """How many items the worker has executed."""
        return self._flushed

    def tally(self, count: int) -> Tally:
        """The counts and billed tokens of the first `count` items, which must be executed."""
        failed = self._failed.count(1, 0, count)
        return Tally(count - failed, failed, *(sum(one[:count]) for one in (self._input, self._produced, self._cached)))

    def keep(self, count: int) -> None:
        """Only the first `count` items came to pass: cut the files to them."""
        tally = self.tally(count)
        _cut(self.output, count if self._together else tally.succeeded)
        _cut(self.errors, 0 if self._together else tally.failed)
        _cut(self.billed, tally.succeeded)

    def rest(self, count: int) -> Iterator[bytes]:
        """The input lines of all but the first `count` items."""
        return self._lines(self._order[count:])

    def unstruck(self, count: int) -> list[bytes]:
        """The prompts whose transient errors lay beyond the first `count` items."""
        return [prompt for index, prompt in self._struck if index >= count]

    def charges(self, count: int) -> Iterator[tuple[str, str, int, int]]:
        """Custom id, prompt hash, input and output tokens of those billed among the first `count` items."""
        billed = count - self._failed.count(1, 0, count)
        if not billed:
            return
        with self.billed.open("rb") as file:
            for line in islice(file, billed):
                custom_id, prompt_hash, spent, produced = msgspec.json.decode(line)
                yield custom_id, prompt_hash, spent, produced

    def _run(self) -> None:
        with self.output.open("wb") as output, self.errors.open("wb") as errors, self.billed.open("wb") as billed:
            lines = self._lines(self._order)
            while not self._stopped and (done := [self._execute(line) for line in islice(lines, _SLICE)]):
                output.writelines(item.line for item in done if self._together or not item.failed)
                errors.writelines(item.line for item in done if item.failed and not self._together)
                billed.writelines(_charge(item) for item in done if not item.failed)
                for file in (output, errors, billed):
                    file.flush()
                self._publish(done)

    def _publish(self, done: list[Done]) -> None:
        with self._changed:
            self._struck += [(self._flushed + at, item.struck) for at, item in enumerate(done) if item.struck]
            self._failed += bytes(item.failed for item in done)
            self._input.extend(item.input_tokens for item in done)
            self._produced.extend(item.output_tokens for item in done)
            self._cached.extend(item.cached_tokens for item in done)
            self._flushed += len(done)
            self._changed.notify_all()

    def _lines(self, order: Sequence[int]) -> Iterator[bytes]:
        offsets = self._sheet.offsets
        descriptor = os.open(self._sheet.source, os.O_RDONLY)
        try:
            for index in order:
                start = offsets[index]
                yield os.pread(descriptor, offsets[index + 1] - start, start)
        finally:
            os.close(descriptor)


def common_prefix(ids: Collection[str]) -> str:
    """What all of them begin with."""
    if not ids:
        return ""
    first, last = min(ids), max(ids)
    same = (index for index, (one, other) in enumerate(zip(first, last, strict=False)) if one != other)
    return first[: next(same, len(first))]


def _charge(item: Done) -> bytes:
    row = (item.custom_id, item.prompt_hash, item.input_tokens, item.output_tokens)
    return msgspec.json.encode(row) + b"\n"


def _cut(path: Path, lines: int) -> None:
    path.touch()
    with path.open("rb+") as file:
        size = sum(len(line) for line in islice(file, lines))
        file.truncate(size)
