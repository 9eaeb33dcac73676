"""Made-up answers that fit a JSON schema and repeat for the same prompt; no model is asked."""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from math import ceil, floor
from typing import Any

from providers.emulator import phrases

Make = Callable[["Draw"], Any]
Schema = Mapping[str, Any]
_DEEP = 6  # recursive schemas are cut short here, where they allow it
_RANGE = re.compile(r"(-?\d+(?:\.\d+)?)\s*(?:-|–|—|to|and|\.\.)\s*(-?\d+(?:\.\d+)?)")


class Draw:
    """Random numbers from a digest. `mood` (0 good, 1 bad) colours the whole answer, so that its fields agree."""

    __slots__ = ("mood", "state")

    def __init__(self, digest: bytes) -> None:
        self.state = int.from_bytes(digest[:8], "big") | 1
        self.mood = self.share()

    def share(self) -> float:
        """In [0, 1)."""
        state = self.state = (self.state * 6364136223846793005 + 1442695040888963407) & 0xFFFFFFFFFFFFFFFF
        return (state >> 33) / 2147483648

    def below(self, bound: int) -> int:
        """A whole number from 0 to `bound` - 1."""
        state = self.state = (self.state * 6364136223846793005 + 1442695040888963407) & 0xFFFFFFFFFFFFFFFF
        return (state >> 33) * bound >> 31

    def near_mood(self) -> float:
        """Around the mood, within [0, 1]."""
        near = self.mood + self.share() * 0.4 - 0.2
        return near if 0.0 <= near <= 1.0 else 0.0 if near < 0.0 else 1.0


def compiled(schema: Schema) -> Make:
    """A function that makes an answer from a draw. Fits the schema's types, enums, ranges, lengths and references."""
    return _make(_Place(schema, "", 0), schema)


class _Place:
    """Where in the schema we are: the root for references, the field's name for its meaning, the depth."""

    def __init__(self, root: Schema, name: str, depth: int) -> None:
        self.root = root
        self.name = name
        self.depth = depth

    def down(self, name: str) -> "_Place":
        return _Place(self.root, name, self.depth + 1)


def _make(place: _Place, schema: Schema) -> Make:
    schema = _resolved(place.root, schema)
    if "const" in schema:
        return _always(schema["const"])
    if "enum" in schema:
        return _choice(place.name, schema["enum"])
    for union in ("anyOf", "oneOf"):
        if union in schema:
            return _either(place, [_with(schema, union, option) for option in schema[union]])
    kind = schema.get("type", "object" if "properties" in schema else "string")
    if isinstance(kind, list):
        return _either(place, [{**schema, "type": one} for one in kind])
    return _KINDS.get(kind, _text)(place, schema)


def _resolved(root: Schema, schema: Schema) -> Schema:
    """Follow references and merge `allOf`."""
    while "$ref" in schema:
        target: Any = root
        for part in str(schema["$ref"]).removeprefix("#").strip("/").split("/") if schema["$ref"] != "#" else ():
            target = target[part.replace("~1", "/").replace("~0", "~")]
        schema = {**target, **{key: value for key, value in schema.items() if key != "$ref"}}
    for part in schema.get("allOf", ()):
        other = _resolved(root, part)
        properties = {**schema.get("properties", {}), **other.get("properties", {})}
        schema = {**schema, **other, **({"properties": properties} if properties else {})}
    return schema


def _with(schema: Schema, union: str, option: Schema) -> Schema:
    return {**{key: value for key, value in schema.items() if key not in {union, "default", "title"}}, **option}


def _always(value: Any) -> Make:
    return lambda _draw: value


def _either(place: _Place, options: Sequence[Schema]) -> Make:
    """One of several; null in one case of six, and whenever the schema has become too deep."""
    full = [option for option in options if option.get("type") != "null"]
    nullable = len(full) < len(options)
    if not full or (nullable and place.depth >= _DEEP):
        return _always(None)
    makes = _Lazy.several(place, full)
    if len(makes) == 1 and not nullable:
        return makes[0]

    def either(draw: Draw) -> Any:
        if nullable and draw.share() < 1 / 6:
            return None
        return makes[draw.below(len(makes))](draw)

    return either


