"""Settling a shard: every request gets exactly one outcome, decided from our own copy of the provider's bytes."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet
import zstandard
from msgspec import Struct, structs
from pydantic import BaseModel, ValidationError

from batchjobs.desk import Desk
from batchjobs.errors import Broken
from batchjobs.jobs import Job
from batchjobs.prices import RateCard
from batchjobs.repair import repaired
from batchjobs.shards import Shard
from providers.contract import Format, Outcome, Reply, Undecodable
from storage.content import file_sha8
from storage.contract import Conflict, Damaged
from storage.layout import outcomes_key, strays_key
from storage.redaction import as_code
from storage.tables import OUTCOMES, STRAYS, write_parquet

ERRORS_TOLD_MAX = 5  # validation errors repeated to the model and to people
MESSAGE_LENGTH_MAX = 500
PLAIN = ".jsonl"
PIECE_BYTES = 1 << 20


class Decided(Struct, frozen=True):
    """One request's outcome and where its bytes are."""

    reply: Reply
    outcome: Outcome
    code: str
    message: str
    answer: str | None = None
    raw_key: str | None = None
    raw_line: int | None = None
    repaired: bool = False


@dataclass(slots=True)
class Settlement:
    """Outcomes of a shard by the row of their request; what fits no row is a stray, kept and named, never merged."""

    custom_ids: Sequence[str]
    keys: Sequence[str]
    decided: list[Decided | None]
    strays: dict[str, list[object]] = field(default_factory=lambda: {name: [] for name in STRAYS.names})
    rows: dict[str, int] = field(default_factory=dict)

    def stray(self, custom_id: str | None, kind: str, raw_key: str, raw_line: int) -> None:
        for column, value in zip(self.strays.values(), (custom_id, kind, raw_key, raw_line), strict=True):
            column.append(value)


def settle(desk: Desk, job: Job, shard: Shard, lines: Format, result: type[BaseModel]) -> None:
    """Decode, validate, decide, and write the outcomes down. Raises Damaged when our own copy is not readable."""
    settlement = _decoded(desk, shard, lines, result)
    if not shard.certain and not any(settlement.decided):
        why = f"batch {shard.batch_id} holds none of this shard's requests"
        desk.append(job.id, shard.plan.id, shard.number, "disowned", {"batch_id": shard.batch_id, "why": why})
        return
    _fill(settlement, shard)
    _record(desk, job, shard, settlement, shard.number)


def settle_unsent(
    desk: Desk, job: Job, shard: Shard, outcome: str, code: str, message: str, after: int | None = None
) -> None:
    """Settle a shard that was never bought: the same outcome for every request, at no cost."""
    all_alike = {"outcome": outcome, "code": code, "message": message}
    settlement = _alike(desk, shard, all_alike)
    _record(desk, job, shard, settlement, shard.number if after is None else after, all_alike)


def settle_again(
    desk: Desk, job: Job, shard: Shard, files: Sequence[dict[str, Any]], lines: Format, result: type[BaseModel]
) -> None:
    """Make the outcomes of a settled shard once more, from raw `files`, because one of its objects is damaged.

    Raises Damaged, and writes nothing, where they would not come to what the ledger says: retries and totals rest on
    that.
    """
    sound, all_alike = structs.replace(shard, files=tuple(files)), shard.settlement.get("all_alike")
    settlement = _alike(desk, sound, all_alike) if all_alike else _decoded(desk, sound, lines, result)
    _fill(settlement, sound)
    columns, told = _told(job, sound, settlement)
    said = {"repaired": told["repaired"]} | shard.settlement  # earlier releases did not count these
    if any(told[name] != said[name] for name in told):
        raise Damaged(
            f"{shard.settlement['outcomes_key']} cannot be made again, its answers are judged differently by now: "
            "restore the object."
        )
    keys = _keep_tables(desk, job, sound, settlement, columns)
    same = all(shard.settlement[name] == key for name, key in keys.items())
    if not same or sound.files != shard.files:
        desk.append(job.id, shard.plan.id, shard.number, "resettled", keys | {"files": list(files)})


