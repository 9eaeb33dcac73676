"""What tokens cost, in dated Decimal prices; a quote is taken once per job and kept in its plan."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, time
from decimal import Decimal
from typing import Any

import msgspec

import providers
from batchjobs.errors import UsageError
from providers.contract import PriceSource, Usage

MILLION = Decimal(1_000_000)
BATCH = {"processing": "batch"}
_EMBEDDING = re.compile(r"text-embedding-")
_OWN_MODEL = ":custom-model/"


class Rates(msgspec.Struct, frozen=True):
    """US dollars per million tokens, for a request whose input has at least `from_input_tokens` tokens."""

    input: Decimal
    output: Decimal
    cache_read: Decimal
    cache_write: Decimal
    from_input_tokens: int = 0


class RateCard(msgspec.Struct, frozen=True):
    """Batch and synchronous prices of one model on one day, tiers ascending; priced per request, then summed."""

    batch: tuple[Rates, ...]
    sync: tuple[Rates, ...]
    context_tokens: int | None = None
    source: str = ""

    def batch_cost(self, usage: Usage) -> Decimal:
        return _cost(self.batch, usage)

    def sync_cost(self, usage: Usage) -> Decimal:
        return _cost(self.sync, usage)


_NOTHING = (Rates(Decimal(0), Decimal(0), Decimal(0), Decimal(0)),)
FREE = RateCard(batch=_NOTHING, sync=_NOTHING, source="no price")


def _cost(tiers: tuple[Rates, ...], usage: Usage) -> Decimal:
    rates = tiers[0]
    for tier in tiers[1:]:
        if usage.input_tokens > tier.from_input_tokens:
            rates = tier
    fresh = usage.input_tokens - usage.cache_read_tokens - usage.cache_write_tokens
    return (
        fresh * rates.input
        + usage.cache_read_tokens * rates.cache_read
        + usage.cache_write_tokens * rates.cache_write
        + usage.output_tokens * rates.output
    ) / MILLION


class Bill:
    """The exact sum of what many requests cost that use no cache: tokens are counted by tier, and priced once."""

    __slots__ = ("_counts", "_tiers")

    def __init__(self, tiers: tuple[Rates, ...]) -> None:
        self._tiers = tiers
        self._counts = [[0, 0] for _ in tiers]

    def add(self, input_tokens: Sequence[int], output_tokens: int) -> None:
        """More requests: the input of each, and the output that each of them has."""
        for tier, count in zip(self._tiers[:0:-1], self._counts[:0:-1], strict=True):
            if max(input_tokens, default=0) > tier.from_input_tokens:
                _count(count, [one for one in input_tokens if one > tier.from_input_tokens], output_tokens)
                input_tokens = [one for one in input_tokens if one <= tier.from_input_tokens]
        _count(self._counts[0], input_tokens, output_tokens)

    @property
    def total(self) -> Decimal:
        """US dollars."""
        pairs = zip(self._tiers, self._counts, strict=True)
        return sum((count[0] * tier.input + count[1] * tier.output for tier, count in pairs), Decimal(0)) / MILLION


def _count(count: list[int], input_tokens: Sequence[int], output_tokens: int) -> None:
    count[0] += sum(input_tokens)
    count[1] += len(input_tokens) * output_tokens


def quote(provider: str, model: str, at: datetime) -> RateCard:
    """The rate card of a model on a day, from the bundled genai-prices tables (no network).

    Raises UsageError when the tables have no batch price: they would silently answer with the full price
    (DEPENDENCIES §4), and an estimate twice too high is as useless for a cap as none. Bedrock's and those of OpenAI's
    embeddings they do not know at all: half of the full price, and nothing comes from a cache (PROVIDERS §1.6, §3.6).
    """
    from genai_prices.data_snapshot import get_snapshot  # 0.15 s of CPU, wanted only where money is counted

    try:
        _, info = get_snapshot().find_provider_model(model, None, provider, None)
    except LookupError:
        raise UsageError(_no_price(provider, model)) from None
    if _priced(provider) is PriceSource.halved:
        if _OWN_MODEL in model:  # it is called after the model it was made of, and costs something else
            raise UsageError(_no_price(provider, model))
        return _halved(_tiers(info.get_prices(at)), info.context_window)
    if provider == "openai" and _EMBEDDING.match(info.id):
        return _halved(_tiers(info.get_prices(at)), info.context_window)
    starts = [_start(variant) for variant in info.price_variants or [] if variant.when == BATCH]
    if not starts:
        raise UsageError(_no_price(provider, model))
    # The tables know since when a batch price was verified, and answer with the full price for any earlier moment.
    batch = info.get_prices(max(at, min(starts)), BATCH)
    return RateCard(_tiers(batch), _tiers(info.get_prices(at)), info.context_window, "genai-prices")


def _halved(sync: tuple[Rates, ...], context_tokens: int | None) -> RateCard:
    batch = tuple(
        Rates(rates.input / 2, rates.output / 2, rates.input / 2, rates.input / 2, rates.from_input_tokens)
        for rates in sync
    )
    return RateCard(batch, sync, context_tokens, "genai-prices, batch at half the price")


def quote_as(provider: str, model: str, price_as: str | None, at: datetime) -> RateCard:
    """The rate card of a model, or of the one whose price a person says it has.

    `price_as` is a model of the provider's own, or provider/model. Raises UsageError as `quote`.
    """
    if price_as is None:
        if _priced(provider) is PriceSource.told:
            raise UsageError(_whose_price(provider, model))
        return quote(provider, model, at)
    vendor, _, name = price_as.partition("/")
    for whose in ((provider, price_as), (vendor, name)):
        try:
            return msgspec.structs.replace(quote(*whose, at), source=f"genai-prices, as {'/'.join(whose)}")
        except UsageError:
            continue
    raise UsageError(
        f"No batch price is known for {price_as!r}, whose price {provider} model {model} is said to have: "
        "name another as provider/model, such as openai/gpt-4.1-mini, or pass --no-price to go without."
    )


def _priced(provider: str) -> PriceSource | None:
    """None for a vendor that is in the list and not among our providers."""
    return providers.traits(provider).priced if provider in providers.NAMES else None


def _whose_price(provider: str, model: str) -> str:
    what = "deployment" if providers.traits(provider).names_deployments else "model"
    return (
        f"What {provider} {what} {model} costs is in no price list, so no cap could hold: say whose price it has, "
        "such as --price-as openai/gpt-4.1-mini, or pass --no-price (without --max-cost) to go without."
    )


def _no_price(provider: str, model: str) -> str:
    return (
        f"No batch price is known for {provider} model {model}, so no cap could hold: "
        "name another model, or pass --no-price (without --max-cost) to go without estimate and cap."
    )


def _start(variant: Any) -> datetime:
    if variant.constraint is None:
        return datetime.min.replace(tzinfo=UTC)
    return datetime.combine(variant.constraint.start_date, time.min, UTC)


def _tiers(prices: Any) -> tuple[Rates, ...]:
    fields = {name: _steps(prices, name) for name in ("input", "output", "cache_read", "cache_write")}
    starts = sorted({start for steps in fields.values() for start in steps})
    return tuple(
        Rates(**{name: _at(steps, start) for name, steps in fields.items()}, from_input_tokens=start)
        for start in starts
    )


def _steps(prices: Any, name: str) -> dict[int, Decimal]:
    value = getattr(prices, f"{name}_mtok", None)
    if value is None:  # a model that sells no cache reads or writes counts them as plain input
        return _steps(prices, "input") if name.startswith("cache") else {0: Decimal(0)}
    if isinstance(value, Decimal):
        return {0: value}
    return {0: value.base} | {tier.start: tier.price for tier in value.tiers}


def _at(steps: dict[int, Decimal], start: int) -> Decimal:
    return steps[max(step for step in steps if step <= start)]
