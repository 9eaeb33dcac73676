"""How long a failed read is waited for, by the provider's word and by ours (PROVIDERS §0.2; RELIABILITY §5 row 11)."""

import httpx2
import pytest

from providers.contract import Gone, ProviderError, Unavailable
from providers.failures import patient, retry_after_s


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": "999999"}, 3600.0),
        ({"retry-after": "inf"}, 3600.0),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "soon"}, None),
        ({}, None),
        ({"retry-after": "Fri, 20 Nov 2026 10:01:00 GMT", "date": "Fri, 20 Nov 2026 10:00:00 GMT"}, 60.0),
        ({"retry-after": "Fri, 20 Nov 2026 23:00:00 GMT", "date": "Fri, 20 Nov 2026 10:00:00 GMT"}, 3600.0),
        ({"retry-after": "Fri, 20 Nov 2026 09:00:00 GMT", "date": "Fri, 20 Nov 2026 10:00:00 GMT"}, None),
        ({"retry-after": "Fri, 20 Nov 2026 10:01:00 GMT"}, None),
    ],
)
def test_the_pause_asked_for_is_bounded(headers: dict[str, str], expected: float | None) -> None:
    """PROVIDERS §0.2: seconds, milliseconds or a date, which is read by the answer's own clock."""
    assert retry_after_s(httpx2.Headers(headers)) == expected


class Flaky:
    """Fails as ordered, then answers."""

    def __init__(self, *errors: ProviderError) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "yes"


def test_a_passing_failure_is_tried_again_after_a_bounded_wait() -> None:
    slept: list[float] = []
    call = Flaky(Unavailable("x"), Unavailable("x"), Unavailable("x"))
    assert patient(slept.append)(call) == "yes"
    assert len(slept) == 3
    assert all(0 <= wait <= 8 for wait in slept)


def test_a_failure_that_stays_is_told_as_it_is() -> None:
    call = Flaky(*[Unavailable(f"try {n}") for n in range(9)])
    with pytest.raises(Unavailable, match="try 3"):
        patient(lambda _: None)(call)
    assert call.calls == 4


def test_a_short_pause_asked_for_is_kept() -> None:
    slept: list[float] = []
    patient(slept.append)(Flaky(Unavailable("x", retry_after_s=12.5)))
    assert slept == [12.5]


@pytest.mark.parametrize(
    "error",
    [
        Unavailable("x", retry_after_s=1800.0),
        Unavailable("x", kind="blocked"),
        Unavailable("x", kind="absent"),
        Gone("x"),
    ],
)
def test_what_will_not_pass_soon_is_not_waited_for(error: ProviderError) -> None:
    """RELIABILITY §5, fault 11: a huge Retry-After goes to the caller, who has a clock."""
    slept: list[float] = []
    with pytest.raises(type(error)):
        patient(slept.append)(Flaky(error))
    assert slept == []
