"""What can go wrong, by what the person must do about it; each error knows its exit code (DESIGN §7).

BatchJobsError            1  unexpected
├─ UsageError             2  bad input, settings or arguments: fix and run again
├─ OverBudget             5  buying would pass the cap: nothing was bought
├─ Unreachable            6  provider or store unreachable, or the account is blocked: run again later
└─ Broken                 1  our own invariant failed: stop, keep everything, report it
"""

from providers.contract import ProviderError
from storage.contract import BadName, InputError, StoreUnavailable


class BatchJobsError(Exception):
    """Base of the errors a command ends with; its text is the one sentence a person reads."""

    exit_code = 1


class UsageError(BatchJobsError):
    """Bad input, settings or arguments."""

    exit_code = 2


class OverBudget(BatchJobsError):
    """The most it could cost is above the cap."""

    exit_code = 5


class Unreachable(BatchJobsError):
    """The provider or the store cannot be reached, or refuses the account (`passing` is false: a person must act)."""

    exit_code = 6

    def __init__(self, message: str, passing: bool = True) -> None:
        super().__init__(message)
        self.passing = passing


class Broken(BatchJobsError):
    """An invariant of ours does not hold."""


def exit_code_of(error: BaseException) -> int:
    """The exit code for an error of any layer (DESIGN §7)."""
    if isinstance(error, BatchJobsError):
        return error.exit_code
    if isinstance(error, InputError | BadName):
        return UsageError.exit_code
    if isinstance(error, ProviderError | StoreUnavailable | OSError):
        return Unreachable.exit_code
    return BatchJobsError.exit_code
