"""Settings: defaults < file < environment < flags."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from batchjobs.errors import UsageError
from batchjobs.settings import deadline_at, load_settings


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "batchjobs.toml"
    path.write_text('store = "from-file"\nmodel = "from-file"\nmax_attempts = 2\n')
    return path


def test_each_layer_overrides_the_one_before(config: Path):
    settings = load_settings({"store": "from-flag", "model": None}, config, {"BATCHJOBS_MODEL": "from-env"})
    assert (settings.store, settings.model, settings.max_attempts) == ("from-flag", "from-env", 2)


def test_an_unknown_setting_is_named_with_its_origin(config: Path):
    config.write_text("stroe = 'x'")
    with pytest.raises(UsageError, match=r"'stroe' from .*batchjobs.toml"):
        load_settings({}, config, {})


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ("cancel = false", r"'compatible' from [^:]*: there is no switch 'cancel'"),
        ('structured = "xml"', "structured is 'xml': choose json_schema"),
        ('structured = "xml"', r"[^.]\.$"),
        ('key_variable = "sk-1"', "name of an environment variable"),
    ],
)
def test_a_switch_that_cannot_be_is_named(config: Path, table: str, complaint: str):
    config.write_text(f'provider = "compatible"\n[compatible]\n{table}\n')
    with pytest.raises(UsageError, match=complaint):
        load_settings({}, config, {})


def test_a_server_is_described_in_the_file(config: Path):
    config.write_text('[compatible]\nlike = "groq"\nwindow = "7d"\n')
    assert load_settings({}, config, {}).compatible == {"like": "groq", "window": "7d"}


def test_a_bad_value_from_the_environment_is_named():
    with pytest.raises(UsageError, match="'max_cost' from the environment"):
        load_settings({}, None, {"BATCHJOBS_MAX_COST": "cheap"})


def test_a_missing_config_file_is_an_error_only_when_it_was_named(tmp_path: Path):
    with pytest.raises(UsageError, match="There is no config file"):
        load_settings({}, tmp_path / "none.toml", {})


def test_a_deadline_can_be_a_length():
    now = datetime(2026, 11, 20, 22, tzinfo=UTC)
    assert deadline_at("9h", now) == now + timedelta(hours=9)


def test_a_deadline_can_be_the_next_time_of_day():
    now = datetime(2026, 11, 20, 22).astimezone()
    assert deadline_at("07:00", now) == now + timedelta(hours=9)


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Europe/Berlin")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("berlin")
@pytest.mark.parametrize(
    ("now", "deadline", "hours"),
    [
        ("2026-03-28 21:00", "07:00", 8.0),  # the clocks go forward in this night
        ("2026-10-24 20:00", "07:00", 10.0),  # and back in this one
        ("2026-03-29 00:00", "02:30", 1.5),  # a time that the night leaves out: when it would have been
        ("2026-10-25 00:10", "02:30", 1 / 3),  # a time that comes twice: the first
        ("2026-10-25 00:40", "02:30", 5 / 6),  # the first is over: the second
        ("2026-10-25 01:40", "02:30", 23 + 5 / 6),  # both are over
    ],
)
def test_a_time_of_day_is_the_one_on_the_wall_when_the_clocks_change(now: str, deadline: str, hours: float):
    moment = datetime.fromisoformat(now).replace(tzinfo=UTC)
    assert deadline_at(deadline, moment) == moment + timedelta(hours=hours)


def test_a_deadline_that_is_neither_is_refused():
    with pytest.raises(UsageError, match="deadline"):
        load_settings({"deadline": "soon"}, None, {})
