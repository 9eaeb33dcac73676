"""Writes the sample deals: `python -m examples.deals.make_deals [FILE]`. The same bytes on every machine, every time.

Each deal follows one storyline of `storylines/`, with a cast, a place and figures drawn for it, and asides in between.
"""

import json
import sys
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from examples.deals import cast
from examples.deals.long_reads import requirements, transcript
from examples.deals.scripts import Beat, Script, asides, dice, script
from examples.deals.setting import Setting

Deal = dict[str, Any]

TARGET = Path(__file__).with_name("deals.jsonl")
FIRST_DAY = date(2026, 1, 12)
WEEKS_OF_STARTS = 22
STORIES = {
    "quick_win": 7,
    "champion_leaves": 7,
    "procurement_stalls": 6,
    "competitor_undercut": 7,
    "budget_freeze": 6,
    "gone_silent": 7,
    "single_threaded": 6,
    "legal_redlines": 6,
    "pilot_success": 5,
    "renewal_expansion": 6,
    "security_review": 5,
    "merger": 4,
    "technical_gap": 4,
    "unhappy_customer": 6,
    "no_urgency": 5,
    "inhouse_build": 4,
    "executive_push": 3,
    "cold_outreach": 5,
    "referral": 4,
    "inbound_mismatch": 2,
    "german": 3,
    "french": 3,
    "japanese": 2,
    "injection": 1,
}
FOREIGN = {"german": cast.GERMAN_COMPANIES, "french": cast.FRENCH_COMPANIES, "japanese": cast.JAPANESE_COMPANIES}
LISTS = ("emails", "notes", "calls", "meetings", "documents")


def main(target: Path = TARGET) -> None:
    """Write every line of the sample, the broken ones included."""
    target.write_bytes(b"".join(line + b"\n" for line in lines()))


def lines() -> list[bytes]:
    """The sample in the order of the file; the README beside this file says what is wrong with which line."""
    deals = [*_told_deals(), *_bare_deals(), *_huge_deals()]
    deals.sort(key=lambda deal: dice(f"place of {deal['deal_id']}").random())
    encoded = [_encoded(deal) for deal in deals]
    for line, oddity in _oddities({deal["deal_id"]: deal for deal in deals}):
        encoded.insert(line - 1, oddity)
    return encoded


def _encoded(deal: Deal) -> bytes:
    return json.dumps(deal, ensure_ascii=False, separators=(",", ":")).encode()


def _oddities(deals: dict[str, Deal]) -> Iterator[tuple[int, bytes]]:
    """What a real export has in it somewhere, with the line of the file, counted from 1."""
    yield 17, _encoded(deals["TW-1003"])[:900]
    yield 38, _encoded({name: value for name, value in deals["TW-1020"].items() if name != "deal_id"})
    yield 84, _encoded({**deals["TW-1055"], "deal_id": "TW-1901", "emails": "see attached export"})
    yield 107, _encoded({**deals["TW-1009"], "deal_id": "TW-1902"})
    yield 126, _encoded({**deals["TW-1041"], "emails": deals["TW-1041"]["emails"][:1]})


def _told_deals() -> Iterator[Deal]:
    stories = [(story, turn) for story, count in STORIES.items() for turn in range(count)]
    for number, (story, turn) in enumerate(stories, 1001):
        setting = _setting(f"TW-{number}", story, turn)
        deal = _facts(setting, script(story))
        _tell(deal, setting, _with_asides(setting, script(story)))
        yield _closed(deal, setting, script(story))


def _setting(deal_id: str, story: str, turn: int = 0) -> Setting:
    rng = dice(f"company of {deal_id}")
    companies = FOREIGN.get(story, cast.COMPANIES)
    company = companies[turn if story in FOREIGN else int(rng.random() * len(companies))]
    start = FIRST_DAY + timedelta(weeks=int(rng.random() * WEEKS_OF_STARTS))
    return Setting(deal_id, company, start, script(story))


def _with_asides(setting: Setting, told: Script) -> list[Beat]:
    """The story, with up to five short side conversations, each somewhere after the second beat."""
    beats = _happening(setting, told.beats)
    most = 6 if told.lang == "en" and len(beats) > 7 else 1
    for aside in setting.some(asides(), int(setting.rng.random() * most)):
        place = 2 + int(setting.rng.random() * (len(beats) - 3))
        beats[place:place] = _happening(setting, aside)
    return beats


def _happening(setting: Setting, beats: tuple[Beat, ...]) -> list[Beat]:
    return [beat for beat in beats if setting.chance(beat.likelihood)]


