"""batchjobs in the race: the verbs as the commands call them, everything durable that is durable in a night."""

import importlib
import os

from batchjobs.desk import Desk, open_desk
from batchjobs.env import real_env
from batchjobs.jobs import load_job
from batchjobs.process import tune
from batchjobs.rehearsal import variables
from batchjobs.rounds import one_pass
from batchjobs.settings import load_settings
from batchjobs.submit import resolve, submit
from benchmarks.contender import Steps, finish_batches, given

TASK = "benchmarks.short_task:TASK"
LATE = ("genai_prices.data", "openai.resources.batches", "openai.resources.files", "pyarrow.parquet")


def main() -> None:
    asked, steps = given(), Steps()
    tune()  # as every command does
    for name in LATE:  # imported when they are needed; the others import all before their first step
        importlib.import_module(name)
    os.environ.update(variables(asked.emulator))
    flags = {"store": str(asked.folder), "task": asked.task or TASK, "provider": "openai"}
    desk = open_desk(real_env(), load_settings(flags, None, {}))
    with steps.step("pack"):
        job = accepted(desk, str(asked.source))
    with steps.step("send"):
        one_pass(desk, [job])
    finish_batches(asked.emulator)
    with steps.step("collect"):
        night = one_pass(desk, [job])
    assert night.finished, night
    with steps.step("again"):
        assert accepted(desk, str(asked.source)) == job
    with steps.step("next night"):
        tomorrow = accepted(desk, str(asked.tomorrow))
    assert tomorrow != job
    assert not load_job(desk.store, tomorrow).plan.requests
    desk.close()
    steps.print()


def accepted(desk: Desk, source: str) -> str:
    """`batchjobs submit` up to its promise: every request packed and kept, the job accepted."""
    order = resolve(desk.settings, source, None, desk)
    with desk.exclusive("bench"):
        return submit(desk, order).plan.job


if __name__ == "__main__":
    main()