class _Lazy:
    """Compiles a branch when it is first taken, so that recursive schemas end."""

    def __init__(self, place: _Place, schema: Schema) -> None:
        self._place = place
        self._schema = schema
        self._made: Make | None = None

    @classmethod
    def several(cls, place: _Place, schemas: Sequence[Schema]) -> list[Make]:
        return [cls(place, schema) for schema in schemas]

    def __call__(self, draw: Draw) -> Any:
        if self._made is None:
            self._made = _make(self._place, self._schema)
        return self._made(draw)


def _object(place: _Place, schema: Schema) -> Make:
    required = set(schema.get("required", ()))
    fields = [
        (name, _Lazy(place.down(name), part), name in required)
        for name, part in schema.get("properties", {}).items()
        if name in required or place.depth < _DEEP
    ]

    def fill(draw: Draw) -> dict[str, Any]:
        return {name: make(draw) for name, make, needed in fields if needed or draw.share() < 0.8}

    return fill


def _array(place: _Place, schema: Schema) -> Make:
    if "prefixItems" in schema:
        parts = _Lazy.several(place.down(place.name), schema["prefixItems"])
        return lambda draw: [make(draw) for make in parts]
    item = _Lazy(place.down(place.name), schema.get("items", {}))
    low = int(_bound(schema, "minItems") or 0)
    told = _bound(schema, "maxItems")
    high = max(4, low) if told is None else int(told)
    if place.depth >= _DEEP:
        high = low
    bad = _named(place.name, phrases.BAD_NAMES)

    def fill(draw: Draw) -> list[Any]:
        share = draw.near_mood() if bad else draw.share()
        count = min(low + int(share * (min(high, low + 4) - low + 1)), high)
        return _distinct([item(draw) for _ in range(count)], low)

    return fill


def _distinct(values: list[Any], low: int) -> list[Any]:
    """Without repetitions, unless that leaves too few."""
    seen: list[Any] = []
    for value in values:
        if value not in seen:
            seen.append(value)
    return seen if len(seen) >= low else values


def _choice(name: str, values: Sequence[Any]) -> Make:
    """One of an enum: by the mood where the words tell good from bad, else at random."""
    badness = [_badness(name, value) for value in values]
    known = [(bad, value) for bad, value in zip(badness, values, strict=True) if bad is not None]
    if len(known) < 2:
        return lambda draw: values[draw.below(len(values))]

    def choose(draw: Draw) -> Any:
        wanted = draw.near_mood()
        return min(known, key=lambda one: abs(one[0] - wanted))[1]

    return choose


def _badness(name: str, value: Any) -> float | None:
    word = re.sub(r"[\s-]+", "_", str(value).lower())
    if word in phrases.NEWS:
        return phrases.NEWS[word]
    level = phrases.LEVELS.get(word)
    return level if level is None or _named(name, phrases.BAD_NAMES) else 1 - level


def _named(name: str, parts: Sequence[str]) -> bool:
    return any(part in name.lower() for part in parts)


def _bound(schema: Schema, word: str) -> float | None:
    """A limit, from the schema or from where Anthropic's SDK moves it: "{minimum: 0, maximum: 100}"."""
    if word in schema:
        return float(schema[word])
    told = re.search(rf"\b{word}: (-?\d+(?:\.\d+)?)", str(schema.get("description", "")))
    return float(told[1]) if told else None


def _end(schema: Schema, word: str, step: float) -> float | None:
    """One end of a range; an exclusive one is moved inside by `step`."""
    inclusive, exclusive = _bound(schema, word), _bound(schema, f"exclusive{word.capitalize()}")
    if inclusive is not None:
        return inclusive
    return None if exclusive is None else exclusive + step


def _limits(name: str, schema: Schema, step: float) -> tuple[float, float]:
    """The range of a number: from the schema, from its description ("0-100"), or from its name."""
    low, high = _end(schema, "minimum", step), _end(schema, "maximum", -step)
    told = _RANGE.search(str(schema.get("description", "")))
    if low is not None:
        return low, low + 100 if high is None else high
    if high is not None:
        return high - 100, high
    return (float(told[1]), float(told[2])) if told and float(told[1]) < float(told[2]) else _usual(name, step == 1)


