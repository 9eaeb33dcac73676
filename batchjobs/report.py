"""What a command says of a job: one JSON document for machines, tables and sentences for people."""

from collections import Counter
from collections.abc import Iterable
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from batchjobs.grid import Column, Grid
from batchjobs.jobs import Job
from batchjobs.plan import Plan, ShardPlan
from batchjobs.shards import Phase, Shard

if TYPE_CHECKING:
    from batchjobs.poll import Round
    from batchjobs.purge import Holdings
    from storage.results import Failure

BATCH_ID_WIDTH = 18  # the whole id is in --json
EXIT_DONE, EXIT_SOME_FAILED, EXIT_NOT_FINISHED, EXIT_OVER_BUDGET = 0, 3, 4, 5


def exit_code(jobs: Iterable[Job], over_budget: bool = False) -> int:
    """The exit code of DESIGN §7 for the jobs as they stand."""
    jobs = list(jobs)
    if any(not job.finished for job in jobs):
        return EXIT_OVER_BUDGET if over_budget else EXIT_NOT_FINISHED
    return EXIT_SOME_FAILED if any(job.failed for job in jobs) else EXIT_DONE


def money(amount: Decimal | None) -> float | None:
    """A money figure for JSON: six digits after the point."""
    return None if amount is None else float(round(amount, 6))


def job_document(job: Job, seen: "Round | None" = None) -> dict[str, Any]:
    """The JSON document of one job."""
    plan = job.plan
    return {
        "job_id": job.id,
        "state": job.state,
        "purged_at": job.tombstone.since.isoformat() if job.tombstone else None,
        "task": plan.task.name,
        "provider": plan.provider,
        "model": plan.model,
        "created_at": plan.created_at.isoformat(),
        "items": plan.items,
        "succeeded": job.succeeded,
        "failed": job.failed,
        "in_flight": job.in_flight,
        "rejected": plan.rejected + plan.duplicates,
        "reused": plan.reused,
        "requests": plan.requests,
        "bought": bought(job),
        "shards": len(job.shards),
        "shards_by_phase": dict(Counter(shard.phase.value for shard in job.shards)),
        "outcomes": dict(sum((Counter(s.counts) for s in job.shards), Counter())),
        "repaired": repaired(job),
        "estimated_cost_usd": money(plan.estimated_cost),
        "ceiling_cost_usd": money(plan.ceiling_cost),
        "cost_usd": money(job.cost),
        "saved_usd": money(job.sync_cost - job.cost),
        "shard_list": [shard_document(job, shard) for shard in job.shards],
        "holds": {} if seen is None else {shard: hold.reason for shard, hold in seen.holds.items()},
    }


def shard_document(job: Job, shard: Shard) -> dict[str, Any]:
    """One shard for machines: what the one on call needs to find it at the provider and in the store."""
    return {
        "shard": shard.plan.id,
        "state": shard.phase.value,
        "batch_id": shard.batch_id or None,
        "attempt": shard.plan.attempt,
        "requests": shard.plan.requests,
        "outcomes": shard.counts,
        "repaired": shard.repaired,
        "cost_usd": money(shard.cost),
        "key": shard.plan.key,
        "note": shard_note(job, shard),
    }


def bought(job: Job) -> int:
    """Requests paid for so far, every attempt counted."""
    return sum(shard.plan.requests for shard in job.shards if shard.phase is Phase.settled and shard.bought)


def at_once(shards: Iterable[ShardPlan]) -> int:
    """Requests that are answered by themselves, because they were too few for a batch of the provider."""
    return sum(shard.at_once for shard in shards)


def repaired(job: Job) -> int:
    """Answers so far that were no plain JSON (fenced, trailing commas, other quotes) and fit once they were read so."""
    return sum(shard.repaired for shard in job.shards)


def this_run(before: Job, after: Job) -> dict[str, Any]:
    """What one command added to a job. A job that was finished before gives all its answers again, for nothing."""
    reused = before.succeeded if before.finished else after.plan.reused
    spent = money(after.cost - before.cost)
    return {"reused": reused, "bought_now": bought(after) - bought(before), "spent_now_usd": spent}


