"""The request and result lines of OpenAI's embeddings."""

import json
from typing import Any

import pytest

from providers import endpoints, load_format
from providers.contract import EMBEDDINGS, Outcome, Prompt, RequestTemplate, Revision, Undecodable, Usage
from tests.providers.kit import openai_line

FORMAT = load_format("openai", EMBEDDINGS)
TEMPLATE = RequestTemplate("text-embedding-3-small", 0, extra={"dimensions": 2})
USAGE = {"prompt_tokens": 7, "total_tokens": 7}


def vectors(*data: Any) -> bytes:
    listed = [{"object": "embedding", "index": n, "embedding": one} for n, one in enumerate(data)]
    return openai_line(object="list", data=listed, model="text-embedding-3-small", usage=USAGE)


def test_a_body_is_the_model_the_text_and_the_length():
    body = FORMAT.encode(TEMPLATE, Prompt("", "tea"))
    assert json.loads(body) == {"model": "text-embedding-3-small", "input": "tea", "dimensions": 2}
    assert json.loads(FORMAT.lines(["a-1"], [body]))["url"] == "/v1/embeddings"


def test_a_vector_is_the_answer_digit_by_digit():
    reply = FORMAT.decode(vectors([0.5, -0.0069292834]))
    assert (reply.outcome, reply.text) == (Outcome.succeeded, '{"embedding":[0.5, -0.0069292834]}')
    assert reply.usage == Usage(input_tokens=7)


@pytest.mark.parametrize(("line", "answer"), [(vectors(), []), (vectors([1.0], [2.0]), [[1.0], [2.0]])])
def test_anything_but_one_vector_is_left_to_be_found_wrong(line: bytes, answer: Any):
    assert json.loads(FORMAT.decode(line).text) == {"embedding": answer}


def test_two_lists_of_data_cannot_be_trusted():
    with pytest.raises(Undecodable):
        FORMAT.decode(vectors([1.0]).replace(b'"model"', b'"data": [], "model"'))


def test_no_words_are_added_to_a_text_that_is_embedded_again():
    body = FORMAT.encode(TEMPLATE, Prompt("", "tea"))
    assert FORMAT.revise(body, Revision(feedback="It did not fit.")) == body


def test_a_system_prompt_has_no_place():
    with pytest.raises(ValueError, match="no system prompt"):
        FORMAT.encode(TEMPLATE, Prompt("Be brief.", "tea"))


def test_a_batch_is_kept_to_what_memory_holds():
    """§1.2 allows 50,000."""
    assert FORMAT.limits.requests == 2_000
    assert load_format("compatible", EMBEDDINGS, {"embeddings_path": "/e", "max_requests": 7}).limits.requests == 7


def test_only_those_who_offer_embeddings_have_the_endpoint():
    offering = [name for name in ("openai", "anthropic", "bedrock", "azure", "groq") if EMBEDDINGS in endpoints(name)]
    assert offering == ["openai"]
    assert endpoints("compatible", {"chat_path": "", "embeddings_path": "/v1/embeddings"}) == (EMBEDDINGS,)
