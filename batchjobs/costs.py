"""What many answers cost, by the column. Apart from `prices`: Arrow takes longer to load than `status` takes to run."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import reduce
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from batchjobs.prices import MILLION, Rates
from providers.contract import Usage
from storage.tables import MONEY

UNITS = Decimal(10**12)  # a dollar in whole numbers: listed prices a token are exact in them, and 9 million fit 64 bits
UNITS_A_NANO = 10**3


def costs(tiers: tuple[Rates, ...], usages: Mapping[str, Sequence[int]]) -> tuple[pa.Array, Decimal]:
    """What many requests cost: a column of it, each rounded to a nano-dollar, and the exact sum.

    `usages` are columns named like the members of Usage, each below a billion: more would not fit 64 bits.
    """
    columns = {name: pa.array(usages[name], pa.int64()) for name in Usage.__struct_fields__}
    cached = pc.add_checked(columns["cache_read_tokens"], columns["cache_write_tokens"])
    parts = {
        "input": pc.subtract_checked(columns["input_tokens"], cached),
        "cache_read": columns["cache_read_tokens"],
        "cache_write": columns["cache_write_tokens"],
        "output": columns["output_tokens"],
    }
    priced = [
        pc.multiply_checked(tokens, _rates_of(tiers, name, columns["input_tokens"])) for name, tokens in parts.items()
    ]
    exact = reduce(pc.add_checked, priced)
    return _in_nano_dollars(exact), Decimal(sum(exact.to_pylist())) / UNITS


def _rates_of(tiers: tuple[Rates, ...], name: str, input_tokens: pa.Array) -> Any:
    """What a token costs in our units, for each request by the tier that it falls into."""
    chosen: Any = pa.scalar(_per_token(getattr(tiers[0], name)))
    for tier in tiers[1:]:
        above = pc.greater(input_tokens, tier.from_input_tokens)
        chosen = pc.if_else(above, _per_token(getattr(tier, name)), chosen)
    return chosen


def _per_token(rate: Decimal) -> int:
    return int((rate * UNITS / MILLION).to_integral_value())


def _in_nano_dollars(exact: pa.Array) -> pa.Array:
    """Rounded half to even, as Decimal does."""
    whole = pc.divide(exact, UNITS_A_NANO)
    rest = pc.subtract(exact, pc.multiply(whole, UNITS_A_NANO))
    odd = pc.equal(pc.bit_wise_and(whole, 1), 1)
    up = pc.or_(pc.greater(rest, UNITS_A_NANO // 2), pc.and_(pc.equal(rest, UNITS_A_NANO // 2), odd))
    nanos = pc.add(whole, up.cast(pa.int64())).cast(pa.decimal128(19, 0))
    return pa.Array.from_buffers(MONEY, len(nanos), nanos.buffers())  # the point moves nine places
