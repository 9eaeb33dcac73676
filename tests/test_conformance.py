"""The table of the contract is complete, and notices what is not."""

import subprocess
import sys
from pathlib import Path

import pytest

import providers

EVERYBODY = ", ".join(f'("{name}", "x")' for name in providers.NAMES)
CASES = f"""
import pytest
@pytest.mark.contract("one")
@pytest.mark.parametrize("case", [{EVERYBODY}])
def test_of_everybody(case):
    pass
"""


def conformance(*words: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "tests.conformance", *words]
    return subprocess.run(line, capture_output=True, text=True, check=False)


def test_every_part_of_the_contract_has_a_test_or_a_reason_for_every_provider():
    done = conformance("--collect-only")
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (
            '@pytest.mark.parametrize("case", [("openai", "x")])\ndef test_b(case): pass',
            "test_b[case0] says of no part",
        ),
        (
            '@pytest.mark.contract("two")\n@pytest.mark.parametrize("case", [("openai", "x")])\ndef test_b(case): pass',
            "two: anthropic has no test, and no reason is given.",
        ),
        (
            '@pytest.mark.contract("one", without={"groq": "it cannot"})\ndef test_b(): pass',
            "one: groq has a test, and a reason to have none: it cannot.",
        ),
        (
            '@pytest.mark.contract("one")\n@pytest.mark.parametrize("case", [("azure", "x")])\ndef test_b(case): 1 / 0',
            "1 FAILED",
        ),
    ],
)
def test_what_is_missing_or_fails_is_told(more: str, told: str, tmp_path: Path):
    (tmp_path / "test_a.py").write_text(CASES + more + "\n")
    done = conformance(str(tmp_path / "test_a.py"))
    assert done.returncode == 1
    assert told in done.stdout


def test_a_run_without_faults_says_passed_for_everybody(tmp_path: Path):
    (tmp_path / "test_a.py").write_text(CASES)
    done = conformance(str(tmp_path / "test_a.py"))
    assert (done.returncode, done.stdout.count("passed 1")) == (0, len(providers.NAMES))
