"""A command on a machine that falls asleep: `run`, which stops itself (SIGSTOP) where it first passes a fault point.

python -m tests.concurrency.paused POINT INPUT
"""

import os
import signal
import sys
from dataclasses import replace

from batchjobs.actions import run
from batchjobs.env import real_env
from batchjobs.session import open_session


def main(point: str, source: str) -> int:
    asleep = False

    def fault(passed: str) -> None:
        nonlocal asleep
        if passed == point and not asleep:
            asleep = True
            os.kill(os.getpid(), signal.SIGSTOP)

    env = replace(real_env(), fault=fault)
    with open_session("run", {"deadline": "60s"}, None, as_json=True, verbose=False, env=env) as session:
        return run(session, source, None)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
