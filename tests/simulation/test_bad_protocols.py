"""The simulation must be able to fail: every protocol that is known to pay too much is caught at it, and soon."""

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.simulation.bad_protocols import BAD
from tests.simulation.house import House, Violation
from tests.simulation.machine import Simulation, Tally

QUICK = settings(
    max_examples=2000,  # it stops at the first that pays twice, most often among the first hundred
    stateful_step_count=15,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
    report_multiple_bugs=False,
)


@pytest.mark.parametrize("name", BAD)
def test_a_bad_protocol_is_caught_paying_too_much(name: str):
    break_it, faults = BAD[name]

    class Program(Simulation):
        tally = Tally()
        settles = False
        flavours = ("openai",)

        def protocol(self, house: House) -> None:
            break_it(house)

    Program.faults = faults
    with pytest.raises(Violation, match=r"bought 2 times|can cost .* the cap is"):  # whichever it does first
        run_state_machine_as_test(Program, settings=QUICK)
