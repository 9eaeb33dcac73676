"""Several commands on one store at the same moment: as if they had come one after the other, only sooner."""

import pytest

from tests.concurrency.kit import Plant, complaints


def of_kinds(*kinds: tuple[str, str]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("plant", kinds, indirect=True, ids=["-".join(kind) for kind in kinds])


@of_kinds(("s3-one", "anthropic"), ("s3-two", "openai"))
def test_the_same_run_four_times_at_once_is_one_job(plant: Plant):
    source = plant.write("deals", 20)
    plant.together(*((n % plant.machines, ("run", source, "--deadline", "60s")) for n in range(4)))
    [job] = plant.jobs().values()
    assert (job["items"], job["in_flight"]) == (20, 0)
    assert plant.faults() == []


@of_kinds(("directory", "openai"), ("s3-two", "anthropic"))
def test_every_command_beside_every_other(plant: Plant):
    first, second = plant.write("first", 10), plant.write("second", 10)
    job = plant.do("run", first, "--deadline", "60s").document["job_id"]
    other = plant.machines - 1
    with plant.analysts() as seen:
        plant.together((0, ["submit", second]), (other, ["poll"]), (0, ["collect"]), (other, ["verify"]))
        plant.together((0, ["run", second]), (other, ["failures", job]), (0, ["rebuild"]), (other, ["retry", job]))
        plant.together((0, ["run", first]), (other, ["cancel", job]), (other, ["collect", job]), (0, ["report", job]))
    assert complaints(seen) == []
    assert plant.faults() == []