def _usual(name: str, whole: bool) -> tuple[float, float]:
    if _named(name, ("amount", "value", "price", "revenue", "budget", "arr")):
        return 5_000, 250_000
    if _named(name, ("day", "week", "month", "count", "number")):
        return 0, 60
    return (0, 100) if whole else (0.0, 1.0)


def _number(place: _Place, schema: Schema, step: float = 1e-6) -> Make:
    """Within its range, or on the grid of whole numbers or of `multipleOf`."""
    low, high = _limits(place.name, schema, step)
    bad, good = _named(place.name, phrases.BAD_NAMES), _named(place.name, phrases.GOOD_NAMES)
    grid = schema.get("multipleOf", 1 if step == 1 else None)
    digits = 6 if high - low < 1 else 2

    def number(draw: Draw) -> float:
        share = draw.near_mood() if bad else 1 - draw.near_mood() if good else draw.share()
        if grid is None:
            return min(max(round(low + share * (high - low), digits), low), high)
        first, last = ceil(low / grid), floor(high / grid)
        return (first + round(share * (last - first))) * grid  # type: ignore[no-any-return]

    return number


def _integer(place: _Place, schema: Schema) -> Make:
    return _number(place, schema, 1)


def _boolean(place: _Place, _schema: Schema) -> Make:
    if _named(place.name, phrases.BAD_NAMES):
        return lambda draw: draw.near_mood() > 0.5
    return lambda draw: draw.near_mood() < 0.5


def _null(_place: _Place, _schema: Schema) -> Make:
    return _always(None)


def _text(place: _Place, schema: Schema) -> Make:
    if (shape := schema.get("format")) in _FORMATS:
        return _FORMATS[shape]
    name = place.name.lower()
    if name.endswith(("date", "_at")):
        return _date
    words = _words(name, schema)
    low, high = int(schema.get("minLength", 0)), int(schema.get("maxLength", 10_000))
    if words is phrases.PHRASES["sentence"]:
        return lambda draw: told(draw, 2, low)[:high]

    def text(draw: Draw) -> str:
        chosen = words[draw.below(len(words))]
        while len(chosen) < low:
            chosen += " " + words[draw.below(len(words))]
        return chosen[:high]

    return text


def told(draw: Draw, count: int, low: int = 0) -> str:
    """Sentences about a deal, as good or bad as the mood; at least `low` characters."""
    sentences = phrases.PHRASES["sentence"]
    first = min(int(draw.near_mood() * len(sentences)), max(len(sentences) - count, 0))
    text = " ".join(sentences[(first + at) % len(sentences)] for at in range(count))
    return text if len(text) >= low else told(draw, count * 2, low)


def _words(name: str, schema: Schema) -> tuple[str, ...]:
    for part, suit in phrases.SUITS:
        if part in name:
            return phrases.PHRASES[suit]
    return phrases.PHRASES["sentence" if "sentence" in str(schema.get("description", "")).lower() else "phrase"]


def _date(draw: Draw) -> str:
    return (date(2026, 1, 1) + timedelta(days=draw.below(700))).isoformat()


def _uuid(draw: Draw) -> str:
    parts = [f"{draw.below(2**31):08x}" for _ in range(4)]
    return f"{parts[0]}-{parts[1][:4]}-4{parts[1][5:]}-a{parts[2][:3]}-{parts[2][4:]}{parts[3]}"


_FORMATS: dict[str, Make] = {
    "date": _date,
    "date-time": lambda draw: f"{_date(draw)}T{draw.below(24):02d}:00:00Z",
    "time": lambda draw: f"{draw.below(24):02d}:{draw.below(60):02d}:00Z",
    "email": lambda draw: f"person{draw.below(1000)}@example.com",
    "uri": lambda draw: f"https://example.com/{draw.below(1000)}",
    "uuid": _uuid,
}
_KINDS: dict[str, Callable[[_Place, Schema], Make]] = {
    "object": _object,
    "array": _array,
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
    "null": _null,
    "string": _text,
}


def plain(draw: Draw) -> str:
    """A short answer in prose, for a request without a schema."""
    return told(draw, 2 + draw.below(3))
