"""`make conformance`: which provider keeps which part of the contract, by the outcomes of this very run.

A test of the contract says which part it proves, `@pytest.mark.contract("one POST per create")`, on itself or on its
module, and for whom there is none and why, `without={"anthropic": "no label comes back"}`. For which provider it is run
its parameter `case` says. A test that says neither, a part that some provider has no test and no reason for, and a
reason that a test contradicts, fail.
"""

import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

import pytest
from rich.console import Console
from rich.table import Table

import providers

SUITE = "tests/providers"
PIPED_WIDTH = 120


class Conformance:
    """Watches a run of pytest; afterwards `faults` and `table` tell what came of it."""

    def __init__(self) -> None:
        self.cells: dict[str, tuple[str, str]] = {}
        self.without: dict[str, dict[str, str]] = defaultdict(dict)
        self.bare: list[str] = []
        self.failed: set[str] = set()
        self.passed: set[str] = set()

    def pytest_collection_modifyitems(self, items: Sequence[pytest.Item]) -> None:
        """Put every test of a provider into its cell."""
        for test in items:
            callspec = getattr(test, "callspec", None)
            case = callspec.params.get("case") if callspec else None
            mark = test.get_closest_marker("contract")
            if mark is not None:
                self.without[mark.args[0]] |= mark.kwargs.get("without", {})
            if case is None:
                continue
            if mark is None:
                self.bare.append(test.nodeid)
            else:
                self.cells[test.nodeid] = (mark.args[0], case[0])

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed or report.skipped:
            self.failed.add(report.nodeid)
        elif report.when == "call":
            self.passed.add(report.nodeid)

    @property
    def parts(self) -> list[str]:
        """The parts of the contract, in the order of the files."""
        return list(dict.fromkeys(item for item, _ in self.cells.values()))

    def faults(self) -> Iterator[str]:
        """What is missing from the table, or contradicts it."""
        for nodeid in self.bare:
            yield f"{nodeid} says of no part of the contract that it proves it."
        tested = set(self.cells.values())
        for part in self.parts:
            for name in providers.NAMES:
                reason = self.without[part].get(name)
                if reason is None and (part, name) not in tested:
                    yield f"{part}: {name} has no test, and no reason is given."
                if reason is not None and (part, name) in tested:
                    yield f"{part}: {name} has a test, and a reason to have none: {reason}."

    def table(self) -> Table:
        """Parts by providers: how many tests passed, how many failed, or a number of a note."""
        ran = {outcome: Counter(self.cells[one] for one in found if one in self.cells) for outcome, found in self._ran}
        table = Table(title="The contract, by provider", title_justify="left")
        table.add_column("part of the contract")
        for name in providers.NAMES:
            table.add_column(name, justify="right")
        for part in self.parts:
            table.add_row(part, *(self._cell(part, name, ran) for name in providers.NAMES))
        return table

    @property
    def _ran(self) -> tuple[tuple[str, set[str]], ...]:
        return ("failed", self.failed), ("passed", self.passed - self.failed)

    def _cell(self, part: str, name: str, ran: dict[str, Counter[tuple[str, str]]]) -> str:
        if name in self.without[part]:
            return f"n/a {self.notes().index(f'{part}: {name}: {self.without[part][name]}') + 1}"
        failed, passed = ran["failed"][part, name], ran["passed"][part, name]
        return f"{failed} FAILED" if failed else f"passed {passed}" if passed else "not run"

    def notes(self) -> list[str]:
        """Why a cell is not applicable."""
        return [f"{part}: {name}: {why}" for part in self.parts for name, why in sorted(self.without[part].items())]


def main(words: Sequence[str]) -> int:
    """Run the suite, or the files that are named; 0 where every cell passed or has its reason."""
    seen, paths = Conformance(), [word for word in words if not word.startswith("-")]
    flags = [word for word in words if word.startswith("-")]
    code = pytest.main(["-q", "-p", "no:randomly", *flags, *(paths or [SUITE])], plugins=[seen])
    screen = Console()
    if not screen.is_terminal:
        screen = Console(width=PIPED_WIDTH)
    screen.print(seen.table())
    for number, note in enumerate(seen.notes(), 1):
        screen.print(f"{number}  {note}", highlight=False, markup=False)
    faults = list(seen.faults())
    for fault in faults:
        screen.print(fault, style="red", highlight=False, markup=False, soft_wrap=True)
    return int(code) or int(bool(faults))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
