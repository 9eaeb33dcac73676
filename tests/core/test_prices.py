"""Prices: batch prices or none, per request and per tier."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from genai_prices import Usage as TheirUsage
from genai_prices import calc_price

from batchjobs.costs import costs
from batchjobs.errors import UsageError
from batchjobs.prices import FREE, Bill, RateCard, Rates, quote
from providers.contract import Usage

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("provider", "model"),
    [("openai", "gpt-4.1-mini"), ("anthropic", "claude-haiku-4-5"), ("openai", "text-embedding-3-large")],
)
def test_batch_is_half_of_sync_for_plain_tokens(provider: str, model: str):
    """PROVIDERS §1.6"""
    card = quote(provider, model, NOON)
    usage = Usage(input_tokens=1000, output_tokens=500)
    assert card.batch_cost(usage) * 2 == card.sync_cost(usage)


@pytest.mark.parametrize(
    ("provider", "model"),
    [("openai", "gpt-4.1-mini"), ("anthropic", "claude-haiku-4-5"), ("anthropic", "claude-sonnet-4-5")],
)
@pytest.mark.parametrize("tokens", [10, 150_000, 250_000])
def test_costs_agree_with_the_price_library(provider: str, model: str, tokens: int):
    ours = quote(provider, model, NOON).batch_cost(Usage(tokens, 700, cache_read_tokens=5))
    theirs = calc_price(
        TheirUsage(input_tokens=tokens, output_tokens=700, cache_read_tokens=5),
        model,
        provider_id=provider,
        genai_request_timestamp=NOON,
        price_context={"processing": "batch"},
    )
    assert ours == theirs.total_price


def test_a_day_before_the_price_was_verified_still_gets_the_batch_price():
    early = quote("openai", "gpt-4.1-mini", datetime(2026, 1, 1, tzinfo=UTC))
    assert early.batch == quote("openai", "gpt-4.1-mini", NOON).batch


def test_an_embedding_costs_its_input_alone():
    card = quote("openai", "text-embedding-3-small", NOON)
    assert card.batch_cost(Usage(input_tokens=1_000_000, output_tokens=1_000)) == Decimal("0.01")


@pytest.mark.parametrize(
    ("provider", "model"),
    [("openai", "no-such-model"), ("openai", "gpt-5.1-codex-mini"), ("anthropic", "claude-sonnet-4-0")],
)
def test_a_model_without_a_batch_price_is_refused_instead_of_guessed(provider: str, model: str):
    """Also one of which the list knows the full price."""
    with pytest.raises(UsageError, match="--no-price"):
        quote(provider, model, NOON)


BEDROCK = [
    "anthropic.claude-haiku-4-5-20251001-v1:0",
    "us.anthropic.claude-haiku-4-5-20251001-v1:0",
    "arn:aws:bedrock:us-east-1:123456789012:inference-profile/eu.anthropic.claude-haiku-4-5-20251001-v1:0",
    "amazon.nova-lite-v1:0",
    "us.meta.llama3-3-70b-instruct-v1:0",
]


@pytest.mark.parametrize("model", BEDROCK)
def test_bedrocks_batch_price_is_half_of_the_full_one(model: str):
    """PROVIDERS §3.6: the tables know only the full price, and would answer with it."""
    card = quote("bedrock", model, NOON)
    usage = Usage(input_tokens=1000, output_tokens=500)
    full = calc_price(TheirUsage(input_tokens=1000, output_tokens=500), model, provider_id="aws").total_price
    assert card.batch_cost(usage) * 2 == card.sync_cost(usage) == full > 0


def test_a_region_costs_what_it_costs():
    everywhere = quote("bedrock", "global.anthropic.claude-haiku-4-5-20251001-v1:0", NOON)
    assert quote("bedrock", BEDROCK[1], NOON).batch_cost(Usage(1000)) > everywhere.batch_cost(Usage(1000))


def test_bedrocks_cached_tokens_are_no_cheaper_in_a_batch():
    """PROVIDERS §3.6: whether batched requests read a cache at all is not known."""
    card = quote("bedrock", BEDROCK[0], NOON)
    assert card.batch_cost(Usage(1000, 0, cache_read_tokens=900)) == card.batch_cost(Usage(1000))


@pytest.mark.parametrize(
    "model",
    [
        "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/ab12cd34ef56",
        "arn:aws:bedrock:us-east-1:123456789012:custom-model/anthropic.claude-3-haiku-20240307-v1:0/ab12cd34ef56",
        "mistral.mistral-large-2407-v1:0",
    ],
)
def test_a_model_of_ones_own_on_bedrock_has_no_known_price(model: str):
    with pytest.raises(UsageError, match="--no-price"):
        quote("bedrock", model, NOON)


def test_without_prices_everything_costs_nothing():
    assert FREE.batch_cost(Usage(10, 10)) == Decimal(0)


@pytest.mark.parametrize("model", ["claude-haiku-4-5", "claude-sonnet-4-5"])
def test_a_bill_comes_to_the_sum_of_its_requests(model: str):
    """Tiers included: a request is priced by its own size, not by that of all."""
    rates = quote("anthropic", model, NOON)
    usages = [Usage(input_tokens, 77) for input_tokens in (1, 999, 200_000, 200_001, 900_000)]
    bill = Bill(rates.batch)
    bill.add([usage.input_tokens for usage in usages], 77)
    assert bill.total == sum(rates.batch_cost(usage) for usage in usages)


@pytest.mark.parametrize("model", ["claude-haiku-4-5", "claude-sonnet-4-5"])
def test_a_column_of_costs_is_what_its_requests_cost_each(model: str):
    """Tiers, caches and rounding included."""
    tiers = quote("anthropic", model, NOON).batch
    usages = [Usage(size, 77 * size, size // 3, size // 7) for size in (0, 1, 3, 999, 200_000, 200_001, 900_001)]
    columns = {name: [getattr(usage, name) for usage in usages] for name in Usage.__struct_fields__}
    column, total = costs(tiers, columns)
    exact = [RateCard(tiers, tiers).batch_cost(usage) for usage in usages]
    assert column.to_pylist() == [cost.quantize(Decimal("1E-9")) for cost in exact]
    assert total == sum(exact)


def test_half_a_nano_dollar_is_rounded_to_the_even_one():
    tiers = (Rates(*[Decimal("0.0005")] * 4),)
    columns = {name: [1, 3, 5] if name == "input_tokens" else [0] * 3 for name in Usage.__struct_fields__}
    column, _ = costs(tiers, columns)
    assert column.to_pylist() == [Decimal("0E-9"), Decimal("2E-9"), Decimal("2E-9")]


def test_a_billion_tokens_at_the_highest_price_there_is_still_have_a_cost():
    """A server that counts nonsense must not keep a shard from ever being settled."""
    tiers = (Rates(*[Decimal(600)] * 4),)
    columns = {name: [999_999_999] for name in Usage.__struct_fields__}
    column, total = costs(tiers, columns)
    assert column.to_pylist() == [RateCard(tiers, tiers).batch_cost(Usage(*[999_999_999] * 4))] == [total]
