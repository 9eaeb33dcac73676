"""The setting of one sample deal: its people, product, place and figures, and how they write."""

import re
from datetime import date, timedelta
from typing import Any, NamedTuple, TypeVar

from examples.deals import cast
from examples.deals.scripts import Beat, Script, dice

Choice = TypeVar("Choice")

_SLOT = re.compile(r"\{(\w+?)([+-]\d+)?\}")
_CHOICE = re.compile(r"\[([^\[\]]*\|[^\[\]]*)\]")
_GREETINGS = {
    "en": ("Hi {first},", "Hello {first},", "Dear {first},", "Good morning {first},", "{first},"),
    "de": ("Guten Tag {name},", "Hallo {name},"),
    "fr": ("Bonjour {first},", "Bonjour,"),
}
_FAREWELLS = {
    "en": ("Best regards,", "Kind regards,", "Best,", "Many thanks,", "Thanks", "Regards,"),
    "de": ("Mit freundlichen Grüßen", "Viele Grüße", "Beste Grüße"),
    "fr": ("Cordialement,", "Bien à vous,", "Bien cordialement,"),
}
_WEEKDAYS = {
    "en": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday"),
    "de": ("Montag", "Dienstag", "Mittwoch", "Donnerstag", "Freitag"),
    "fr": ("lundi", "mardi", "mercredi", "jeudi", "vendredi"),
}
_MONTHS = {
    "en": (
        "January", "February", "March", "April", "May", "June",
        "July", "August", "September", "October", "November", "December",
    ),
    "de": (
        "Januar", "Februar", "März", "April", "Mai", "Juni",
        "Juli", "August", "September", "Oktober", "November", "Dezember",
    ),
    "fr": (
        "janvier", "février", "mars", "avril", "mai", "juin",
        "juillet", "août", "septembre", "octobre", "novembre", "décembre",
    ),
}  # fmt: skip
_OURS = ("owner", "manager", "se")
_THEIRS = ("champion", "buyer", "it", "proc", "legal", "newbie", "other")


class Person(NamedTuple):
    """Somebody who writes."""

    name: str
    title: str
    company: str
    address: str

    @property
    def first(self) -> str:
        return self.name.split()[0]