def plan_document(plan: Plan, already: bool, dry_run: bool) -> dict[str, Any]:
    """The JSON document of `submit`, before anything is bought."""
    return {
        "job_id": plan.job,
        "state": "dry run" if dry_run else "accepted",
        "already_accepted": already,
        "items": plan.items,
        "rejected": plan.rejected + plan.duplicates,
        "reused": plan.reused,
        "carried": plan.carried,
        "requests": plan.requests,
        "shards": len(plan.shards),
        "at_once": at_once(plan.shards),
        "estimated_cost_usd": money(plan.estimated_cost),
        "ceiling_cost_usd": money(plan.ceiling_cost),
        "estimated_saving_usd": money(plan.estimated_sync_cost - plan.estimated_cost),
    }


def failure_document(failure: "Failure") -> dict[str, Any]:
    """One failed item, for machines."""
    return {name: getattr(failure, name) for name in failure.__dataclass_fields__}


def plan_table(plan: Plan, already: bool, dry_run: bool) -> Table:
    """What `submit` tells a person."""
    title = "would be packed" if dry_run else "accepted before, nothing packed anew" if already else "accepted"
    table = _facts(f"{plan.job}: {title}")
    rejected = plan.rejected + plan.duplicates
    table.add_row("items", f"{plan.items:,}" + (f"  ({rejected:,} rejected: see rejects)" if rejected else ""))
    table.add_row(
        "reused",
        f"{plan.reused:,}" + (f"  ({plan.carried:,} more share a request or wait for one)" if plan.carried else ""),
    )
    table.add_row("to buy", f"{plan.requests:,} requests in {len(plan.shards):,} shards, {plan.provider} {plan.model}")
    if at_once(plan.shards):
        table.add_row(
            "at once", f"{at_once(plan.shards):,} of them, too few for a batch: one by one, at the full price"
        )
    table.add_row("cost", f"likely ${plan.estimated_cost:.4f}, at most ${plan.ceiling_cost:.4f}")
    table.add_row("saving", f"${plan.estimated_sync_cost - plan.estimated_cost:.4f} against synchronous calls")
    return table


def job_table(job: Job, now: dict[str, Any] | None = None) -> Table:
    """The end of a night: what came of it and what it cost."""
    plan = job.plan
    table = _facts(f"{job.id}: {job.state}")
    table.add_row(
        "items",
        f"{plan.items:,}"
        + (f"  (+{plan.rejected + plan.duplicates:,} rejected)" if plan.rejected + plan.duplicates else ""),
    )
    table.add_row("succeeded", Text(f"{job.succeeded:,}", "green"))
    if repaired(job):
        table.add_row("repaired", f"{repaired(job):,} answers were no plain JSON, and fit once they were read as meant")
    table.add_row("failed", Text(f"{job.failed:,}", "red" if job.failed else ""))
    table.add_row("in flight", f"{job.in_flight:,}")
    table.add_row("reused", f"{now['reused'] if now else plan.reused:,}")
    table.add_row("bought", f"{bought(job):,} requests, retries included")
    if singles := at_once([shard.plan for shard in job.shards if shard.phase is Phase.settled and shard.bought]):
        table.add_row("at once", f"{singles:,} of them, too few for a batch: one by one, at the full price")
    table.add_row("cost", f"${job.cost:.4f}")
    table.add_row("saved", f"${job.sync_cost - job.cost:.4f} against synchronous calls")
    if now:
        table.add_row("this run", f"{now['bought_now']:,} requests bought, ${now['spent_now_usd']:.4f} spent")
    return table


def _facts(title: str) -> Table:
    table = Table(title=title, title_justify="left", show_header=False, box=None, padding=(0, 2))
    table.add_column(justify="left", style="bold")
    table.add_column(justify="left")
    return table


def _grid(title: str, *first: str) -> Table:
    """A table without boxes: it fits 80 columns, and can be read when piped."""
    table = Table(title=title, title_justify="left", box=None, padding=(0, 1, 0, 0), header_style="bold")
    for name in first:
        table.add_column(name, no_wrap=True)
    return table


