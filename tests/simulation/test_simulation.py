"""The short form of the campaign: a few hundred programs, always the same ones."""

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.simulation.machine import Simulation, Tally

SHORT = settings(
    max_examples=100,
    stateful_step_count=20,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)


@pytest.mark.parametrize("flavour", ["openai", "anthropic"])
def test_the_promises_hold_in_every_program(flavour: str):
    tally = Tally()
    program = type("Program", (Simulation,), {"flavours": (flavour,), "tally": tally})
    run_state_machine_as_test(program, settings=SHORT)
    assert tally.programs >= SHORT.max_examples
    assert tally.with_fault > 0.6 * tally.programs
