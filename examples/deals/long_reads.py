"""The long papers of large deals: requirement lists, questionnaires and the word for word record of workshops."""

from collections.abc import Iterator
from functools import cache

from examples.deals.scripts import FOLDER
from examples.deals.setting import Setting

_AREAS = (
    "Shift planning", "Absences", "Swaps", "Qualifications", "Working time rules", "Agency staff", "Phone app",
    "Reports", "Interfaces", "Security", "Operation and support", "Training", "Dock booking", "Yard overview",
)  # fmt: skip
_SUBJECTS = (
    "The planner", "The supervisor", "An employee", "The night shift lead", "The system", "The site administrator",
    "A carrier", "The works council", "Payroll", "The interface to {erp}",
)  # fmt: skip
_VERBS = (
    "must be able to see", "must be able to change", "shall be warned of", "shall confirm", "can export",
    "must never lose", "shall be able to correct within 24 hours", "must be able to approve by phone",
)  # fmt: skip
_OBJECTS = (
    "changes to the plan of the current week", "breaches of the rest period before they happen",
    "the need for {things} per hour", "open shifts with everyone who could fill them", "overtime per cost centre",
    "missing qualifications for a machine or vehicle", "bookings outside the opening hours of {site}",
    "the reason for a change, its author and the time", "planned against actual hours per team",
    "short-term absences that arrive before five in the morning", "plans of other sites that lend people",
    "the sequence of the next eight hours in the {floor}",
)  # fmt: skip
_CONDITIONS = (
    "", "", "", " without training", " in at most three steps", " also when the line to the internet is down",
    " in at least nine languages", " within five seconds at 400 simultaneous users", " for each site separately",
    " with a history of 24 months", " according to the agreement with the works council",
)  # fmt: skip
_ANSWERS = (
    "Fulfilled as standard.", "Fulfilled as standard, see chapter 4 of the description.", "Fulfilled by configuration.",
    "Fulfilled by configuration during the introduction, no extra cost.", "Partly: per team, not per person.",
    "Partly: for the current and the following week.", "Planned for the spring release, without a promise.",
    "Fulfilled with the {erp} connector.", "Not fulfilled. Please let us discuss what it is needed for.",
    "Fulfilled. {se_first} can show it with your own data.",
)  # fmt: skip

_INTERJECTIONS = (
    "Hm.", "Yes, exactly.", "Wait, I want to write that down.", "(laughs) We know that one.", "Say that again, please?",
    "That is the first time I hear that.", "(inaudible, forklift)", "Good. Next.", "We should ask {it_first} about it.",
    "I would not bet on it.", "That would be half the battle.", "(door opens, short break)",
)  # fmt: skip
_ANSWERED = (
    "Right.",
    "Good.",
    "I will take that home with me.",
    "Then write it into the minutes.",
    "We will see.",
    "All right.",
)


def requirements(setting: Setting, count: int) -> str:
    """A catalogue of numbered requirements, each with our answer."""
    return "\n".join(_requirement(setting, number) for number in range(1, count + 1))


def _requirement(setting: Setting, number: int) -> str:
    one = setting.one
    wish = f"{one(_SUBJECTS)} {one(_VERBS)} {one(_OBJECTS)}{one(_CONDITIONS)}."
    weight = one(("must", "must", "should", "can"))
    return setting.fill(f"{number:03} ({_AREAS[number % len(_AREAS)]}, {weight}) {wish}\n    Answer: {one(_ANSWERS)}")


def transcript(setting: Setting, size: int) -> str:
    """A conversation of about `size` characters, speaker by speaker, with the time on the left."""
    lines: list[str] = []
    length, seconds = 0, 0
    for speaker, said in _conversation(setting):
        seconds += 4 + len(said) // 12
        clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
        lines.append(f"[{clock}] {setting.people[speaker].name}: {setting.fill(said)}")
        length += len(lines[-1]) + 1
        if length >= size:
            break
    return "\n".join(lines)


def _conversation(setting: Setting) -> Iterator[tuple[str, str]]:
    while True:
        for asker, question, answer in setting.some(_talk(), len(_talk())):
            yield asker, question
            if setting.chance(0.3):
                yield setting.one(("champion", "other", "it")), setting.one(_INTERJECTIONS)
            yield setting.one(("owner", "owner", "se")), answer
            if setting.chance(0.4):
                yield asker, setting.one(_ANSWERED)


@cache
def _talk() -> tuple[tuple[str, ...], ...]:
    """Who asks, what, and what we answer."""
    lines = (FOLDER / "talk.txt").read_text(encoding="utf-8").splitlines()
    return tuple(tuple(line.split(" // ")) for line in lines)