def shards_table(job: Job, seen: "Round | None" = None) -> Grid:
    """One line per shard: where it stands and why."""
    numbers = [Column(name, right=True) for name in ("sent", "answered", "failed", "cost")]
    batch = Column("batch", width_max=BATCH_ID_WIDTH)
    columns = [Column("shard"), Column("state"), batch, *numbers, Column("note")]
    return Grid(f"{job.id}: shards", columns, [_shard_row(job, shard, seen) for shard in job.shards])


def _shard_row(job: Job, shard: Shard, seen: "Round | None") -> list[str]:
    live = seen.live.get(shard.plan.id) if seen else None
    hold = seen.holds.get(shard.plan.id) if seen else None
    answered = shard.counts.get("succeeded") if shard.counts else (live.done if live else shard.done)
    note = hold.reason if hold else shard_note(job, shard)
    return [
        shard.plan.id,
        shard.phase.value,
        _plain(shard.batch_id),
        f"{shard.plan.requests:,}",
        "" if answered is None else f"{answered:,}",
        f"{shard.plan.requests - shard.counts.get('succeeded', 0):,}" if shard.counts else "",
        f"${shard.cost:.4f}" if shard.phase is Phase.settled else "",
        _plain(note),
    ]


def shard_note(job: Job, shard: Shard) -> str:
    """Why a shard is where it is, for a tired person."""
    if shard.phase is Phase.unknown:
        since = f" since {shard.intent_at:%H:%M} UTC" if shard.intent_at else ""
        return f"may or may not have been bought{since}: it is looked for at the provider, not bought again"
    if shard.phase is Phase.planned:
        return shard.reason or "not sent yet"
    if shard.phase is Phase.settled and shard.handed_on:
        return f"{shard.handed_on:,} tried again in {', '.join(child.id for child in shard.children)}"
    if shard.phase is Phase.settled and job.dead(shard):
        return f"{job.dead(shard):,} dead letters"
    return shard.word


def jobs_table(jobs: Iterable[Job]) -> Grid:
    """One line per job of the store."""
    numbers = [Column(name, right=True) for name in ("items", "ok", "failed", "open", "reused", "cost")]
    table = Grid("", [Column("job"), Column("state"), *numbers])
    for job in jobs:
        counts = (job.plan.items, job.succeeded, job.failed, job.in_flight, job.plan.reused)
        table.rows.append([job.id, job.state, *(f"{n:,}" for n in counts), f"${job.cost:.4f}"])
    return table


def purge_lines(holdings: "Holdings", local_only: bool) -> list[str]:
    """What a purge will remove, what it will not, and what that means tomorrow."""
    job = holdings.job
    lines = [
        f"{job.id}: {job.plan.items:,} items, {job.succeeded:,} of them answered.",
        f"  from the store: {holdings.objects:,} objects with prompts, raw answers, answers, summaries and messages",
        "  from DuckDB, which is made anew: the same, in this store's results on this machine",
        "  kept: item ids, the name of the input, counts, tokens, costs, hashes",
    ]
    if local_only:
        lines.insert(2, f"  not at the provider: it keeps what it has of {holdings.batches:,} batches for its own time")
    else:
        lines.insert(2, f"  at the provider: files and results of {holdings.batches:,} batches")
    if holdings.lent:
        lines.append(f"  {holdings.lent:,} items of other jobs reuse its answers and lose them too")
    if holdings.borrowed:
        lines.append(f"  answers to its items are also in other jobs, and stay there: {', '.join(holdings.borrowed)}")
    return [*lines, "  Its items count as not answered from then on: submitted again, they are bought anew."]


def failures_table(job: Job, failures: Iterable["Failure"]) -> Table:
    """Every dead letter with its reason."""
    table = _grid(f"{job.id}: failed items")
    for name in ("item", "attempt", "outcome", "code", "message", "raw answer"):
        table.add_column(name, overflow="fold")
    for failure in failures:
        where = f"{failure.raw_key} line {failure.raw_line}" if failure.raw_key else ""
        cells = (failure.item_id, failure.attempt, failure.outcome, failure.code, failure.message, where)
        table.add_row(*(plain(str(cell or "")) for cell in cells))
    return table


def plain(text: str) -> Text:
    """Foreign text for the terminal: no markup, no control characters (ANSI, OSC)."""
    return Text(_plain(text))


def _plain(text: str) -> str:
    return text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)
