"""The contract, stopping a batch in every state (PROVIDERS §1.3, §2.3)."""

from typing import Any

import pytest

from providers.contract import State, Unavailable
from tests.providers.bench import JOBS, Bench
from tests.providers.kit import AZURE, BEDROCK, CASES, CLIENTS, COMPATIBLE, GROQ

pytestmark = pytest.mark.contract("cancel in every state")


@pytest.fixture(params=[case for case in CLIENTS if case != COMPATIBLE], ids="-".join)
def case(request: pytest.FixtureRequest) -> tuple[str, str]:
    chosen: tuple[str, str] = request.param
    return chosen


def cancels(bench: Bench) -> int:
    return sum(one.path.endswith(("/cancel", "/stop")) for one in bench.requests)


@pytest.mark.parametrize("after_s", [0, 300, 590])
def test_a_batch_that_is_not_over_is_stopped(bench: Bench, after_s: int) -> None:
    """§1.3: even while validating."""
    ref = bench.buy()
    bench.emulator.advance(after_s)
    bench.provider.cancel(ref)
    assert bench.provider.status(ref).state is State.stopping
    bench.emulator.advance(700)
    assert bench.provider.status(ref).state is State.ended


def test_stopping_twice_is_no_error(bench: Bench) -> None:
    ref = bench.buy()
    bench.provider.cancel(ref)
    bench.provider.cancel(ref)
    bench.emulator.advance(700)
    bench.provider.cancel(ref)
    assert bench.provider.status(ref).state is State.ended


def test_a_batch_that_has_ended_is_left_alone(bench: Bench) -> None:
    """§1.3: 409, which the SDK would try three times; §2.3: Anthropic's answer is not known, so looking decides."""
    ref = bench.finished()
    bench.provider.cancel(ref)
    assert (cancels(bench), bench.slept) == (1, [])
    assert bench.outcomes(ref) == ["succeeded"] * 5


@pytest.mark.parametrize("case", [CASES[0], BEDROCK, AZURE, GROQ], ids="-".join)
def test_a_batch_that_was_rejected_is_left_alone(bench: Bench) -> None:
    bench.fault("reject", code="invalid_json_line")
    ref = bench.finished()
    bench.provider.cancel(ref)
    assert bench.provider.status(ref).state is State.rejected


@pytest.mark.parametrize("case", [CASES[0], CASES[2], BEDROCK, GROQ], ids="-".join)
def test_an_expired_batch_is_left_alone(bench: Bench) -> None:
    bench.fault("expire")
    ref = bench.finished()
    bench.provider.cancel(ref)
    assert bench.provider.status(ref).state is State.ended


@pytest.mark.parametrize("how", [{"action": "status", "status": 503}, {"action": "drop_before"}])
def test_a_cancel_that_fails_in_passing_is_tried_again(bench: Bench, how: dict[str, Any]) -> None:
    ref = bench.buy()
    bench.fault(route=bench.cancel_route(), **how)
    bench.provider.cancel(ref)
    assert bench.provider.status(ref).state is State.stopping


@pytest.mark.parametrize(("status", "kind"), [(401, "blocked"), (409, "later"), (500, "later")])
def test_a_cancel_that_is_refused_while_the_batch_runs_is_an_error(bench: Bench, status: int, kind: str) -> None:
    ref = bench.buy()
    bench.fault("status", bench.cancel_route(), status=status, times=0)
    with pytest.raises(Unavailable) as caught:
        bench.provider.cancel(ref)
    assert caught.value.kind == kind


def test_an_unknown_batch_cannot_be_stopped(bench: Bench) -> None:
    unknown = {
        "openai": "batch_00000000000000000000000000000000",
        "anthropic": "msgbatch_000000000000000000000000",
        "bedrock": f"{JOBS}000000000000",
    }.get(bench.name, "batch_none")
    with pytest.raises(Unavailable) as caught:
        bench.provider.cancel(unknown)
    assert caught.value.kind == "absent"
