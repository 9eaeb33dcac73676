"""Slow work beside the rest, on threads: what can be repeated and is free, such as an upload or a download.

    begin(work) ─► a call that gives its result, or raises what it raised

With threads the work is under way from `begin` on; with none it is done when its result is asked for, so that a test
sees everything happen in one order. Whoever begins is who bounds how much is under way.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Protocol, TypeVar

R = TypeVar("R")


class Begin(Protocol):
    """Begins a piece of work; the call it returns is for one use."""

    def __call__(self, work: Callable[[], R], /) -> Callable[[], R]: ...


def later(work: Callable[[], R], /) -> Callable[[], R]:
    """`Begin` without threads."""
    return work


@contextmanager
def beside(threads: int) -> Iterator[Begin]:
    """`Begin` with so many threads. At the end what nobody asked for is dropped, and what is under way waited for.

    It talks over connections that are closed next. Only Ctrl-C waits for nothing: the process ends then.
    """
    if not threads:
        yield later
        return
    pool = ThreadPoolExecutor(threads, "beside")
    wait = True
    try:
        yield lambda work: partial(_result, [pool.submit(work)])
    except KeyboardInterrupt:
        wait = False
        raise
    finally:
        pool.shutdown(wait=wait, cancel_futures=True)


def _result(begun: list[Future[R]]) -> R:
    """It is nobody's any more once it was given out: memory holds what is worked with, and the one ahead."""
    return begun.pop().result()


def one_ahead(begin: Begin, works: Iterable[Callable[[], R]]) -> Iterator[Callable[[], R]]:
    """What `begin` gives for each of the works, in order; with each the one after it is begun."""
    given: list[Callable[[], R]] = []
    for work in works:
        given.append(begin(work))
        if len(given) > 1:
            yield given.pop(0)
    yield from given
