"""The Parquet hand-off files between the pipeline and the results store: their schemas, and how to write one."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

pa.set_memory_pool(pa.system_memory_pool())  # the others keep 30 MB for themselves of what was freed

ROW_GROUP_ROWS = 10_000  # with long answers 20 MB
NANO_DOLLAR = Decimal("1E-9")
MONEY = pa.decimal128(18, 9)
Derive = Callable[[Mapping[str, Sequence[Any]]], Mapping[str, Any]]


def _text(name: str, *, null: bool = False) -> pa.Field:
    return pa.field(name, pa.string(), nullable=null)


def _integer(name: str, *, null: bool = False) -> pa.Field:
    return pa.field(name, pa.int64(), nullable=null)


# One per shard: every request of it, in the order of the shard's lines. `summary` is a JSON object.
REQUESTS = pa.schema(
    [
        _text("request_key"),
        _text("custom_id"),
        _text("item_id"),
        _integer("line"),
        _integer("estimated_input_tokens"),
        _text("summary"),
    ]
)

# One per job: the items that need no purchase of their own. `how` is reused, in_flight or shared.
CARRIED = pa.schema([_text("item_id"), _text("request_key"), _text("how"), _text("summary")])

# One per job: the input lines that became no item, and why.
REJECTS = pa.schema(
    [_text("source"), _integer("line"), _text("item_id", null=True), _text("reason"), _text("detail", null=True)]
)

# One per settled shard: exactly one row per request of the shard. `answer` is set for `succeeded` alone.
OUTCOMES = pa.schema(
    [
        _text("custom_id"),
        _text("request_key"),
        _text("outcome"),
        _text("code", null=True),
        _text("message", null=True),
        _text("answer", null=True),
        pa.field("repaired", pa.bool_(), nullable=False),
        _integer("input_tokens"),
        _integer("output_tokens"),
        _integer("cache_read_tokens"),
        _integer("cache_write_tokens"),
        pa.field("cost_usd", MONEY, nullable=False),
        pa.field("sync_cost_usd", MONEY, nullable=False),
        _text("raw_key", null=True),
        _integer("raw_line", null=True),
    ]
)

# Per shard, where there are any: result lines that belong to no request. `kind` is stranger, twin or undecodable.
STRAYS = pa.schema([_text("custom_id", null=True), _text("kind"), _text("raw_key"), _integer("raw_line", null=True)])

_TIME = pa.timestamp("us")
# Not a file: how rows about shards enter the results store in bulk.
SHARDS = pa.schema(
    [
        _text("job_id"),
        _text("shard_id"),
        _text("parent_shard", null=True),
        pa.field("attempt", pa.int32(), nullable=False),
        _integer("requests"),
        _integer("bytes"),
        _text("state"),
        pa.field("open", pa.bool_(), nullable=False),
        _text("batch_id", null=True),
        pa.field("estimated_cost_usd", MONEY),
        pa.field("cost_usd", MONEY),
        pa.field("sent_at", _TIME),
        pa.field("ended_at", _TIME),
        pa.field("settled_at", _TIME),
        _text("detail", null=True),
    ]
)


def write_parquet(path: Path, schema: pa.Schema, columns: Mapping[str, Sequence[Any]]) -> None:
    """Write the columns as one zstd Parquet file, a row group at a time.

    Money is rounded to a nano-dollar. Lone surrogates, which no file can hold (RELIABILITY §1 E7), become U+FFFD.
    Raises ValueError when columns are missing, unknown, of unequal length, or empty where a value must be.
    """
    rows = _row_count(schema, columns)
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in _batches(schema, columns, rows):
            writer.write_batch(batch, row_group_size=ROW_GROUP_ROWS)


def content_bytes(path: Path) -> int:
    """How much is in a file when it is not compressed; 0 for one that cannot be read, which who reads it will say."""
    try:
        found = pq.read_metadata(path)
    except (OSError, pa.ArrowInvalid):
        return 0
    return sum(found.row_group(place).total_byte_size for place in range(found.num_row_groups))


class TableWriter:
    """Rows into one Parquet file as they come, a row group of them in memory at most. Made when the first row comes.

    `derive` is given the other columns of a row group and gives the rest of the schema's.
    """

    def __init__(
        self, path: Path, schema: pa.Schema, derive: Derive | None = None, derived: Collection[str] = ()
    ) -> None:
        self.path = path
        self.rows = 0
        self._schema = schema
        self._derive = derive
        self._columns: dict[str, list[Any]] = {name: [] for name in schema.names if name not in derived}
        self._waiting = 0
        self._writer: pq.ParquetWriter | None = None

    def add(self, row: Sequence[Any]) -> None:
        """One row, in the order of the schema."""
        self.extend([[value] for value in row])

    def extend(self, columns: Iterable[Sequence[Any]]) -> None:
        """Some rows, column by column in the order of the schema."""
        added = 0
        for column, values in zip(self._columns.values(), columns, strict=True):
            column.extend(values)
            added = len(values)
        self.rows += added
        self._waiting += added
        while self._waiting >= ROW_GROUP_ROWS:
            self._flush(ROW_GROUP_ROWS)

    def close(self) -> None:
        """Write what is left; afterwards the file is whole, or was never made because there was no row."""
        if self._waiting:
            self._flush(self._waiting)
        if self._writer is not None:
            self._writer.close()

    def _flush(self, rows: int) -> None:
        if self._writer is None:
            self._writer = pq.ParquetWriter(self.path, self._schema, compression="zstd")
        group: dict[str, Any] = {name: values[:rows] for name, values in self._columns.items()}
        for values in self._columns.values():
            del values[:rows]
        self._waiting -= rows
        if self._derive is not None:
            group |= self._derive(group)
        for batch in _batches(self._schema, group, rows):
            self._writer.write_batch(batch)


def _row_count(schema: pa.Schema, columns: Mapping[str, Sequence[Any]]) -> int:
    if set(columns) != set(schema.names):
        raise ValueError(f"columns {sorted(columns)} do not fit the schema {schema.names}")
    lengths = {len(column) for column in columns.values()}
    if len(lengths) != 1:
        raise ValueError(f"columns of unequal length: {sorted(lengths)}")
    return lengths.pop()


def arrow_table(schema: pa.Schema, columns: Mapping[str, Sequence[Any]]) -> pa.Table:
    """The columns in memory, under the same rules as a file."""
    return pa.Table.from_batches(_batches(schema, columns, _row_count(schema, columns)), schema=schema)


def _batches(schema: pa.Schema, columns: Mapping[str, Sequence[Any]], rows: int) -> Iterator[pa.RecordBatch]:
    for start in range(0, rows, ROW_GROUP_ROWS):
        stop = start + ROW_GROUP_ROWS
        arrays = [_array(field, columns[field.name][start:stop]) for field in schema]
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def _array(field: pa.Field, values: Sequence[Any]) -> pa.Array:
    if isinstance(values, pa.Array):
        return values
    if field.type == MONEY:
        values = [None if value is None else value.quantize(NANO_DOLLAR) for value in values]
    try:
        array = pa.array(values, type=field.type)
    except UnicodeEncodeError:
        array = pa.array([_encodable(value) for value in values], type=field.type)
    if array.null_count and not field.nullable:
        raise ValueError(f"column {field.name} must have a value in every row")
    return array


def _encodable(value: str | None) -> str | None:
    return None if value is None else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
