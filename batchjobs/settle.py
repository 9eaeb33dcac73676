"""Settling a shard: every request gets exactly one outcome, decided from our own copy of the provider's bytes.

The rows go to disk as they come, so that memory holds the ids of a shard and never its answers.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from itertools import compress
from pathlib import Path
from typing import Any

import pyarrow.parquet
import zstandard
from msgspec import structs

from batchjobs.costs import costs
from batchjobs.desk import Desk
from batchjobs.errors import Broken
from batchjobs.jobs import Job
from batchjobs.judge import Block, Judged, Judging, columns_of, no_reply
from batchjobs.prices import RateCard
from batchjobs.shards import Shard
from providers.contract import Outcome
from storage.content import file_sha8
from storage.contract import Conflict, Damaged
from storage.layout import outcomes_key, strays_key
from storage.tables import OUTCOMES, STRAYS, TableWriter

PLAIN = ".jsonl"
PIECE_BYTES = 1 << 20
_DERIVED = ("cost_usd", "sync_cost_usd")


@dataclass(slots=True)
class Bill:
    """What the ledger tells of a shard's outcomes."""

    rates: RateCard
    at_once: bool
    counts: Counter[str] = field(default_factory=Counter)
    repaired: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: Decimal = Decimal(0)
    sync_cost: Decimal = Decimal(0)

    def add(self, columns: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
        """Count some rows; the two columns of what they cost."""
        cost, total = costs(self.rates.sync if self.at_once else self.rates.batch, columns)
        sync_cost, sync_total = costs(self.rates.sync, columns)
        self.counts.update(columns["outcome"])
        self.repaired += sum(columns["repaired"])
        self.input_tokens += sum(columns["input_tokens"])
        self.output_tokens += sum(columns["output_tokens"])
        self.cost += total
        self.sync_cost += sync_total
        return {"cost_usd": cost, "sync_cost_usd": sync_cost}

    def told(self) -> dict[str, Any]:
        return {
            "counts": dict(self.counts),
            "repaired": self.repaired,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "cost": str(self.cost),
            "sync_cost": str(self.sync_cost),
        }


def settle(desk: Desk, job: Job, shard: Shard, judging: Judging) -> None:
    """Decode, validate, decide, and write the outcomes down. Raises Damaged when our own copy is not readable."""
    with _settlement(desk, job, shard) as settlement:
        _take_answers(desk, settlement, shard, judging)
        if not shard.certain and not any(settlement.decided):
            why = f"batch {shard.batch_id} holds none of this shard's requests"
            desk.append(job.id, shard.plan.id, shard.number, "disowned", {"batch_id": shard.batch_id, "why": why})
            return
        settlement.fill(shard)
        data = settlement.told() | {"bought": True} | settlement.keep(desk, job, shard)
        desk.append(job.id, shard.plan.id, shard.number, "settled", data)


def settle_unsent(
    desk: Desk, job: Job, shard: Shard, outcome: str, code: str, message: str, after: int | None = None
) -> None:
    """Settle a shard that was never bought: the same outcome for every request, at no cost."""
    all_alike = {"outcome": outcome, "code": code, "message": message}
    with _settlement(desk, job, shard) as settlement:
        settlement.fill_alike(all_alike)
        data = settlement.told() | {"bought": False, "all_alike": all_alike} | settlement.keep(desk, job, shard)
    desk.append(job.id, shard.plan.id, shard.number if after is None else after, "settled", data)


def settle_again(desk: Desk, job: Job, shard: Shard, files: Sequence[dict[str, Any]], judging: Judging) -> None:
    """Make the outcomes of a settled shard once more, from raw `files`, because one of its objects is damaged.

    Raises Damaged, and writes nothing, where they would not come to what the ledger says: retries and totals rest on
    that.
    """
    sound, all_alike = structs.replace(shard, files=tuple(files)), shard.settlement.get("all_alike")
    with _settlement(desk, job, sound) as settlement:
        if all_alike:
            settlement.fill_alike(all_alike)
        else:
            _take_answers(desk, settlement, sound, judging)
            settlement.fill(sound)
        told = settlement.told()
        said = {"repaired": told["repaired"]} | shard.settlement  # earlier releases did not count these
        if any(_plain(told[name]) != _plain(said[name]) for name in told):
            raise Damaged(
                f"{shard.settlement['outcomes_key']} cannot be made again, its answers are judged differently by now: "
                "restore the object."
            )
        keys = settlement.keep(desk, job, sound)
    same = all(shard.settlement[name] == key for name, key in keys.items())
    if not same or sound.files != shard.files:
        desk.append(job.id, shard.plan.id, shard.number, "resettled", keys | {"files": list(files)})


def _plain(told: Any) -> Any:
    """Money is text in a ledger, and earlier releases wrote its last zeros."""
    return Decimal(told) if isinstance(told, str) else told


@dataclass(slots=True)
class Settlement:
    """The tables of a shard that are being written: an outcome for each request once; what fits none is a stray."""

    custom_ids: Sequence[str]
    keys: Sequence[str]
    bill: Bill
    outcomes: TableWriter
    strays: TableWriter
    rows: dict[str, int]
    decided: bytearray

    def take(self, judged: Judged, raw_key: str) -> None:
        """What came of some lines of one file. The first answer to a request counts; it is kept who sent another."""
        for number in judged.undecodable:
            self.strays.add((None, "undecodable", raw_key, number))
        columns, places = judged.columns, list(map(self.rows.get, judged.columns[0]))
        if not self._all_new(places):
            new = [self._is_new(*named, raw_key) for named in zip(places, columns[0], columns[-1], strict=True)]
            columns = [list(compress(column, new)) for column in columns]
            places = list(compress(places, new))
        self._add(columns, [place for place in places if place is not None], raw_key)

    def _all_new(self, places: Sequence[int | None]) -> bool:
        known = {place for place in places if place is not None}
        return len(known) == len(places) and not any(map(self.decided.__getitem__, known))

    def _is_new(self, place: int | None, custom_id: str, number: int, raw_key: str) -> bool:
        if place is None or self.decided[place]:
            kind = "stranger" if place is None else "twin"
            self.strays.add((custom_id, kind, raw_key, number))
            return False
        self.decided[place] = True
        return True

    def _add(self, columns: Sequence[Sequence[Any]], places: Sequence[int], raw_key: str | None) -> None:
        for place in places:
            self.decided[place] = True
        custom_ids, *rest, numbers = columns
        keys = [self.keys[place] for place in places]
        self.outcomes.extend([custom_ids, keys, *rest, [raw_key] * len(places), numbers])

    def fill(self, shard: Shard) -> None:
        """Give every request without a result line the outcome that the end of its batch implies."""
        accused = {error["line"]: error for error in shard.end.get("line_errors", ())}
        rest = _implied(shard)
        self._fill(lambda place: _accusation(accused[place + 1]) if place + 1 in accused else rest)

    def fill_alike(self, verdict: Mapping[str, str]) -> None:
        """The same outcome for every request."""
        alike = Outcome(verdict["outcome"]), verdict["code"], verdict["message"]
        self._fill(lambda _place: alike)

    def _fill(self, verdict_on: Callable[[int], tuple[Outcome, str, str]]) -> None:
        places = [place for place, decided in enumerate(self.decided) if not decided]
        rows = [no_reply(self.custom_ids[place], *verdict_on(place)) for place in places]
        self._add(columns_of(rows), places, None)

    def told(self) -> dict[str, Any]:
        """What the ledger tells of the tables, which are whole after this. The identity is checked here."""
        self.outcomes.close()
        self.strays.close()
        if not self.outcomes.rows == sum(self.decided) == len(self.custom_ids):
            raise Broken(f"{self.outcomes.rows} outcomes for {len(self.keys)} requests ({self.custom_ids[0]}, …).")
        return self.bill.told() | {"strays": self.strays.rows}

    def keep(self, desk: Desk, job: Job, shard: Shard) -> dict[str, str]:
        """Put the tables into the store; their keys."""
        keys = {"outcomes_key": keep(desk, self.outcomes.path, partial(outcomes_key, job.id, shard.plan.id))}
        if self.strays.rows:
            keys["strays_key"] = keep(desk, self.strays.path, partial(strays_key, job.id, shard.plan.id))
        return keys


@contextmanager
def _settlement(desk: Desk, job: Job, shard: Shard) -> Iterator[Settlement]:
    """An empty one. Raises Damaged where the requests cannot be read."""
    with desk.intact(shard.plan.requests_key) as path:
        table = pyarrow.parquet.read_table(path, columns=["custom_id", "request_key"])
    ids: list[str] = table.column("custom_id").to_pylist()
    if len(ids) != shard.plan.requests:
        raise Damaged(f"{shard.plan.requests_key} holds {len(ids)} requests, {shard.plan.requests} were packed.")
    bill = Bill(job.plan.rates, shard.plan.at_once)
    with desk.spool() as spool:
        yield Settlement(
            custom_ids=ids,
            keys=table.column("request_key").to_pylist(),
            bill=bill,
            outcomes=TableWriter(spool / "outcomes", OUTCOMES, bill.add, _DERIVED),
            strays=TableWriter(spool / "strays", STRAYS),
            rows={custom_id: row for row, custom_id in enumerate(ids)},
            decided=bytearray(len(ids)),
        )


def _take_answers(desk: Desk, settlement: Settlement, shard: Shard, judging: Judging) -> None:
    """What the raw files say of the shard's requests."""
    for file in shard.files:
        if file["kind"] != "batch":
            with desk.intact(file["key"]) as path:
                for some in judging(_blocks(path)):
                    settlement.take(some, file["key"])


def _blocks(path: Path) -> Iterator[Block]:
    """The whole lines of a raw copy, about a piece of its bytes at a time. Raises Damaged."""
    first, rest = 1, []
    for piece in unpacked(path):
        end = piece.rfind(b"\n") + 1
        if not end:
            rest.append(piece)
            continue
        block = Block(first, b"".join((*rest, piece[:end])))
        yield block
        first, rest = first + block.data.count(b"\n"), [piece[end:]]
    yield Block(first, b"".join(rest))


def raw_lines(path: Path, watch: Callable[[bytes], object] | None = None) -> Iterator[bytes]:
    """The lines of a shard or raw copy, split on newline bytes only; `watch` sees every byte. Raises Damaged."""
    rest = b""
    for chunk in unpacked(path):
        if watch is not None:
            watch(chunk)
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines
    if rest:
        yield rest


def unpacked(path: Path) -> Iterator[bytes]:
    """The bytes of a shard or raw copy in pieces: as they lie where the name ends in .jsonl, else decompressed."""
    with path.open("rb") as source:
        if path.suffix == PLAIN:
            while chunk := source.read(PIECE_BYTES):
                yield chunk
            return
        try:
            yield from zstandard.ZstdDecompressor().read_to_iter(source, PIECE_BYTES, PIECE_BYTES)
        except zstandard.ZstdError:
            raise Damaged(f"{path.name} cannot be decompressed.") from None


def _accusation(error: Mapping[str, Any]) -> tuple[Outcome, str, str]:
    return Outcome.failed, error["code"], "the provider rejected this line"


def _implied(shard: Shard) -> tuple[Outcome, str, str]:
    """Outcome, code and message of a request that no result line speaks of."""
    if shard.gone:  # what the provider deleted may have been paid: buying it again is a person's decision
        return Outcome.failed, "gone", shard.gone
    if shard.end.get("rejected", False):
        return Outcome.errored, shard.end.get("code") or "batch_rejected", "the provider rejected the batch"
    word = shard.end.get("word", "").lower()
    if word in ("cancelled", "canceled", "stopped"):
        return Outcome.cancelled, "cancelled", "the batch was cancelled before this request ran"
    if word in ("expired", "partiallycompleted"):
        return Outcome.expired, "expired", "the batch's time was over before this request ran"
    return Outcome.missing, "missing", "in none of the result files"


def keep(desk: Desk, path: Path, make_key: Callable[[str, int], str], first: int = 1) -> str:
    """Put a file into the store under a key that carries its hash and a number, and tell the key.

    Who finds the key taken by other bytes has found a damaged object: it stays, and the next number is taken.
    """
    sha8, number = file_sha8(path), first
    while True:
        key = make_key(sha8, number)
        try:
            desk.store.create_from(key, path)
        except Conflict:
            desk.say(f"{key} is not what was written and stays where it is; a sound copy gets a key of its own")
            number += 1
        else:
            return key
