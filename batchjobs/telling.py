"""What an error tells a person: words of ours, places in the code; never a local variable, never somebody's data."""

import traceback
from collections.abc import Iterator

from batchjobs.errors import BatchJobsError
from providers.contract import ProviderError
from storage.contract import StorageError

# Whose words are ours, or about code and files.
_OURS = (BatchJobsError, ProviderError, StorageError, OSError, NameError, AttributeError, ImportError)


def words_of(error: BaseException) -> str:
    """What an error says; of one that was not expected the name alone, because its words may quote data."""
    name = type(error).__name__
    if isinstance(error, _OURS):
        return str(error) or name
    return f"{name}, which was not expected (its words may quote data and are not shown)"


def trace(error: BaseException) -> Iterator[str]:
    """Where it was raised, after what caused it: places and names."""
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        yield from trace(cause)
        yield "and from that:\n"
    yield from traceback.format_tb(error.__traceback__)
    yield f"{words_of(error)}\n"


def printable(text: str, keep: str = "") -> str:
    """Without what a terminal would obey: names of files and words of servers can hold anything."""
    return "".join(sign if sign.isprintable() or sign in keep else " " for sign in text)
