"""Polling: ask every open batch how it is, write down what changed, send what waits. One pass; the loop is in `run`."""

import re
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import zip_longest

from batchjobs.beside import beside
from batchjobs.decide import Hold, Policy, bounce_until, canary_hold
from batchjobs.desk import Desk
from batchjobs.errors import Unreachable
from batchjobs.grace import still_due
from batchjobs.jobs import Job, load_job, reread
from batchjobs.observed import ObservedProvider, statuses
from batchjobs.send import Sender
from batchjobs.shards import Phase, Shard
from providers.contract import Gone, State, Status, Unavailable
from storage.contract import Damaged, Missing
from storage.redaction import as_code

LINE_ERRORS_KEPT_MAX = 1_000
_LIMIT = re.compile(r"[Ll]imit: ([\d,]+)")


@dataclass(slots=True)
class Round:
    """What one pass saw, for the screen: live statuses by shard, why shards are held, what could not be asked."""

    live: dict[str, Status] = field(default_factory=dict)
    holds: dict[str, Hold] = field(default_factory=dict)
    troubles: list[str] = field(default_factory=list)
    unanswered: int = 0  # batches the provider could not be asked about


def poll(desk: Desk, job: Job, others: Iterable[Job] = (), send: bool = True, own: bool = True) -> Round:
    """One pass over a job. Raises Unreachable.

    `others` are the store's other open jobs, for what they hold of the queue. `own` is false for a job that the command
    did not name: then its plan's cap counts, not the command's, and nothing of it is ever bought again.
    """
    seen = Round()
    provider = desk.provider_of(job.plan)
    sent = [shard for shard in job.shards if shard.phase is Phase.sent]
    answers = statuses(provider, [shard.batch_id for shard in sent], desk.env.threads)
    with closing(answers):
        for shard, answer in zip(sent, answers, strict=True):
            _note(desk, job, shard, provider, answer, seen)
    job = load_job(desk.store, job.id)
    if send and any(shard.phase in (Phase.planned, Phase.unknown) for shard in job.shards):
        _send_waiting(desk, job, list(others), provider, seen, own)
    return seen


def _note(
    desk: Desk, job: Job, shard: Shard, provider: ObservedProvider, answer: Callable[[], Status], seen: Round
) -> None:
    """Write down what has changed about one batch."""
    try:
        status = _in_words(answer())
    except Unavailable as error:
        if error.kind == "blocked":
            raise Unreachable(f"{error} Fix it and run the same command again.", passing=False) from None
        seen.troubles.append(f"shard {shard.plan.id}: {error}")
        seen.unanswered += 1
        if error.kind == "absent":
            _note_absence(desk, job, shard, provider)
        return
    except Gone as error:
        status = Status(State.ended, "gone", code="gone", message=str(error))
    seen.live[shard.plan.id] = status
    if status.warning:
        seen.troubles.append(f"shard {shard.plan.id}: {status.warning}")
    if job.cancelled and shard.certain and not shard.plan.wanted and status.state in (State.queued, State.running):
        _stop(shard, provider, seen)
    change = _change(desk, job, shard, status)
    if change is not None:
        desk.append(job.id, shard.plan.id, shard.number, *change)


def _stop(shard: Shard, provider: ObservedProvider, seen: Round) -> None:
    """A batch that was not told of its job's end: bought while `cancel` ran, or out of reach just then."""
    try:
        provider.cancel(shard.batch_id)
    except (Unavailable, Gone) as error:
        seen.troubles.append(f"shard {shard.plan.id}: batch {shard.batch_id} of a cancelled job still runs: {error}")


def _in_words(status: Status) -> Status:
    """The status without what may quote a request where a code should stand: the ledger holds no text."""
    errors = tuple(replace(error, code=as_code(error.code)) for error in status.line_errors)
    return replace(status, word=as_code(status.word), code=as_code(status.code), line_errors=errors)


def _note_absence(desk: Desk, job: Job, shard: Shard, provider: ObservedProvider) -> None:
    """A 404 proves nothing (PROVIDERS §2.9) until the provider has said nothing else for the whole grace period."""
    if still_due(desk, job, shard, timedelta(seconds=provider.format.limits.grace_s)):
        return
    since = shard.misses[0]
    message = f"the provider has not known batch {shard.batch_id} since {since:%Y-%m-%d %H:%M} UTC"
    data = {"batch_id": shard.batch_id, "word": "gone", "code": "gone", "message": message}
    desk.append(job.id, shard.plan.id, shard.number, "ended", data)


