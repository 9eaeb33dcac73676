"""Whose price a deployment has: a person says so, or nothing is bought under a cap."""

from datetime import UTC, datetime

import pytest

from batchjobs.errors import UsageError
from batchjobs.prices import quote, quote_as

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.mark.parametrize("provider", ["azure", "compatible"])
def test_a_name_that_says_nothing_of_the_price_is_refused_with_what_to_do(provider: str):
    with pytest.raises(UsageError, match=r"nightly.*--price-as openai/gpt-4.1-mini, or pass --no-price"):
        quote_as(provider, "nightly", None, NOON)


def test_a_deployment_called_like_a_model_is_refused_as_well():
    """Its name is somebody's choice: it may stand for another model."""
    with pytest.raises(UsageError, match="--price-as"):
        quote_as("azure", "gpt-4.1-mini", None, NOON)


def test_a_deployment_has_the_price_that_a_person_says():
    card = quote_as("azure", "nightly", "openai/gpt-4.1-mini", NOON)
    assert card.batch == quote("openai", "gpt-4.1-mini", NOON).batch
    assert card.source == "genai-prices, as openai/gpt-4.1-mini"


def test_groq_has_batch_prices_of_its_own():
    card = quote_as("groq", "openai/gpt-oss-20b", None, NOON)
    assert card.batch[0].input * 2 == card.sync[0].input


def test_a_model_of_the_providers_own_comes_first():
    """Groq's models have a slash in their names."""
    card = quote_as("groq", "mine", "openai/gpt-oss-20b", NOON)
    assert card.batch == quote("groq", "openai/gpt-oss-20b", NOON).batch


@pytest.mark.parametrize("price_as", ["openai/no-such", "nobody/gpt-4.1", "together/meta-llama", "/", ""])
def test_a_price_that_nobody_has_is_refused(price_as: str):
    with pytest.raises(UsageError, match="No batch price is known for"):
        quote_as("azure", "nightly", price_as, NOON)


def test_groq_models_without_a_batch_price_are_refused():
    with pytest.raises(UsageError, match="No batch price is known for groq model llama"):
        quote_as("groq", "llama-3.1-8b-instant", None, NOON)
