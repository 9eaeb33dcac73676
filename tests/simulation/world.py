"""The provider's side: batches, what they cost, what becomes of them in virtual time, and what goes wrong."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from providers.contract import UNREACHED, Limits, OutcomeUnknown, Refused, Tag, Unavailable, Usage
from tests.simulation.result_lines import (
    BILLED,
    OUTCOME,
    Asked,
    anthropic_line,
    asked,
    fate_of,
    openai_line,
)
from tests.simulation.weather import Clock, Weather

READ_SPOILS = ("results-short", "results-cut", "results-empty")  # for a while: later the same file is whole
STRANGER = "somebody-else-entirely"


@dataclass(slots=True)
class Line:
    """One line of a result file; without a request where it is nobody's, or cannot be read."""

    kind: str
    data: bytes
    request: Asked | None
    fate: str = ""


@dataclass(slots=True)
class Batch:
    """One purchase as the provider keeps it. `state` is queued, running, stopping, ended or rejected."""

    id: str
    tag: str
    requests: list[Asked]
    created_at: datetime
    visible_at: datetime
    label: dict[str, str]
    doubled: bool = False  # made by a gateway's own repetition, not by us
    state: str = "queued"
    how: str = ""  # completed, expired or cancelled; or why it was rejected
    message: str = ""
    ended_at: datetime | None = None
    lines: list[Line] = field(default_factory=list)
    counted: Counter[str] = field(default_factory=Counter)
    lost: bool = False  # results deleted early, or the whole batch forgotten
    forgotten: bool = False
    newline_at_end: bool = True
    windows: dict[str, datetime] = field(default_factory=dict)  # until when a passing trouble lasts
    spoil: str = ""

    @property
    def billable(self) -> bool:
        return self.state != "rejected"

    def deliverable(self) -> dict[str, tuple[str, Usage]]:
        """Fate and usage of every request whose line can still be read, the first of twins."""
        found: dict[str, tuple[str, Usage]] = {}
        for line in self.lines:
            if line.request is not None:
                usage = line.request.usage if line.fate in BILLED else Usage()
                found.setdefault(line.request.custom_id, (line.fate, usage))
        return found

    def outcomes(self) -> Counter[str]:
        return Counter(OUTCOME[fate].value for fate, _ in self.deliverable().values())