def _facts(setting: Setting, told: Script) -> Deal:
    name, _, country, employees, revenue, parent = setting.company
    product = setting.product
    account = {"name": name, "sector": setting.sector.name, "revenue_musd": revenue, "employees": employees}
    return {
        "deal_id": setting.deal_id,
        "deal_name": f"{name} - {product.name}",
        "stage": told.stage,
        "owner": setting.people["owner"].name,
        "manager": setting.people["manager"].name,
        "region": setting.region,
        "product": {"name": product.name, "series": product.series, "list_price": float(product.list_price)},
        "account": {**account, "country": country, "parent": parent},
        "engaged_on": setting.us_date(setting.day),
        "closed_on": None,
        "amount": None,
        "currency": "USD",
        **{kind: [] for kind in LISTS},
    }


def _tell(deal: Deal, setting: Setting, beats: list[Beat]) -> None:
    """Add every beat to the list of its kind, each on its day."""
    write: dict[str, Callable[[Beat], Deal]] = {
        "email": setting.email,
        "note": setting.note,
        "call": setting.call,
        "meeting": setting.meeting,
        "document": setting.document,
    }
    for beat in beats:
        setting.wait(beat.days)
        deal[f"{beat.kind}s"].append(write[beat.kind](beat))


def _closed(deal: Deal, setting: Setting, told: Script) -> Deal:
    """The CRM's own state: closed deals have a date and an amount, open ones often neither amount nor account."""
    amount = None if told.amount is None else setting.offer if told.amount else 0.0
    if told.stage in ("Won", "Lost"):
        return {**deal, "closed_on": setting.us_date(setting.day), "amount": amount}
    if setting.chance(0.1):
        deal["account"] = dict.fromkeys(deal["account"])
    if setting.chance(0.1):
        return {**deal, "amount": f"{setting.product.list_price:,}.00"}  # typed into a text field by hand
    return {**deal, "amount": amount if setting.chance(0.7) else None}


def _bare_deals() -> Iterator[Deal]:
    """Deals nobody has written a word about, and three in which next to everything is null or missing."""
    for number in range(1201, 1207):
        setting = _setting(f"TW-{number}", "cold_outreach")
        yield _facts(setting, script("cold_outreach"))
    setting = _setting("TW-1207", "referral")
    yield {**dict.fromkeys(_facts(setting, script("referral"))), "deal_id": "TW-1207"}
    yield {"deal_id": "TW-1208", "deal_name": "(imported) Mossgate", "stage": None, "emails": [], "notes": None}
    yield {
        "deal_id": "TW-1209",
        "deal_name": "Renewal?",
        "stage": "Prospecting",
        "owner": "Ines Marrowby",
        "product": None,
        "account": None,
        "engaged_on": "3/9/2026",
        "amount": "n/a",
        "notes": [{"date": None, "text": None}, {"text": "Somebody should look at this one."}],
        "calls": None,
    }


def _huge_deals() -> Iterator[Deal]:
    yield _tender("TW-1301")
    yield _recorded_workshop("TW-1302")


def _tender(deal_id: str) -> Deal:
    """A tender: the story of a push from above, with two long papers, three recordings and much small talk."""
    setting = _setting(deal_id, "executive_push")
    deal, told = _facts(setting, script("executive_push")), script("executive_push")
    beats = list(told.beats[:3])
    for aside in setting.some(asides(), len(asides())):
        beats += _happening(setting, aside)
    _tell(deal, setting, [*beats, *told.beats[3:]])
    for title, count in (("Catalogue of requirements, with our answers", 360), ("Second round of questions", 150)):
        text = requirements(setting, count)
        deal["documents"].append({"date": _iso(setting), "title": title, "text": text})
    for part in range(1, 4):
        talk = transcript(setting, 14_000)
        deal["calls"].append(
            {"date": _iso(setting), "duration": 90, "title": f"Clarification, part {part}", "transcript": talk}
        )
    return deal


def _recorded_workshop(deal_id: str) -> Deal:
    """One message longer than everything else together: somebody pasted the record of a two-day workshop."""
    setting = _setting(deal_id, "pilot_success")
    deal, told = _facts(setting, script("pilot_success")), script("pilot_success")
    _tell(deal, setting, list(told.beats))
    setting.wait(4)
    talk = transcript(setting, 150_000)
    deal["meetings"].append({"date": _iso(setting), "title": "Workshop roll-out, word for word", "transcript": talk})
    return deal


def _iso(setting: Setting) -> str:
    return setting.day.isoformat()


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
