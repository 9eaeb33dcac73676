"""One request answered at once, where a job would be too small (PROVIDERS §3.2)."""

import json
from collections.abc import Callable, Iterator

import pytest

from providers import load_format
from providers.bedrock_now import BedrockNow
from providers.contract import Outcome, OutcomeUnknown, Refused
from providers.emulator import Emulator, Fault
from tests.providers.kit import BEDROCK, CONVERSE, prompt, template
from tests.storage.stores import CREDENTIALS

pytestmark = pytest.mark.contract("the provider's own ways")

MODELS = ["anthropic.claude-3-haiku-20240307-v1:0", "us.amazon.nova-lite-v1:0", "mistral.ministral-3-14b-instruct"]
HAIKU = "us.anthropic.claude-haiku-4-5-20251001-v1:0"


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator(seed=7, speed=0.0) as running:
        yield running


@pytest.fixture
def asked(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., BedrockNow]]:
    emulator.clear_faults()
    for name, value in (CREDENTIALS | {"AWS_ENDPOINT_URL_BEDROCK_RUNTIME": emulator.url}).items():
        monkeypatch.setenv(name, value)
    opened: list[BedrockNow] = []

    def connect(case: tuple[str, str] = BEDROCK, timeout_s: float = 10.0) -> BedrockNow:
        opened.append(BedrockNow(case[1], timeout_s, None))
        return opened[-1]

    yield connect
    for one in opened:
        one.close()


def line(case: tuple[str, str] = BEDROCK, model: str = HAIKU, text: str = "What now?") -> bytes:
    shared = load_format(*case)
    return shared.lines(["a-1"], [shared.encode(template(case, model=model), prompt(text))])


def calls(emulator: Emulator) -> int:
    return sum(one.path.startswith("/model/") for one in emulator.requests)


@pytest.mark.parametrize(("case", "model"), [(BEDROCK, HAIKU), (CONVERSE, HAIKU), *[(BEDROCK, one) for one in MODELS]])
def test_an_answer_reads_like_a_line_of_a_jobs_output(
    asked: Callable[..., BedrockNow], case: tuple[str, str], model: str
) -> None:
    told = asked(case).answer(line(case, model), model)
    reply = load_format(*case).decode(told)
    assert (reply.custom_id, reply.outcome, told.count(b"\n")) == ("a-1", Outcome.succeeded, 1)
    assert json.loads(reply.text)["mood"] in ("good", "bad")
    assert reply.usage.output_tokens > 0


@pytest.mark.parametrize("action", ["accept_then_drop", "drop_before"])
def test_a_lost_answer_is_unknown_after_one_call(
    asked: Callable[..., BedrockNow], emulator: Emulator, action: str
) -> None:
    """It takes no token, so that it may never be repeated blindly."""
    emulator.add_fault(Fault(action=action, route="POST /model/*"))
    before = calls(emulator)
    with pytest.raises(OutcomeUnknown):
        asked().answer(line(), HAIKU)
    assert calls(emulator) == before + 1


@pytest.mark.parametrize("case", [BEDROCK, CONVERSE], ids="-".join)
@pytest.mark.parametrize("body", ["", "<html>fine</html>", "{}", "[]"])
def test_an_answer_that_cannot_be_read_is_never_a_refusal(
    asked: Callable[..., BedrockNow], emulator: Emulator, case: tuple[str, str], body: str
) -> None:
    emulator.add_fault(Fault(action="status", route="POST /model/*", status=200, body=body, work=True))
    try:
        told = asked(case).answer(line(case), HAIKU)
    except OutcomeUnknown:
        return
    assert json.loads(told) == {"recordId": "a-1", "modelOutput": json.loads(body)}  # kept as it came


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (429, "ThrottlingException", "later"),
        (400, "ServiceQuotaExceededException", "later"),
        (400, "ValidationException", "never"),
        (403, "AccessDeniedException", "blocked"),
    ],
)
def test_a_refusal_says_what_to_do(
    asked: Callable[..., BedrockNow], emulator: Emulator, status: int, code: str, kind: str
) -> None:
    emulator.add_fault(Fault(action="status", route="POST /model/*", status=status, code=code))
    with pytest.raises(Refused) as caught:
        asked().answer(line(), HAIKU)
    assert caught.value.kind == kind


@pytest.mark.parametrize("status", [408, 500, 503])
def test_a_model_that_took_too_long_may_have_been_paid(
    asked: Callable[..., BedrockNow], emulator: Emulator, status: int
) -> None:
    emulator.add_fault(Fault(action="status", route="POST /model/*", status=status))
    with pytest.raises(OutcomeUnknown):
        asked().answer(line(), HAIKU)


def test_no_prompt_is_in_an_error(asked: Callable[..., BedrockNow], emulator: Emulator) -> None:
    emulator.add_fault(Fault(action="status", route="POST /model/*", status=400, message="canary words"))
    with pytest.raises(Refused) as caught:
        asked().answer(line(text="canary words"), HAIKU)
    assert "canary" not in f"{caught.value} {caught.value!r} {vars(caught.value)}"
