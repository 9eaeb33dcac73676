"""What all emulated providers share: the clock, the dice, the charge book, a folder and one worker."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntEnum
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec

from providers.emulator.bedrock_settings import BedrockSettings


class Clock:
    """Virtual time: it moves by `advance`, and by `speed` virtual seconds per real second."""

    def __init__(self, start: datetime | None, speed: float, real: Callable[[], float] = time.monotonic) -> None:
        self.start = (start or datetime.now(UTC)).timestamp()
        self._speed = speed
        self._real = real
        self._began = real()
        self._advanced = 0.0
        self._lock = threading.Lock()

    def now(self) -> float:
        """Unix seconds of the virtual clock."""
        return self.start + self._advanced + self._speed * (self._real() - self._began)

    def advance(self, seconds: float) -> None:
        if seconds < 0:
            raise ValueError("virtual time does not go back")
        with self._lock:
            self._advanced += seconds


def moment(seconds: float) -> datetime:
    """Unix seconds as an aware datetime."""
    return datetime.fromtimestamp(seconds, UTC)


@dataclass(frozen=True, slots=True)
class Rates:
    """Shares of items (0 to 1) that go wrong, decided by a hash of seed and prompt, so that runs repeat.

    transient: an error that clears when the same prompt comes again; permanent: an error that stays; truncated: cut at
    the output limit (drawn anew for another limit); invalid: an answer that does not fit the schema; refused.
    """

    transient: float = 0.0
    permanent: float = 0.0
    truncated: float = 0.0
    invalid: float = 0.0
    refused: float = 0.0


class Fate(IntEnum):
    """What becomes of one item."""

    answered = 0
    permanent = 1
    transient = 2
    refused = 3
    invalid = 4
    truncated = 5


@dataclass(frozen=True, slots=True)
class Charge:
    """One billed request. `batch_id` and `custom_id` are empty for a synchronous call."""

    provider: str
    batch_id: str
    label: Mapping[str, str]
    custom_id: str
    prompt_hash: str
    input_tokens: int
    output_tokens: int

    @property
    def synchronous(self) -> bool:
        """Whether it was billed at the full price."""
        return not self.batch_id


class Dice:
    """Decides fates. The same seed, prompt and limit give the same fate, except that a transient error strikes once."""

    def __init__(self, seed: int, rates: Rates) -> None:
        self._key = seed.to_bytes(16, "big", signed=True)
        self._truncated = rates.truncated
        self._calm = rates == Rates()
        self._struck: set[bytes] = set()
        self._bounds: list[tuple[float, Fate]] = []
        bound = 0.0
        for fate in (Fate.permanent, Fate.transient, Fate.refused, Fate.invalid):
            bound += getattr(rates, fate.name)
            self._bounds.append((bound, fate))

    def fate(self, prompt: bytes, limit: int) -> Fate:
        """The fate of the prompt with this digest; a transient error counts as struck from now on."""
        if self._calm:
            return Fate.answered
        drawn = blake2b(prompt, key=self._key, digest_size=8).digest()
        fate = self._first(int.from_bytes(drawn[:4], "big") / 2**32)
        if fate is Fate.transient and prompt in self._struck:
            fate = Fate.answered
        if fate is Fate.transient:
            self._struck.add(prompt)
        if fate is Fate.answered and _scatter(int.from_bytes(drawn[4:], "big"), limit) < self._truncated:
            return Fate.truncated
        return fate

    def forget(self, prompt: bytes) -> None:
        """The item was never executed after all, so its transient error is still to come."""
        self._struck.discard(prompt)

    def _first(self, drawn: float) -> Fate:
        for bound, fate in self._bounds:
            if drawn < bound:
                return fate
        return Fate.answered


def _scatter(drawn: int, limit: int) -> float:
    """A number in [0, 1) that changes with `limit`."""
    return (((drawn ^ (limit * 0x9E3779B1)) * 0x85EBCA6B) & 0xFFFFFFFF) / 2**32


@dataclass(kw_only=True)
class Settings:
    """What the emulated world is like; may be changed while it runs, except the first four. None means no limit."""

    seed: int = 7  # equal seeds, prompts and starts repeat a run
    speed: float = 0.0  # virtual seconds per real second, besides `advance`
    start: datetime | None = None  # where the virtual clock begins; by default now
    rates: Rates = Rates()
    answer: Callable[[str], str | None] | None = None  # what the model says to a prompt; None: what it says by itself
    batch_seconds: float = 600.0  # from create to results
    cancel_seconds: float = 600.0  # from cancel to the end (PROVIDERS §1.3: up to ten minutes)
    patience_seconds: float = 5.0  # real time a read waits for results in the making, before it says "not finished"
    shuffled: bool = True  # whether results come in another order than requests
    enqueued_token_limit: int | None = None  # OpenAI: prompt tokens of unfinished batches, per model
    refuse_at_create: bool = False  # whether an overflow of it is a 400 at create rather than a failed batch
    deployments: Mapping[str, str] | None = None  # Azure: the model behind each; None: any name is one
    batches_per_hour: int = 2_000  # OpenAI (PROVIDERS §1.2)
    file_bytes: int = 200_000_000  # OpenAI (PROVIDERS §1.2)
    queued_request_limit: int | None = None  # Anthropic: requests of unfinished batches
    body_bytes: int = 256_000_000  # Anthropic (PROVIDERS §2.2)
    bedrock: BedrockSettings = field(default_factory=BedrockSettings)
    s3_endpoint: str | None = None  # Bedrock: the S3 server of its buckets; by default AWS_ENDPOINT_URL_S3


class Patience:
    """How long (real seconds) one request waits for the worker, for all the batches it asks about together."""

    def __init__(self, seconds: float) -> None:
        self._until = time.monotonic() + seconds

    def left(self) -> float:
        return max(self._until - time.monotonic(), 0.0)


@dataclass(slots=True)
class World:
    """Everything the providers share. `folder` holds uploads, results and charges on disk."""

    clock: Clock
    dice: Dice
    settings: Settings
    folder: Path
    worker: ThreadPoolExecutor
    lock: threading.RLock = field(default_factory=threading.RLock)
    _ids: Iterator[int] = field(default_factory=lambda: iter(range(2**62)))
    _direct: list[Charge] = field(default_factory=list)

    def new_id(self, length: int = 32, alphabet: str = "0123456789abcdef") -> str:
        """An id nobody has had; equal seeds and starts give equal ids."""
        with self.lock:
            text = f"{self.settings.seed} {self.clock.start} {next(self._ids)}"
        number = int.from_bytes(blake2b(text.encode()).digest(), "big")
        letters = []
        for _ in range(length):
            number, index = divmod(number, len(alphabet))
            letters.append(alphabet[index])
        return "".join(letters)

    def said(self, parts: Sequence[bytes]) -> str | None:
        """The words that the settings put into the model's mouth for a prompt with these parts, if any."""
        answer = self.settings.answer
        return None if answer is None else answer(b"\n".join(parts).decode("utf-8", "replace"))

    def patience(self) -> Patience:
        """For one request."""
        return Patience(self.settings.patience_seconds)

    def charge(self, charge: Charge) -> None:
        """Bill a synchronous call."""
        with self.lock:
            self._direct.append(charge)

    def direct_charges(self) -> list[Charge]:
        with self.lock:
            return list(self._direct)


def read_json(body: bytes) -> Any:
    """The JSON value, or None when it is not JSON."""
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError:
        return None