@dataclass(slots=True)
class World:
    """All batches ever bought, by whomever, and the charge book."""

    flavour: str
    limits: Limits
    clock: Clock
    weather: Weather
    nature: str = "mixed"
    seed: int = 0
    absent_cancelled: bool = False  # OpenAI leaves requests of a cancelled batch out of its files
    lag: float = 0.25  # of the grace period, until a listing shows a new batch
    batches: dict[str, Batch] = field(default_factory=dict)
    uploads: dict[str, bytes] = field(default_factory=dict)
    purchases: defaultdict[str, list[Batch]] = field(default_factory=lambda: defaultdict(list))
    bought: defaultdict[tuple[str, str], list[Batch]] = field(default_factory=lambda: defaultdict(list))
    charges: Counter[str] = field(default_factory=Counter)  # custom_id -> times billed
    late: list[tuple[datetime, bytes, Tag]] = field(default_factory=list)

    # Buying

    def sell(self, lines: bytes, tag: Tag) -> str:
        """`create`: at most one purchase, but for a gateway that repeats our request."""
        self._refuse(tag)
        strikes = self.weather.strikes
        if strikes("create-lost-before"):
            raise OutcomeUnknown(f"{tag}: the connection broke")
        if strikes("create-arrives-late"):
            self.late.append((self.clock.now + timedelta(seconds=self.limits.grace_s / 5), lines, tag))
            raise OutcomeUnknown(f"{tag}: timed out")
        batch = self.buy(lines, tag)
        if strikes("create-doubled"):
            self.buy(lines, tag, doubled=True)
        if strikes("create-lost-after") or strikes("create-502-after"):
            raise OutcomeUnknown(f"{tag}: no answer")
        return batch.id

    def _refuse(self, tag: Tag) -> None:
        strikes = self.weather.strikes
        if strikes("create-unreached"):
            raise Refused(f"{tag}: no connection", kind="later", code=UNREACHED)
        if strikes("create-refused-later"):
            raise Refused(f"{tag}: too many requests", kind="later", code="rate_limit", retry_after_s=90.0)
        if strikes("create-refused-blocked"):
            raise Refused(f"{tag}: no money", kind="blocked", code="billing_not_active")
        if strikes("create-refused-never"):
            raise Refused(f"{tag}: not a request", kind="never", code="invalid_request")

    def buy(self, lines: bytes, tag: Tag | None, *, doubled: bool = False) -> Batch:
        """The purchase itself; without a tag it is a stranger's."""
        requests = asked(lines)
        lag = self.limits.grace_s * self.lag if self.weather.strikes("listing-lags") else 0.0
        now = self.clock.now
        label = {} if tag is None else {"job": tag.job, "shard": tag.shard, "send": str(tag.send)}
        batch = Batch(
            id=f"batch-{len(self.batches) + 1}",
            tag=STRANGER if tag is None else str(tag),
            requests=requests,
            created_at=now,
            visible_at=now + timedelta(seconds=lag),
            label=label,
            doubled=doubled,
        )
        if self.flavour == "anthropic":
            batch.state = "running"
        self.batches[batch.id] = batch
        if tag is not None and not doubled:
            self.purchases[batch.tag].append(batch)
            for request in requests:
                self.bought[request.attempt].append(batch)
        return batch

    def tick(self, seconds: float) -> None:
        """Time passes: late requests arrive, and windows close."""
        self.clock.tick(seconds)
        due = [one for one in self.late if one[0] <= self.clock.now]
        self.late = [one for one in self.late if one[0] > self.clock.now]
        for _, lines, tag in due:
            self.buy(lines, tag)
        for batch in self.batches.values():
            if self.clock.now - batch.created_at > timedelta(seconds=self.limits.window_s):
                self.end(batch, "cancelled" if batch.state == "stopping" else "expired")

    # What becomes of batches

    def progress(self, batch: Batch) -> None:
        """One stage further."""
        if batch.state == "queued":
            batch.state = "running"
        elif batch.state == "running":
            self.end(batch, "completed")
        elif batch.state == "stopping":
            self.end(batch, "cancelled")

    def reject(self, batch: Batch, why: str, message: str = "") -> None:
        """As a whole, while it is validated (OpenAI alone): nothing runs, nothing is billed."""
        if batch.state == "queued":
            batch.state, batch.how, batch.message, batch.ended_at = "rejected", why, message, self.clock.now

    def end(self, batch: Batch, how: str) -> None:
        """Run what runs, charge what is charged, write the result files."""
        if batch.state in ("ended", "rejected"):
            return
        batch.state, batch.how, batch.ended_at = "ended", how, self.clock.now
        write = openai_line if self.flavour == "openai" else anthropic_line
        ran = len(batch.requests) if how == "completed" else len(batch.requests) // 2
        for number, request in enumerate(batch.requests):
            fate = fate_of(self.nature, self.seed, request.custom_id) if number < ran else how
            batch.counted[fate] += 1
            self.charges[request.custom_id] += fate in BILLED
            if not (fate == "cancelled" and self.absent_cancelled):
                batch.lines.append(Line(self._file_of(fate), write(request, fate), request, fate))
        self._damage(batch)

    def _file_of(self, fate: str) -> str:
        return "output" if fate in BILLED or self.flavour == "anthropic" else "error"

    def _damage(self, batch: Batch) -> None:
        strikes, lines = self.weather.strikes, batch.lines
        if lines and strikes("lines-lost"):
            lines.pop(0)
        if lines and strikes("lines-undecodable"):
            lines[-1] = Line(lines[-1].kind, b'{"custom_id":"' + lines[-1].data[:20], None)
        if lines and strikes("lines-twice"):
            lines.insert(0, lines[0])
        if lines and strikes("lines-of-strangers"):
            stranger = lines[-1].data.replace(b'"custom_id":"', b'"custom_id":"0')
            lines.insert(0, Line(lines[-1].kind, stranger, None))
        if strikes("no-final-newline"):
            batch.newline_at_end = False
        if strikes("results-deleted"):
            batch.lost = True
        if strikes("batch-forgotten"):
            batch.lost = batch.forgotten = True

    # Reading

    def known(self, ref: str) -> Batch:
        """The batch that a status call asks for."""
        strikes = self.weather.strikes
        if strikes("read-later"):
            raise Unavailable(f"{ref} cannot be read now")
        if strikes("read-blocked"):
            raise Unavailable(f"{ref}: the key is not valid", kind="blocked")
        batch = self.batches[ref]
        if batch.forgotten or self._for_a_while(batch, "read-absent"):
            raise Unavailable(f"{ref} is not known", kind="absent")
        return batch

    def gone(self, batch: Batch) -> bool:
        """Are its results deleted by now?"""
        kept = batch.ended_at or self.clock.now
        if self.flavour == "anthropic":
            kept = batch.created_at
        return batch.lost or self.clock.now - kept > timedelta(seconds=self.limits.retention_s)

    def _for_a_while(self, batch: Batch, kind: str) -> bool:
        """A trouble that a batch has once, for much less than the grace period."""
        if kind not in batch.windows and self.weather.strikes(kind):
            batch.windows[kind] = self.clock.now + timedelta(seconds=self.limits.grace_s / 3)
        return kind in batch.windows and self.clock.now < batch.windows[kind]

    def content(self, batch: Batch, kind: str) -> Iterator[bytes]:
        """The bytes of one result file as they come over the wire this time."""
        lines = [line.data for line in batch.lines if line.kind == kind]
        if self.weather.strikes("results-shuffled"):
            lines.reverse()
        data = b"".join(line + b"\n" for line in lines)
        if not batch.newline_at_end:
            data = data[:-1]
        data = self._spoiled(batch, data, len(lines))
        half = len(data) // 2
        yield data[:half]
        if self.weather.strikes("results-break-off"):
            raise Unavailable(f"the results of {batch.id} broke off")
        yield data[half:]

    def _spoiled(self, batch: Batch, data: bytes, lines: int) -> bytes:
        if not batch.spoil:
            batch.spoil = next((kind for kind in READ_SPOILS if self._for_a_while(batch, kind)), "")
        if not batch.spoil or not self._for_a_while(batch, batch.spoil):
            return data
        if batch.spoil == "results-empty" or lines == 0:
            return b""
        if batch.spoil == "results-cut":
            return data[: -len(data) // (3 * lines)]  # within the last line
        return data[: data.rstrip(b"\n").rfind(b"\n") + 1]

    def listed(self) -> list[Batch]:
        """What a listing shows now, newest first."""
        if self.weather.strikes("listing-down"):
            raise Unavailable("the list cannot be read now")
        shown = [batch for batch in self.batches.values() if batch.visible_at <= self.clock.now]
        return [batch for batch in reversed(shown) if not batch.forgotten]

    def page(self, after: str | None, size: int = 3) -> tuple[list[Batch], bool]:
        """One page of it, with the disorder of the day."""
        shown = self.listed()
        places = [place for place, batch in enumerate(shown) if batch.id == after]
        first = places[0] + 1 if places else 0
        rows = shown[first : first + size]
        if rows and self.weather.strikes("listing-repeats"):
            rows = [rows[0], *rows]
        if len(rows) > 1 and self.weather.strikes("listing-reordered"):
            rows.reverse()
        return rows, first + size < len(shown)

    def stop(self, ref: str) -> None:
        if self.weather.strikes("cancel-down"):
            raise Unavailable(f"{ref} cannot be cancelled now")
        batch = self.batches[ref]
        if batch.state in ("queued", "running"):
            batch.state = "stopping"