def _change(desk: Desk, job: Job, shard: Shard, status: Status) -> tuple[str, dict[str, object]] | None:
    """The ledger record that this status is worth, if any."""
    if status.state is State.rejected and status.no_room:
        return "returned", _returned(desk, job, shard, status)
    if status.state in (State.ended, State.rejected):
        errors = [{"line": e.line, "code": e.code} for e in status.line_errors]
        return (
            "ended",
            {
                "batch_id": shard.batch_id,
                "word": status.word,
                "total": status.total,
                "done": status.done,
                "failed": status.failed,
                "rejected": status.state is State.rejected,
                "code": status.code,  # the provider's message is not kept: it may quote a request
                "line_errors": errors[:LINE_ERRORS_KEPT_MAX],
            },
        )
    if status.word != shard.word or shard.misses:  # what was absent is back
        return "seen", {"word": status.word, "done": status.done}
    return None


def _returned(desk: Desk, job: Job, shard: Shard, status: Status) -> dict[str, object]:
    """Back to waiting: nothing was billed. Where others of ours fill the queue, their end is what to wait for."""
    limit = _LIMIT.search(status.message)
    others = [s for s in job.shards if s.open and s.plan.id != shard.plan.id]
    until = bounce_until(desk.env.now(), shard.bounces, status.retry_after_s)
    return {
        "batch_id": shard.batch_id,
        "kind": "later",
        "code": status.code,
        "message": f"the provider's queue is full ({status.code})",
        "token_limit": int(limit[1].replace(",", "")) if limit else None,
        "not_before": None if others and limit else until.isoformat(),
    }


def _send_waiting(desk: Desk, job: Job, others: list[Job], provider: ObservedProvider, seen: Round, own: bool) -> None:
    known = {s.batch_id for j in (job, *others) for s in j.shards if s.batch_id}
    waiting = [shard for shard in job.shards if shard.phase in (Phase.planned, Phase.unknown)]
    with desk.spool() as spool, beside(min(desk.env.threads, 1)) as begin:
        sender = Sender(desk, job, provider, known, spool, begin)
        for shard, following in zip_longest(waiting, waiting[1:]):
            try:
                hold = sender.step(shard, policy_for(desk, sender.job, others, shard, own), following)
            except (Damaged, Missing) as error:
                hold = Hold(str(error), needs_person=True)
            if hold is None:
                sender.job = reread(desk.store, sender.job, shard)
            else:
                seen.holds[shard.plan.id] = hold


def policy_for(desk: Desk, job: Job, others: list[Job], shard: Shard, own: bool = True) -> Policy:
    """What the decision about one shard needs to know, read off the ledgers."""
    settings = desk.settings
    queue = same_queue(job, others)
    open_tokens = sum(s.plan.tokens for j in queue for s in j.shards if s.open)
    limit = token_limit(settings.max_enqueued_tokens, queue)
    cap = settings.max_cost if own and settings.max_cost is not None else job.plan.max_cost
    provider_format = desk.provider_of(job.plan).format
    grace = settings.grace if settings.grace is not None else provider_format.limits.grace_s
    return Policy(
        now=desk.env.now(),
        grace=timedelta(seconds=grace),
        rebuy_unknown=own and settings.rebuy_unknown,
        cancelled=job.cancelled,
        canary=canary_hold(job, shard),
        room_tokens=None if limit is None else limit - open_tokens,
        queue_idle=open_tokens == 0,
        room_cost=None if cap is None else cap - job.committed,
        requests_min=desk.format_of(job.plan).limits.requests_min,
        idempotent=provider_format.traits.idempotent and not shard.plan.at_once,  # there, a token means nothing
    )


def same_queue(job: Job, others: Iterable[Job]) -> list[Job]:
    """The jobs that share the provider's queue with this one, itself included."""
    mine = (job.plan.provider, job.plan.model)
    return [job, *(other for other in others if (other.plan.provider, other.plan.model) == mine)]


def token_limit(setting: int | None, queue: list[Job]) -> int | None:
    """The queued-token quota: what the person set, and what the provider last said, whichever is smaller."""
    told = [(s.changed_at, s.token_limit) for j in queue for s in j.shards if s.token_limit is not None]
    learned = max(told, default=(None, None), key=lambda pair: str(pair[0]))[1]
    limits = [limit for limit in (setting, learned) if limit is not None]
    return min(limits) if limits else None
