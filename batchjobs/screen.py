"""Live progress: a panel that moves on a terminal, timestamped lines when piped. Shows, decides nothing."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from batchjobs.grid import Grid
from batchjobs.jobs import Job
from batchjobs.poll import Round
from batchjobs.report import plain, shards_table
from batchjobs.rounds import Night

SHARDS_SHOWN_MAX = 12
TROUBLES_SHOWN_MAX = 4


@contextmanager
def progress(console: Console, now: Callable[[], datetime]) -> Iterator[Callable[[Night], None]]:
    """A function that shows each pass, in the way that suits where the output goes."""
    if console.is_terminal:
        with Live(console=console, auto_refresh=False, transient=True) as live:
            yield lambda night: live.update(_panel(night, now()), refresh=True)
    else:
        yield _line_printer(console, now)


def _line_printer(console: Console, now: Callable[[], datetime]) -> Callable[[Night], None]:
    last: list[str] = []

    def show(night: Night) -> None:
        lines = [line for job in night.jobs for line in _lines(job, night.rounds.get(job.id, Round()))]
        fresh = [line for line in lines + [f"trouble: {t}" for t in night.troubles] if line not in last]
        last[:] = lines
        for line in fresh:
            console.print(Text(f"{now():%Y-%m-%d %H:%M:%S} ") + plain(line), soft_wrap=True)

    return show


def _lines(job: Job, seen: Round) -> Iterator[str]:
    yield (
        f"{job.id} {job.state}: {job.succeeded}/{job.plan.items} succeeded, {job.failed} failed, "
        f"{job.in_flight} in flight, {answered_live(job, seen)} answered at the provider, ${job.cost:.4f}"
    )
    for shard, hold in seen.holds.items():
        yield f"{job.id} shard {shard} held: {hold.reason}"


def answered_live(job: Job, seen: Round) -> int:
    """What the provider says it has answered in batches that are still open."""
    return sum(status.done or 0 for shard, status in seen.live.items() if _is_open(job, shard))


def _is_open(job: Job, shard_id: str) -> bool:
    return any(shard.plan.id == shard_id and shard.open for shard in job.shards)


def _panel(night: Night, now: datetime) -> Group:
    parts: list[Table | Grid | Text] = []
    for job in night.jobs:
        seen = night.rounds.get(job.id, Round())
        parts += [_headline(job, seen), _shards(job, seen)]
    parts += [plain(f"! {trouble}") for trouble in night.troubles[:TROUBLES_SHOWN_MAX]]
    since = now - (night.started_at or now)
    parts.append(Text(f"{timedelta(seconds=int(since.total_seconds()))} · Ctrl-C stops watching, not the work", "dim"))
    return Group(*parts)


def _headline(job: Job, seen: Round) -> Table:
    table = Table.grid(padding=(0, 1))
    done = job.succeeded + job.failed
    live = min(done + answered_live(job, seen), job.plan.items)
    table.add_row(
        Text(job.id, "bold"),
        ProgressBar(total=max(job.plan.items, 1), completed=live, width=30),
        Text(f"{job.succeeded:,}", "green") + Text(f" ok  {job.failed:,} failed  {job.in_flight:,} in flight"),
        Text(f"${job.cost:.4f}", "bold"),
    )
    return table


def _shards(job: Job, seen: Round) -> Grid:
    unsettled = [shard for shard in job.shards if shard.plan.id in seen.live or shard.plan.id in seen.holds]
    shown = Job(job.plan, tuple((unsettled or list(job.shards))[:SHARDS_SHOWN_MAX]), cancelled=job.cancelled)
    return shards_table(shown, seen)
