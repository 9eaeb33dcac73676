"""Docs are tested: what the README names exists, and what exists is in the README."""

import ast
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from batchjobs.cli import cli
from batchjobs.settings import Settings
from providers.profiles import COMPATIBLE, SWITCHES
from tests.chaos import counted, figures

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
SETTINGS = (ROOT / "docs/settings.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()
PROVIDERS = (ROOT / "docs/providers.md").read_text()
RELIABILITY = (ROOT / "docs/reliability.md").read_text()


@pytest.mark.parametrize("command", sorted(cli.commands))
def test_every_command_is_in_the_readme_and_has_help(command: str):
    assert f"`batchjobs {command}" in README
    help_page = CliRunner().invoke(cli, [command, "--help"])
    assert help_page.exit_code == 0
    assert len(cli.commands[command].get_short_help_str(200)) > 20


def test_the_docs_quote_what_the_campaigns_counted():
    assert f"<!-- counted -->\n{counted()}\n<!-- so far -->" in README
    assert f"<!-- counted -->\n{figures()}\n<!-- so far -->" in RELIABILITY


@pytest.mark.parametrize("command", sorted(set(re.findall(r"`?batchjobs ([a-z]+)\b", README)) - {"status"}))
def test_every_command_the_readme_types_exists(command: str):
    assert command in cli.commands


@pytest.mark.parametrize("flag", sorted(set(re.findall(r"(?<![|-])(--[a-z][a-z-]+)", README)) - {"--require-hashes"}))
def test_every_flag_the_readme_names_exists(flag: str):
    flags = {name for command in cli.commands.values() for option in command.params for name in option.opts}
    assert flag in flags


@pytest.mark.parametrize("setting", sorted(Settings.model_fields))
def test_every_setting_is_documented_in_its_own_words(setting: str):
    description = Settings.model_fields[setting].description
    assert re.search(rf"^\| `{setting}` \|.*\| {re.escape(description or '')} \|$", SETTINGS, re.MULTILINE)


@pytest.mark.parametrize("switch", sorted(SWITCHES))
def test_every_switch_is_documented_in_its_own_words_with_its_default(switch: str):
    default = getattr(COMPATIBLE, switch)
    shown = f"`{str(default).lower() if isinstance(default, bool) else default}`" if default not in ("", ()) else ""
    assert f"| `{switch}` | {shown} | {SWITCHES[switch].metadata['says']} |\n" in SETTINGS


@pytest.mark.parametrize("target", sorted(set(re.findall(r"make ([a-z]+)\b", README)) - {"sure"}))
def test_every_make_target_the_readme_names_exists(target: str):
    assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE)


@pytest.mark.parametrize("page", sorted(set(re.findall(r"\]\(([^)#]+)\)", README))))
def test_every_linked_page_exists(page: str):
    assert (ROOT / page).exists()


NAMED_TESTS = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", RELIABILITY)))


def test_every_row_of_the_fault_table_has_a_test():
    rows = re.findall(r"^\| (\d+) \|(.*)$", RELIABILITY, re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, 25))
    assert [number for number, text in rows if "::test_" not in text] == []


@pytest.mark.parametrize(("file", "test"), NAMED_TESTS)
def test_every_test_the_fault_table_names_exists(file: str, test: str):
    assert f"\ndef {test}(" in (ROOT / file).read_text()


QUIRKS = re.findall(r"^\| §([\d.]+) \|[^|]+\|(.*)\|$", PROVIDERS, re.MULTILINE)


def test_every_section_of_the_three_providers_has_a_quirk_and_every_quirk_a_test():
    sections = {f"{provider}.{number}" for provider in (1, 2, 3) for number in range(1, 10)}
    assert {section for section, _ in QUIRKS} == sections
    assert [section for section, tests in QUIRKS if "::test_" not in tests] == []


@pytest.mark.parametrize(("section", "tests"), QUIRKS)
def test_every_test_of_a_quirk_exists_and_names_its_section(section: str, tests: str):
    for file, test in re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", tests):
        functions = {f.name: f for f in ast.parse((ROOT / file).read_text()).body if isinstance(f, ast.FunctionDef)}
        assert re.search(rf"§{re.escape(section)}(?!\d)", ast.get_docstring(functions[test]) or ""), test