def _decoded(desk: Desk, shard: Shard, lines: Format, result: type[BaseModel]) -> Settlement:
    """What the raw files say of the shard's requests."""
    settlement = _settlement(desk, shard)
    for file in shard.files:
        if file["kind"] != "batch":
            _decode_file(desk, settlement, lines, result, file["key"])
    return settlement


def _alike(desk: Desk, shard: Shard, verdict: Mapping[str, str]) -> Settlement:
    """The same outcome for every request."""
    settlement = _settlement(desk, shard)
    outcome, code, message = Outcome(verdict["outcome"]), verdict["code"], verdict["message"]
    settlement.decided = [_no_reply(custom_id, outcome, code, message) for custom_id in settlement.custom_ids]
    return settlement


def _settlement(desk: Desk, shard: Shard) -> Settlement:
    with desk.intact(shard.plan.requests_key) as path:
        table = pyarrow.parquet.read_table(path, columns=["custom_id", "request_key"])
    ids: list[str] = table.column("custom_id").to_pylist()
    keys: list[str] = table.column("request_key").to_pylist()
    if len(ids) != shard.plan.requests:
        raise Damaged(f"{shard.plan.requests_key} holds {len(ids)} requests, {shard.plan.requests} were packed.")
    return Settlement(ids, keys, [None] * len(ids), rows={custom_id: row for row, custom_id in enumerate(ids)})


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
            yield from zstandard.ZstdDecompressor().read_to_iter(source, read_size=PIECE_BYTES)
        except zstandard.ZstdError:
            raise Damaged(f"{path.name} cannot be decompressed.") from None


def _decode_file(desk: Desk, settlement: Settlement, lines: Format, result: type[BaseModel], key: str) -> None:
    with desk.intact(key) as path:
        for number, line in enumerate(raw_lines(path), start=1):
            if not line.strip():
                continue
            try:
                reply = lines.decode(line)
            except Undecodable:
                settlement.stray(None, "undecodable", key, number)
                continue
            row = settlement.rows.get(reply.custom_id)
            if row is None:
                settlement.stray(reply.custom_id, "stranger", key, number)
            elif settlement.decided[row] is not None:
                settlement.stray(reply.custom_id, "twin", key, number)
            else:
                settlement.decided[row] = judge(reply, result, key, number)


def judge(reply: Reply, result: type[BaseModel], raw_key: str, raw_line: int, *, mended: bool = False) -> Decided:
    """A success must also fit the schema, as it is or, if it is no JSON, repaired; all else is as the provider says."""
    if reply.outcome is not Outcome.succeeded:
        return Decided(reply, reply.outcome, reply.code, reply.message[:MESSAGE_LENGTH_MAX], None, raw_key, raw_line)
    try:
        answer = result.model_validate_json(reply.text)
    except ValidationError as error:
        plain = repaired(reply.text) if not mended and _no_json(error) else None
        if plain is not None:
            return judge(replace(reply, text=plain), result, raw_key, raw_line, mended=True)
        return Decided(reply, Outcome.invalid, "schema", explain(error), None, raw_key, raw_line)
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        # A validator of the task's own stumbled over this answer; its words may quote it and are not kept.
        why = f"the task's validator raised {type(error).__name__}"
        return Decided(reply, Outcome.invalid, type(error).__name__, why, None, raw_key, raw_line)
    answered = replace(reply, text="")  # a shard of them is in memory at once
    return Decided(answered, Outcome.succeeded, "", "", answer.model_dump_json(), raw_key, raw_line, mended)


def _no_json(error: ValidationError) -> bool:
    if error.error_count() != 1:
        return False
    [only] = error.errors(include_url=False, include_context=False, include_input=False)
    return only["type"] == "json_invalid"


def explain(error: ValidationError) -> str:
    """What does not fit, for the model's next try and for people: places and expectations, never the values."""
    told = error.errors(include_url=False, include_context=False, include_input=False)[:ERRORS_TOLD_MAX]
    parts = [f"{'.'.join(map(str, e['loc'])) or 'answer'}: {e['msg']}" for e in told]
    return "; ".join(parts)[:MESSAGE_LENGTH_MAX]


