"""Faults to order: what goes wrong, on which route, at which call, how often."""

import re
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

# Faults of one HTTP exchange. The first that fits a call decides what happens on the wire.
WIRE = frozenset(
    {
        "accept_then_timeout",  # do the work, hold the socket open without an answer (at most `seconds`, real time)
        "accept_then_drop",  # do the work, close the connection without an answer
        "drop_before",  # reset the connection; nothing is done
        "status",  # answer `status`; with `work=True` after doing the work
        "not_found",  # 404 in the provider's words for an id that lives
        "cut",  # send only `after` bytes of the body, framed by `framing`, ending `at` a byte, mid-line or a line end
    }
)
# Faults of what a reply says; all that fit a call apply.
REPLY = frozenset(
    {
        "stale",  # answer as of `seconds` virtual seconds ago
        "unknown_status",  # the batch's status word becomes `word`
        "unknown_fields",  # members nobody has heard of, in documents and in result lines
        "wrong_counts",  # the batch's counts disagree with its files by `count`
        "missing_lines",  # the result file lacks `count` lines
        "duplicate_lines",  # `count` lines come twice
        "stranger_lines",  # `count` lines with ids nobody sent
        "zero_status",  # `count` lines have a response with status code 0 and no body (OpenAI)
        "duplicate_listed",  # a listing has its first `count` batches twice
    }
)
# Faults of a whole batch, decided by the call that creates it; all that fit apply.
BATCH = frozenset(
    {
        "expire",  # stops at `fraction` and expires after the provider's window
        "reject",  # fails validation with `code`; with `at_create=True` (at Anthropic always) the create is refused
        "all_fail",  # every item ends in an error; `kind` is permanent (the usual) or transient
        "long_finalizing",  # all items are done, the result files come `seconds` later
        "late_output",  # completed, but the ids of the result files come `seconds` later (OpenAI)
        "slow",  # takes `seconds` longer
        "early_output",  # results so far are written while it is in progress, at each look (Bedrock)
        "list_lag",  # stays out of listings for `seconds`
        "cancelled_absent",  # items not executed before a cancel are in no file at all
        "empty_error_file_id",  # `error_file_id` is "" rather than null when nothing failed
    }
)
_BATCHES = r"(.*[/-])?(batches|jobs?)"  # whoever they are bought from
_CREATES = re.compile(rf"POST /{_BATCHES}")
_STATUSES = re.compile(rf"GET /{_BATCHES}(/[^/]+)?")
_DOWNLOADS = re.compile(r"GET /.+/(content|results)")
_RESULTS = re.compile(rf"{_DOWNLOADS.pattern}|POST /model-invocation-job")
_OBJECTS = re.compile(rf"\w+ /((.*/)?files|{_BATCHES})/.+")
_ANY = re.compile(r".*")
# The calls at which an action makes sense; others neither match nor count.
_SENSE = {
    **dict.fromkeys(BATCH, _CREATES),
    **dict.fromkeys(("stale", "unknown_status", "wrong_counts"), _STATUSES),
    **dict.fromkeys(("missing_lines", "duplicate_lines", "stranger_lines"), _RESULTS),
    "zero_status": _DOWNLOADS,
    "duplicate_listed": re.compile(rf"GET /{_BATCHES}"),
    "not_found": _OBJECTS,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault. `route` is "METHOD /path", where * stands for anything; see the tables above for the actions.

    It hits `times` matching calls in a row (0: for ever), beginning with the `nth` (from 1), counted since it was
    added. Only calls at which the action makes sense match: creates for faults of a batch, looks at a batch for its
    status and counts, downloads for lines (at Bedrock, which writes them to S3, creates). `retry_after` is "7"
    (seconds), "ms:1500", or "date:60" (an HTTP date so many seconds ahead).
    """

    action: str
    route: str = "* *"
    nth: int = 1
    times: int = 1
    status: int = 0  # 0: the usual one, which is 500, and for a refused create 400 (OpenAI) or 429 (Anthropic)
    work: bool = False
    code: str = ""
    kind: str = ""  # the error's type in the provider's words; by default the one that goes with the status
    message: str = ""
    retry_after: str = ""
    body: str | None = None  # instead of the provider's JSON, e.g. a proxy's HTML page
    seconds: float = 30.0
    after: int = 0
    framing: str = "chunked"
    at: str = "byte"
    count: int = 1
    word: str = "pre_schedule"
    fraction: float = 0.5
    at_create: bool = False

    def __post_init__(self) -> None:
        if self.action not in WIRE | REPLY | BATCH:
            raise ValueError(f"no such fault: {self.action}")
        if self.framing not in {"chunked", "length", "close"} or self.at not in {"byte", "line", "mid"}:
            raise ValueError("a cut is framed by chunked, length or close and ends at a byte, a line or mid")
        if self.nth < 1 or self.times < 0:
            raise ValueError("nth counts from 1; times is 0 (for ever) or more")

    def fits(self, method: str, path: str) -> bool:
        wanted_method, _, wanted_path = self.route.partition(" ")
        sensible = _SENSE.get(self.action, _ANY).fullmatch(f"{method} {path}")
        return sensible is not None and wanted_method in {"*", method} and fnmatchcase(path, wanted_path)

    def hits(self, call: int) -> bool:
        """Whether it strikes the `call`-th matching call, counting from 1."""
        return call >= self.nth and (self.times == 0 or call < self.nth + self.times)


class FaultBook:
    """The faults in force and how many matching calls each has seen."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self._lock = threading.Lock()
        self._faults: list[tuple[Fault, list[int]]] = []
        for fault in faults:
            self.add(fault)

    def add(self, fault: Fault) -> None:
        with self._lock:
            self._faults.append((fault, [0]))

    def clear(self) -> None:
        with self._lock:
            self._faults.clear()

    def strike(self, method: str, path: str) -> "Orders":
        """What to do to this call; counts it."""
        with self._lock:
            return Orders.of([fault for fault, seen in self._faults if _hit(fault, seen, method, path)])


@dataclass(frozen=True, slots=True)
class Orders:
    """The faults that hit one call, by what they are about, in the order they were added."""

    wire: Fault | None = None
    reply: tuple[Fault, ...] = ()
    batch: tuple[Fault, ...] = ()
    behind_s: float = 0.0  # answer as of so many virtual seconds ago

    @classmethod
    def of(cls, faults: Iterable[Fault]) -> "Orders":
        struck = list(faults)
        return cls(
            wire=next((fault for fault in struck if fault.action in WIRE), None),
            reply=tuple(fault for fault in struck if fault.action in REPLY),
            batch=tuple(fault for fault in struck if fault.action in BATCH),
            behind_s=max((fault.seconds for fault in struck if fault.action == "stale"), default=0.0),
        )

    def has(self, *actions: str) -> bool:
        """Whether the fault on the wire is one of these."""
        return self.wire is not None and self.wire.action in actions


def _hit(fault: Fault, seen: list[int], method: str, path: str) -> bool:
    if not fault.fits(method, path):
        return False
    seen[0] += 1
    return fault.hits(seen[0])
