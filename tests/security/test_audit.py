"""`make audit` fails loudly when it cannot look, and its tools are none of the dependencies they look at."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def pinned(name: str) -> set[str]:
    return set(re.findall(r"^([a-z0-9._-]+)==", (ROOT / f"requirements/{name}.txt").read_text(), re.MULTILINE))


@pytest.mark.parametrize("name", ["run", "dev", "s3-server", "audit", "mutants"])
def test_everything_is_pinned_by_hash(name: str):
    text = (ROOT / f"requirements/{name}.txt").read_text()
    wanted = re.split(r"^(?=[a-z0-9._-]+==)", text, flags=re.MULTILINE)[1:]
    assert len(wanted) >= len(pinned(name)) > 5
    assert [one.split("\n")[0] for one in wanted if "--hash=sha256:" not in one] == []
    assert "://" not in text


def test_the_tools_are_not_installed_to_run():
    assert {"pip-audit", "cyclonedx-bom"} <= pinned("audit")
    assert not {"pip-audit", "cyclonedx-bom"} & (pinned("run") | pinned("dev"))


def test_what_cannot_be_looked_up_fails_the_audit():
    recipe = (ROOT / "Makefile").read_text().partition("\naudit:")[2].partition("\n\n")[0]
    assert "--strict" in recipe
    assert "requirements/run.txt" in recipe
    assert not re.search(r"\|\||; *true|^\t-", recipe, re.MULTILINE)