class Setting:
    """One deal while it is being told; `day` moves with the story. Only `random()` is used: it never changed."""

    def __init__(self, deal_id: str, company: tuple[Any, ...], day: date, told: Script) -> None:
        self.deal_id, self.company, self.day, self.lang = deal_id, company, _workday(day), told.lang
        self.rng = dice(f"setting {deal_id}")
        self.sector = cast.SECTORS[company[1]]
        self.product = self.one(cast.PRODUCTS)
        self.discount = self.one((5, 8, 10, 12, 15))
        self.offer = round(self.product.list_price * (told.amount or 1 - self.discount / 100), -1)
        manager = self.one(tuple(cast.TEAMS))
        self.region, owners = cast.TEAMS[manager]
        self.people = self._ours(manager, self.one(owners)) | self._customers()
        self._with_time, self._with_addresses = self.chance(0.4), self.chance(0.75)
        self._minute = 0
        self._threads: dict[str, str] = {}
        self._words = self._figures() | self._names()
        self._last: tuple[Person, str] | None = None

    def one(self, values: tuple[Choice, ...] | list[Choice]) -> Choice:
        return values[int(self.rng.random() * len(values))]

    def some(self, values: tuple[Choice, ...], count: int) -> list[Choice]:
        """`count` different ones, in any order."""
        order = sorted((self.rng.random(), number) for number in range(len(values)))
        return [values[number] for _, number in order[:count]]

    def chance(self, likelihood: float) -> bool:
        return self.rng.random() < likelihood

    def wait(self, days: int) -> None:
        """Let days pass, with some slack; nobody writes on a weekend."""
        slack = int(self.rng.random() * (1 + days // 3))
        self.day, before = _workday(self.day + timedelta(days=days + slack)), self.day
        earliest = self._minute + 9 if self.day == before else 7 * 60
        self._minute = earliest + int(self.rng.random() * max(1, (18 * 60 - earliest) // 2))

    def us_date(self, day: date) -> str:
        return f"{day.month}/{day.day}/{day.year}"

    def fill(self, text: str) -> str:
        """The text with its choices made and its slots filled."""
        chosen = _CHOICE.sub(lambda match: self.one(match[1].split("|")), text)
        return _SLOT.sub(lambda match: self._word(match[1], match[2]), chosen)

    def email(self, beat: Beat) -> dict[str, Any]:
        sender, receiver = (self.people[role] for role in beat.roles)
        subject, text = self._subject(beat.title), self.fill(beat.text)
        body = text[1:] if text.startswith("~") else self._letter(sender, receiver, text)
        quote = f"On {self._spoken(self.day)}, {sender.name} wrote:\n\n{body}".split("\n")[:5]
        if subject.startswith("Re:") and self._last and self._last[0] == receiver and self.chance(0.35):
            body += f"\n\n{self._last[1]}"
        self._last = (sender, "\n> ".join(quote))
        addresses = {"from": _address(sender), "to": _address(receiver)} if self._with_addresses else {}
        return {"date": self._date(), **addresses, "subject": subject, "body": body}

    def note(self, beat: Beat) -> dict[str, Any]:
        return {"date": self._date(), "text": self.fill(beat.text)}

    def call(self, beat: Beat) -> dict[str, Any]:
        people = [self.people[role].name for role in beat.roles]
        held = {"date": self._date(), "duration": beat.minutes, "participants": people}
        return {**held, "summary": f"{self.fill(beat.title)}. {self.fill(beat.text)}"}

    def meeting(self, beat: Beat) -> dict[str, Any]:
        people = [{"name": self.people[role].name, "email": self.people[role].address} for role in beat.roles]
        held = {"date": self._date(), "title": self.fill(beat.title), "participants": people, "duration": beat.minutes}
        return {**held, "notes": self.fill(beat.text)}

    def document(self, beat: Beat) -> dict[str, Any]:
        return {"date": self.day.isoformat(), "title": self.fill(beat.title), "text": self.fill(beat.text)}

    def _ours(self, manager: str, owner: str) -> dict[str, Person]:
        engineer = self.one(cast.ENGINEERS)
        titles = {"owner": "Account Executive", "manager": "Sales Director", "se": "Solution Engineer"}
        names = dict(zip(_OURS, (owner, manager, engineer), strict=True))
        return {role: _person(name, titles[role], cast.SELLER, cast.DOMAIN) for role, name in names.items()}

    def _customers(self) -> dict[str, Person]:
        company = self.company[0]
        domain = f"{re.sub('[^a-z]+', '', company.lower())[:18]}.example"
        titles = {
            "champion": self.one(cast.CHAMPION_TITLES),
            "buyer": self.one(cast.BUYER_TITLES),
            "it": self.one(cast.IT_TITLES),
            "proc": "Strategic Procurement",
            "legal": "Legal Counsel",
            "newbie": "Head of Quality",
            "other": "Shift Supervisor",
        }
        firsts, lasts = self.some(cast.FIRST_NAMES, len(_THEIRS)), self.some(cast.LAST_NAMES, len(_THEIRS))
        names = {role: f"{first} {last}" for role, first, last in zip(_THEIRS, firsts, lasts, strict=True)}
        return {role: _person(name, titles[role], company, domain) for role, name in names.items()}

    def _figures(self) -> dict[str, str]:
        price = self.product.list_price
        return {
            "product": self.product.name,
            "list_price": f"${price:,}",
            "offer": f"${self.offer:,.0f}",
            "cheaper": f"${round(price * self.one((0.48, 0.55, 0.62, 0.7)), -2):,.0f}",
            "pilot": f"${max(1_500, round(price * 0.12, -2)):,.0f}",
            "discount": str(self.discount),
            "users": str(self.one((24, 45, 60, 85, 120, 160, 240, 400))),
            "sites": str(self.one((2, 3, 4, 6, 9))),
            "limit": f"${self.offer // 2_000 * 1_000:,.0f}",
            "limit2": f"${(2 + self.offer // 20_000) * 25_000:,.0f}",
            "threshold": f"${max(5_000, self.offer // 8_000 * 5_000):,.0f}",
            "competitor": self.one(cast.COMPETITORS),
            "erp": self.one(("Granitebooks", "Ledgerleaf ERP", "OrbisPlan", "their home-grown ERP")),
        }

    def _names(self) -> dict[str, str]:
        site, site2 = self.some(cast.SITES, 2)
        pain, pain2 = self.some(self.sector.pains, 2)
        words = {
            "company": self.company[0],
            "country": self.company[2],
            "sector": self.sector.name,
            "floor": self.sector.floor,
            "floor_cap": self.sector.floor.capitalize(),
            "things": self.sector.things,
            "system": self.sector.system,
            "peak": self.sector.peak,
            "peak_short": self.sector.peak.removeprefix("the "),
            "pain": pain,
            "pain2": pain2,
            "metric": self.one(self.sector.metrics),
            "site": site,
            "site2": site2,
            "seller": cast.SELLER,
        }
        for role, person in self.people.items():
            words |= {role: person.name, f"{role}_first": person.first, f"{role}_title": person.title}
        return words

    def _subject(self, title: str) -> str:
        """Answers keep the subject of what they answer, whichever way it was put."""
        prefixes = re.match(r"(?:Re: |Fwd: )*", title)[0]  # type: ignore[index]
        thread = title.removeprefix(prefixes)
        if thread not in self._threads:
            self._threads[thread] = _capital(self.fill(thread))
        return prefixes + self._threads[thread]

    def _word(self, slot: str, shift: str | None) -> str:
        if slot == "d":
            return self._spoken(_workday(self.day + timedelta(days=int(shift or 0))))
        if slot == "m":
            return _MONTHS[self.lang][(self.day.month - 1 + int(shift or 0)) % 12]
        if slot.startswith("num"):
            return str(int((0.1 + 0.9 * self.rng.random()) * 10 ** int(slot[3:])))
        word = self._words.get(slot)
        return word if word is not None else _capital(self._words[slot[0].lower() + slot[1:]])

    def _letter(self, sender: Person, receiver: Person, text: str) -> str:
        greeting = self.one(_GREETINGS[self.lang]).format(first=receiver.first, name=receiver.name)
        farewell = self.one(_FAREWELLS[self.lang])
        known = self._last is not None and self.chance(0.5)
        signature = sender.first if known and self.lang == "en" else f"{sender.name}\n{sender.title}, {sender.company}"
        return f"{greeting}\n\n{text if self.lang == 'de' else _capital(text)}\n\n{farewell}\n{signature}"

    def _spoken(self, day: date) -> str:
        weekday, month = _WEEKDAYS[self.lang][day.weekday()], _MONTHS[self.lang][day.month - 1]
        return f"{weekday}, {day.day}. {month}" if self.lang == "de" else f"{weekday} {day.day} {month}"

    def _date(self) -> str:
        time = f"T{self._minute // 60:02}:{self._minute % 60:02}:00" if self._with_time else ""
        return f"{self.day.isoformat()}{time}"


def _workday(day: date) -> date:
    return day + timedelta(days=max(0, 7 - day.weekday())) if day.weekday() > 4 else day


def _person(name: str, title: str, company: str, domain: str) -> Person:
    local = re.sub("[^a-z.]+", "", name.lower().replace(" ", "."))
    return Person(name, title, company, f"{local}@{domain}")


def _address(person: Person) -> str:
    return f"{person.name} <{person.address}>"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
