"""Judging: a result line becomes one outcome. Pure, so that it can be done in any process, a block at a time."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from msgspec import structs
from pydantic import BaseModel, TypeAdapter, ValidationError

from batchjobs.repair import repaired
from providers.contract import Format, Outcome, Reply, Undecodable
from storage.redaction import as_code

ERRORS_TOLD_MAX = 5  # validation errors repeated to the model and to people
MESSAGE_LENGTH_MAX = 500
TOKENS_MAX = 1_000_000_000  # of one request; who claims more, or less than none, has not counted any
COLUMNS = (
    "custom_id", "outcome", "code", "message", "answer", "repaired",
    "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "raw_line",
)  # fmt: skip
Row = tuple[Any, ...]  # one value for each of COLUMNS


@dataclass(frozen=True, slots=True)
class Judge:
    """Decodes a provider's result lines and holds the answers against the schema of the task."""

    lines: Format
    result: type[BaseModel]
    _answers: TypeAdapter[BaseModel] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_answers", TypeAdapter(self.result))

    def judged(self, block: "Block") -> "Judged":
        """The outcome of every line of a block."""
        rows, undecodable = [], []
        for number, line in block.lines():
            try:
                rows.append(self.row(self.lines.decode(line), number))
            except Undecodable:
                undecodable.append(number)
        return Judged(columns_of(rows), undecodable)

    def row(self, reply: Reply, number: int | None = None) -> Row:
        """A success must also fit the schema, as it is or, if no JSON, repaired; all else is as the provider says."""
        if reply.outcome is not Outcome.succeeded:
            return _row(reply, reply.outcome, reply.code, reply.message, number)
        return self._success(reply, number)

    def _success(self, reply: Reply, number: int | None, *, mended: bool = False) -> Row:
        try:
            answer = self._answers.validator.validate_json(reply.text)
        except ValidationError as error:
            plain = repaired(reply.text) if not mended and _no_json(error) else None
            if plain is not None:
                return self._success(structs.replace(reply, text=plain), number, mended=True)
            return _row(reply, Outcome.invalid, "schema", explain(error), number)
        except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
            # A validator of the task's own stumbled over this answer; its words may quote it and are not kept.
            why = f"the task's validator raised {type(error).__name__}"
            return _row(reply, Outcome.invalid, type(error).__name__, why, number)
        told = self._answers.serializer.to_json(answer).decode()
        return _row(reply, Outcome.succeeded, "", "", number, told, mended)


@dataclass(frozen=True, slots=True)
class Block:
    """Some whole lines of a result file; `first` is the number of the first one, counted from 1."""

    first: int
    data: bytes

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Each line that is not blank, with its number."""
        for number, line in enumerate(self.data.split(b"\n"), self.first):
            if line.strip():
                yield number, line


@dataclass(slots=True)
class Judged:
    """What came of a block: COLUMNS of the lines that could be read, the numbers of the others."""

    columns: list[Sequence[Any]]
    undecodable: list[int]


Judging = Callable[[Iterable[Block]], Iterator[Judged]]  # what came of each block, in order


def columns_of(rows: Sequence[Row]) -> list[Sequence[Any]]:
    """The same, column by column."""
    return list(zip(*rows, strict=True)) if rows else [()] * len(COLUMNS)


def no_reply(custom_id: str, outcome: Outcome, code: str, message: str) -> Row:
    """The row of a request that no result line speaks of."""
    return _row(Reply(custom_id, outcome), outcome, code, message, None)


def _row(
    reply: Reply, outcome: Outcome, code: str, message: str, number: int | None,
    answer: str | None = None, mended: bool = False,
) -> Row:  # fmt: skip
    usage = reply.usage
    tokens = usage.input_tokens, usage.output_tokens, usage.cache_read_tokens, usage.cache_write_tokens
    if min(tokens) < 0 or max(tokens) > TOKENS_MAX:
        tokens = 0, 0, 0, 0
    words = as_code(code) or None, message[:MESSAGE_LENGTH_MAX] or None
    return reply.custom_id, outcome.value, *words, answer, mended, *tokens, number


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