def _no_reply(custom_id: str, outcome: Outcome, code: str, message: str) -> Decided:
    return Decided(Reply(custom_id, outcome), outcome, code, message[:MESSAGE_LENGTH_MAX])


def _fill(settlement: Settlement, shard: Shard) -> None:
    """Give every request without a result line the outcome that the end of its batch implies."""
    accused = {error["line"]: error for error in shard.end.get("line_errors", ())}
    rest = _implied(shard)
    for row, decided in enumerate(settlement.decided):
        if decided is not None:
            continue
        error = accused.get(row + 1)
        verdict = (Outcome.failed, error["code"], "the provider rejected this line") if error else rest
        settlement.decided[row] = _no_reply(settlement.custom_ids[row], *verdict)


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


def _record(
    desk: Desk, job: Job, shard: Shard, settlement: Settlement, after: int, all_alike: Mapping[str, str] | None = None
) -> None:
    """Write the outcomes, then the ledger record that makes them count; `all_alike` is the verdict on an unsent one."""
    columns, data = _told(job, shard, settlement)
    data |= {"bought": all_alike is None} | ({"all_alike": dict(all_alike)} if all_alike else {})
    data |= _keep_tables(desk, job, shard, settlement, columns)
    desk.append(job.id, shard.plan.id, after, "settled", data)


def _told(job: Job, shard: Shard, settlement: Settlement) -> tuple[dict[str, list[Any]], dict[str, Any]]:
    """The table of outcomes, and what the ledger tells of it. The identity is checked here."""
    decided = [d for d in settlement.decided if d is not None]
    if len(decided) != shard.plan.requests:
        raise Broken(f"Shard {shard.plan.id}: {len(decided)} outcomes for {shard.plan.requests} requests.")
    columns = _columns(settlement, decided, job.plan.rates, at_once=shard.plan.at_once)
    return columns, _summary(decided, columns) | {"strays": len(settlement.strays["kind"])}


def _keep_tables(
    desk: Desk, job: Job, shard: Shard, settlement: Settlement, columns: dict[str, list[Any]]
) -> dict[str, str]:
    """Put the tables into the store; their keys."""
    keys = {}
    with desk.spool() as spool:
        write_parquet(spool / "outcomes", OUTCOMES, columns)
        keys["outcomes_key"] = keep(desk, spool / "outcomes", partial(outcomes_key, job.id, shard.plan.id))
        if settlement.strays["kind"]:
            write_parquet(spool / "strays", STRAYS, settlement.strays)
            keys["strays_key"] = keep(desk, spool / "strays", partial(strays_key, job.id, shard.plan.id))
    return keys


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


def _columns(
    settlement: Settlement, decided: Sequence[Decided], rates: RateCard, *, at_once: bool
) -> dict[str, list[Any]]:
    usages = [d.reply.usage for d in decided]
    return {
        "custom_id": list(settlement.custom_ids),
        "request_key": list(settlement.keys),
        "outcome": [d.outcome.value for d in decided],
        "code": [as_code(d.code) or None for d in decided],
        "message": [d.message or None for d in decided],
        "answer": [d.answer for d in decided],
        "repaired": [d.repaired for d in decided],
        "input_tokens": [u.input_tokens for u in usages],
        "output_tokens": [u.output_tokens for u in usages],
        "cache_read_tokens": [u.cache_read_tokens for u in usages],
        "cache_write_tokens": [u.cache_write_tokens for u in usages],
        "cost_usd": [rates.cost(u, at_once=at_once) for u in usages],
        "sync_cost_usd": [rates.sync_cost(u) for u in usages],
        "raw_key": [d.raw_key for d in decided],
        "raw_line": [d.raw_line for d in decided],
    }


def _summary(decided: Sequence[Decided], columns: dict[str, list[Any]]) -> dict[str, Any]:
    return {
        "counts": dict(Counter(d.outcome.value for d in decided)),
        "repaired": sum(columns["repaired"]),
        "input_tokens": sum(columns["input_tokens"]),
        "output_tokens": sum(columns["output_tokens"]),
        "cost": str(sum(columns["cost_usd"], Decimal(0))),
        "sync_cost": str(sum(columns["sync_cost_usd"], Decimal(0))),
    }
