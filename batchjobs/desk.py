"""Everything a command works with, opened once: settings, the outside world, the store, the provider, the results."""

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

import providers
from batchjobs.env import Env
from batchjobs.errors import Unreachable, UsageError
from batchjobs.observed import ObservedProvider, ObservedStore
from batchjobs.plan import Plan
from batchjobs.settings import Settings
from providers.contract import Format
from storage import open_store
from storage.content import intact
from storage.contract import Conflict, ObjectStore
from storage.ledger import Ledger


def need_sdk(provider: str) -> None:
    """Raises UsageError where a provider's SDK, an optional part of this package, is not installed."""
    extra = providers.lacks(provider)
    if extra:
        fact = f"The SDK of provider {provider} is not installed"
        raise UsageError(f"{fact}: pip install 'batchjobs[{extra}]', then run the command again.")


def _silent(_text: str) -> None:
    """Say nothing."""


@dataclass(slots=True)
class Desk:
    """One command's working place. `say` prints a line of progress for people; it never gets item content."""

    env: Env
    settings: Settings
    store: ObjectStore
    say: Callable[[str], None] = _silent
    dirty: bool = True  # the analysts' file may lack something: at first for all we know, then after every write
    written: int = 0  # ledger records by this command
    _providers: dict[tuple[str, str], ObservedProvider] = field(default_factory=dict)

    def provider_of(self, plan: Plan) -> ObservedProvider:
        """The provider a job was made for. Raises Unreachable when the environment now names another address.

        Its answers would be stored as the first one's, and its "unknown batch" taken for a lost one.
        """
        here = self._host(plan.provider)
        if here != plan.served_by:
            raise Unreachable(
                f"Job {plan.job} was made for {plan.served_by}, "
                f"and the environment points {plan.provider} at {here}: set the address back, or use another --store.",
                passing=False,
            )
        return self.provider(plan.provider, plan.endpoint)

    def provider(self, name: str, endpoint: str) -> ObservedProvider:
        if (name, endpoint) not in self._providers:
            need_sdk(name)
            self._providers[name, endpoint] = ObservedProvider(
                providers.connect(
                    name,
                    endpoint,
                    sleep=self.env.sleep,
                    objects=self.store,
                    options=self.settings.options_of(name),
                    switches=self.settings.compatible,
                ),
                self.env.fault,
            )
        return self._providers[name, endpoint]

    def _host(self, provider: str) -> str:
        """Who the environment says serves a provider. Raises Unreachable where nothing does."""
        try:
            return providers.served_by(provider, self.settings.compatible)
        except ValueError as error:
            raise Unreachable(str(error), passing=False) from None

    def close(self) -> None:
        """Let go of connections."""
        for provider in self._providers.values():
            provider.close()
        self._providers.clear()

    def intact(self, key: str) -> AbstractContextManager[Path]:
        """An object as a local file, if it still is what its key promises. Raises Missing, Damaged."""
        return intact(self.store, key)

    def format(self, name: str, endpoint: str) -> Format:
        """How this provider writes requests and results; needs no key and no network."""
        return providers.load_format(name, endpoint, self.settings.compatible)

    def format_of(self, plan: Plan) -> Format:
        """The same with the limits that a job was packed by: they hold for its retries, whatever they are by then."""
        made = self.format(plan.provider, plan.endpoint)
        if plan.bounds is not None:
            made.limits = replace(made.limits, **msgspec.structs.asdict(plan.bounds))
        return made

    def append(self, job: str, ledger: str, after: int, event: str, data: Mapping[str, Any]) -> int | None:
        """Write the next record of a ledger; its number, or None when another process took that step first."""
        env = self.env
        try:
            record = Ledger(self.store, job, ledger).append(after, event, data, env.now(), env.by, env.new_id())
        except Conflict:
            self.say(f"{ledger}: another process wrote {event!r} or something else first")
            return None
        self.dirty = True
        self.written += 1
        return record.number

    @property
    def state_dir(self) -> Path:
        """Where this machine keeps what it can rebuild: the private DuckDB file and the lock."""
        return _state_dir(self.settings)

    @property
    def database(self) -> Path:
        return self.state_dir / "pipeline.duckdb"

    @property
    def results_path(self) -> Path:
        """The analysts' file."""
        if self.settings.results:
            return Path(self.settings.results)
        return Path(
            "results.duckdb" if self.settings.store.startswith("s3://") else f"{self.settings.store}/results.duckdb"
        )

    @contextmanager
    def spool(self) -> Iterator[Path]:
        """A private temporary folder on the same disk as the state, removed at the end."""
        folder = Path(tempfile.mkdtemp(prefix="spool-", dir=self.state_dir))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def exclusive(self, what: str) -> Iterator[None]:
        """Only one process of this machine at a time changes a store; the kernel frees the lock of a dead one.

        It is held for one pass, never while sleeping, so that a second command waits seconds and not the night.
        Raises Unreachable when this machine's disk fails; what the store and the provider refuse they tell themselves.
        """
        with _disk_of(self.state_dir), (self.state_dir / "lock").open("a+b") as lock:
            if not _try_lock(lock.fileno()):
                lock.seek(0)
                self.say(f"waiting for {_holder(lock.read())}")
                fcntl.flock(lock, fcntl.LOCK_EX)
            for left in self.state_dir.glob("spool-*"):  # of a killed process; it may hold prompts
                shutil.rmtree(left, ignore_errors=True)
            lock.truncate(0)
            lock.write(json.dumps({"pid": os.getpid(), "doing": what}).encode())
            lock.flush()
            yield


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(note: bytes) -> str:
    try:
        holder = json.loads(note)
    except ValueError:
        return "another process"
    return f"process {holder['pid']}, which is busy with {holder['doing']}"


def open_desk(env: Env, settings: Settings, say: Callable[[str], None] = _silent) -> Desk:
    """Open the store the settings name."""
    if not settings.store.startswith("s3://"):
        _make_private(Path(settings.store))
    state = _state_dir(settings)
    _make_private(state)
    return Desk(env, settings, ObservedStore(open_store(settings.store, state), env.fault), say)


def _state_dir(settings: Settings) -> Path:
    if settings.state_dir:  # a folder for each store in it: a database knows one store's answers
        return Path(settings.state_dir) / hashlib.sha256(settings.store.encode()).hexdigest()[:16]
    if settings.store.startswith("s3://"):
        name = hashlib.sha256(settings.store.encode()).hexdigest()[:16]
        return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "batchjobs" / name
    return Path(settings.store) / "private"


@contextmanager
def _disk_of(folder: Path) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:  # nobody reads what we say any more: no fault of the disk
        raise
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else type(error).__name__
        raise Unreachable(
            f"The disk of {folder} failed ({why}): free some space or mend it, then run the same command again."
        ) from error


def _make_private(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise Unreachable(
            f"The directory {folder} cannot be made ({error.strerror}): name another --store or state_dir."
        ) from None
