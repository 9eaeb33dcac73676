"""Write the tables of docs/performance.md from the files in docs/benchmarks, between its markers.

python -m benchmarks.tables        (every `make bench…` ends with it)
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks import kept
from benchmarks.race import FLOOR, OURS

PAGE = kept.RESULTS.parent / "performance.md"
_PART = re.compile(r"(<!-- (race over 1,000,000|race|shards|overlap|memory) -->\n).*?(<!-- end -->)", re.DOTALL)
Document = Mapping[str, Any]


def main() -> None:
    PAGE.write_text(filled(PAGE.read_text(), kept.RESULTS))


def filled(page: str, results: Path) -> str:
    """The page with what was measured last; a part that was never measured stays empty."""
    newest = kept.newest(results)
    memory = results / "memory.json"
    found = newest | ({"memory": json.loads(memory.read_text())} if memory.exists() else {})

    def table(match: re.Match[str]) -> str:
        part = match[2]
        lines = [*PARTS[part](found[part]), ""] if part in found else []
        return match[1] + "\n".join(lines) + match[3]

    return _PART.sub(table, page)


def race(document: Document) -> Iterator[str]:
    yield f"Version {document['version']}, {document['at']}, {document['cores']} cores, medians of {document['runs']}."
    for course, contenders in document["courses"].items():
        yield from ("", f"**{course}**", "")
        yield from (
            "| contender | step | wall s | CPU s | peak MB | ours, wall | ours, CPU |",
            "|---|---|---|---|---|---|---|",
        )
        for name, steps in contenders.items():
            for step, took in steps.items():
                ratios = [_ratio(contenders[OURS.name].get(step), took, what) for what in ("wall_s", "cpu_s")]
                told = ratios if name != OURS.name else ["", ""]
                figures = f"{took['wall_s']:.2f} | {took['cpu_s']:.2f} | {took['peak_mb']:.0f}"
                yield f"| {name} | {step} | {figures} | {told[0]} | {told[1]} |"
        yield from ("", _beyond(contenders))


def _ratio(ours: Mapping[str, float] | None, theirs: Mapping[str, float], what: str) -> str:
    return f"{ours[what] / theirs[what]:.2f}×" if ours and theirs[what] else ""


def _beyond(contenders: Document) -> str:
    ours, read = contenders[OURS.name], contenders[FLOOR.name]["read"]["cpu_s"]
    same, tomorrow = (f"{ours[step]['cpu_s'] - read:.2f}" for step in ("again", "next night"))
    return f"Nothing to do, CPU seconds beyond {read:.2f} for reading: same file {same}, next night's {tomorrow}."


def shards(document: Document) -> Iterator[str]:
    yield f"Version {document['version']}, {document['at']}, {document['cores']} cores."
    for title, count, steps in (
        (f"a job of {document['shards']:,} shards", document["shards"], document["steps"]),
        (f"a store of {document['jobs']:,} finished jobs", document["jobs"], document["old"]),
    ):
        yield from ("", f"| {title} | wall s | CPU s | CPU ms each |", "|---|---|---|---|")
        for step, took in steps.items():
            yield f"| {step} | {took['wall_s']:.2f} | {took['cpu_s']:.2f} | {took['cpu_s'] / count * 1000:.2f} |"
    one = document["steps"]["poll, nothing new"]["cpu_s"] / document["shards"]
    yield from ("", f"One core of ours asks about {60 / one:,.0f} batches a minute, as far as CPU goes.")


def overlap(document: Document) -> Iterator[str]:
    yield f"Version {document['version']}, {document['at']}, {document['cores']} cores."
    what = f"{document['items']:,} short requests in {document['shards']} shards, {document['rate']:g} MB a second"
    order, ahead = document["ways"].values()
    yield from ("", f"| {what} | in one order, s | one ahead, s | ratio |", "|---|---|---|---|")
    for step, took in order.items():
        then = ahead[step]["wall_s"]
        yield f"| {step} | {took['wall_s']:.2f} | {then:.2f} | {then / took['wall_s']:.2f} |"


def memory(document: Document) -> Iterator[str]:
    yield f"{document['at']}, {document['cores']} cores."
    yield from (
        "",
        "| contender | items | all processes, MB | largest process, MB | µs an item |",
        "|---|---|---|---|---|",
    )
    for name, points in document["curves"].items():
        for point in points:
            time = f"{point['us_an_item']:.0f}" if point["us_an_item"] is not None else f"stopped: {point['stopped']}"
            figures = f"{point['all_mb']:.0f} | {point['largest_mb']:.0f}"
            yield f"| {name} | {point['items']:,} | {figures} | {time} |"
    yield from ("", "![Peak memory over the number of items](performance-memory.png)")


PARTS: dict[str, Callable[[Document], Iterator[str]]] = {
    "race": race,
    "race over 1,000,000": race,
    "shards": shards,
    "overlap": overlap,
    "memory": memory,
}


if __name__ == "__main__":
    main()
