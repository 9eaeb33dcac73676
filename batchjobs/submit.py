"""Submitting: from an input to an accepted plan. Everything before the plan is free and can be repeated."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from itertools import compress
from pathlib import Path

import msgspec
import pyarrow.parquet

import providers
from batchjobs.accept import accept, last_accepted
from batchjobs.asking import endpoint_for, template_for
from batchjobs.beside import Begin, beside
from batchjobs.crew import crew, workers_for
from batchjobs.desk import Desk, need_sdk
from batchjobs.errors import Broken, OverBudget, UsageError
from batchjobs.jobs import is_buried, job_ids, load_all, read_plan
from batchjobs.pack import Packer, Pricing, shard_limits
from batchjobs.plan import Bounds, Plan, TaskRef, identity, job_id, short_id
from batchjobs.prices import FREE, RateCard, quote_as
from batchjobs.project import catch_up, open_results
from batchjobs.render import Reject, Rendered, Renderer, Requests, key_salt
from batchjobs.settings import Settings
from batchjobs.task_files import fingerprint, load_task
from batchjobs.tasks import Task
from batchjobs.views import view_of
from providers.contract import EMBEDDINGS, Format, Limits, Prompt, RequestTemplate
from storage.content import file_sha8
from storage.inputs import Chunk, Input, open_input
from storage.layout import carried_key, rejects_key
from storage.results import Results, Verdict
from storage.tables import CARRIED, REJECTS, TableWriter

SCREENED_REQUESTS = 10_000  # looked up in the database, and packed, together
SCREENED_BYTES = 16_000_000
ROOM_BYTES_PER_TOKEN = 3  # the same upper estimate that the cap uses: what fits here fits the model


@dataclass(frozen=True, slots=True)
class Order:
    """What a person asked for: a task over a set of items, at a provider, with everything resolved."""

    source: str
    query: str | None
    task: Task
    task_spec: str
    fingerprint: str
    provider: str
    endpoint: str
    served_by: str
    template: RequestTemplate
    rates: RateCard
    format: Format


@dataclass(frozen=True, slots=True)
class Submission:
    """An accepted plan, or with `dry_run` the plan that would be."""

    plan: Plan
    already: bool = False  # this very job was accepted before


def resolve(settings: Settings, source: str, query: str | None, desk: Desk) -> Order:
    """Turn settings into an order. Raises UsageError for an unknown task, provider, endpoint, model or price."""
    task = load_task(settings.task, Path.cwd())
    provider, endpoint = settings.provider, endpoint_for(settings, task)
    request_format = _format(settings, provider, endpoint)
    if request_format.traits.reads_store and not settings.store.startswith("s3://"):
        raise UsageError(f"Provider {provider} reads and writes S3 itself: use --store s3://bucket/prefix.")
    model = settings.model or task.models.get(provider)
    if model is None:
        raise UsageError(f"Task {task.name} names no default model for {provider}: pass --model{_called(provider)}.")
    rates = _rates(settings, provider, model, desk.env.now())
    template = template_for(settings, task, model)
    _try(request_format, template, settings.task)
    return Order(
        source=source,
        query=query,
        task=task,
        task_spec=settings.task,
        fingerprint=fingerprint(task),
        provider=provider,
        endpoint=endpoint,
        served_by=_host(settings, provider),
        template=template,
        rates=rates,
        format=request_format,
    )


def _rates(settings: Settings, provider: str, model: str, now: datetime) -> RateCard:
    """The prices, or none where none is known and the person said to go without."""
    try:
        return quote_as(provider, model, settings.price_as, now)
    except UsageError:
        if not settings.no_price or settings.max_cost is not None:
            raise
        return FREE


def _try(request_format: Format, template: RequestTemplate, task: str) -> None:
    """A schema the provider cannot enforce is told before the first item, not once per item."""
    try:
        request_format.encode(template, Prompt("", ""))
    except ValueError as error:
        raise UsageError(f"Task {task} cannot be asked of this provider: {error}") from None


def _format(settings: Settings, provider: str, endpoint: str) -> Format:
    try:
        return providers.load_format(provider, endpoint, settings.compatible)
    except ValueError as error:
        if endpoint != EMBEDDINGS or provider not in providers.NAMES:
            raise UsageError(str(error)) from None
        advice = "ask openai, or a compatible server whose embeddings_path is set"
        raise UsageError(f"Task {settings.task} asks for embeddings, and {provider} has none: {advice}.") from None


def _host(settings: Settings, provider: str) -> str:
    try:
        return providers.served_by(provider, settings.compatible)
    except ValueError as error:
        raise UsageError(str(error)) from None


def _check_options(settings: Settings, provider: str) -> None:
    """What the provider would refuse at the first purchase is told before the first item."""
    try:
        providers.check_options(provider, settings.options_of(provider))
    except ValueError as error:
        raise UsageError(f"{error} Nothing was packed.") from None


def _called(provider: str) -> str:
    return " with the name of your deployment" if providers.traits(provider).names_deployments else ""


def submit(desk: Desk, order: Order, dry_run: bool = False) -> Submission:
    """Accept a job: idempotent, and free. The caller holds the desk. Raises OverBudget, UsageError."""
    if not dry_run:
        need_sdk(order.provider)
        _check_options(desk.settings, order.provider)
    lacking = order.format.shortfall(order.template)
    if lacking:
        desk.say(lacking)
    with desk.spool() as spool:
        items = open_input(order.source, query=order.query, spool_dir=spool)
        while True:
            made = _submit_once(desk, order, items, spool, dry_run)
            if made is not None:
                return made
            desk.say("another machine accepted a job with some of these items meanwhile: packing again")


def _submit_once(desk: Desk, order: Order, items: Input, spool: Path, dry_run: bool) -> Submission | None:
    """None where another machine accepted a job meanwhile that holds some of the same requests."""
    last = last_accepted(desk)
    mark = _unpurged(desk, order, _identity(order, items.sha256))
    earlier = _accepted_before(desk, order, mark)
    if earlier is not None:
        return Submission(earlier, already=True)
    order.format.limits = _measured(desk, order)
    renderer = _renderer(desk.settings, order)
    # Before the database is open: a process with threads cannot be forked.
    with crew(renderer.rendered, workers_for(items.bytes)) as rendered, open_results(desk) as results:
        _learn(desk, results)
        packing = _Packing(desk, order, job_id(desk.env.now(), order.task.name, mark), spool, results)
        plan = packing.run(items, rendered, dry_run)
        return Submission(plan) if dry_run else _accepted(desk, plan, last, results)


def _accepted(desk: Desk, plan: Plan, last: int, results: Results) -> Submission | None:
    _check_budget(plan, desk.settings.max_cost)
    while not accept(desk, plan, last):
        last = last_accepted(desk)
        _learn(desk, results)
        if plan.job in job_ids(desk.store) or results.screened_elsewhere():
            return None
    return Submission(plan)


def _measured(desk: Desk, order: Order) -> Limits:
    """What the provider takes now. It is asked for a new job alone: the plan of an accepted one holds its limits."""
    documented = _format(desk.settings, order.provider, order.endpoint)
    return providers.measure(documented, order.template.model, desk.settings.options_of(order.provider)).limits


def _learn(desk: Desk, results: Results) -> None:
    """Know everything that was bought before. Raises Broken where it cannot be told: the same could be bought again."""
    unread = catch_up(desk, results)
    if unread:
        raise Broken(f"Nothing was packed, because the store is damaged. {unread[0]}")


def _identity(order: Order, input_sha256: str) -> str:
    t = order.template
    return identity(
        order.fingerprint, order.provider, order.served_by, order.endpoint, t.model, t.max_output_tokens, t.temperature,
        input_sha256,
    )  # fmt: skip


def _unpurged(desk: Desk, order: Order, mark: str) -> str:
    """The mark itself, or where such a job was purged another: its answers are gone, so the same order buys anew."""
    while any(is_buried(desk.store, job) for job in _same_order(desk, order, mark)):
        mark = identity(mark, "purged")
    return mark


def _same_order(desk: Desk, order: Order, mark: str) -> list[str]:
    return [job for job in job_ids(desk.store) if job.endswith(f"-{order.task.name}-{mark}")]


def _accepted_before(desk: Desk, order: Order, mark: str) -> Plan | None:
    """The same order accepted today, or accepted earlier and not finished yet: a night passes midnight."""
    today = job_id(desk.env.now(), order.task.name, mark)
    same = _same_order(desk, order, mark)
    if today in same:
        return read_plan(desk.store, today)
    unfinished = [job for job in load_all(desk.store)[0] if job.id in same and not job.finished]
    return unfinished[-1].plan if unfinished else None


def _check_budget(plan: Plan, cap: Decimal | None) -> None:
    if cap is not None and plan.ceiling_cost > cap:
        raise OverBudget(
            f"Job {plan.job} could cost up to ${plan.ceiling_cost:.2f} (likely ${plan.estimated_cost:.2f}), "
            f"the cap is ${cap:.2f}: nothing was bought; raise --max-cost or send fewer items."
        )


def _renderer(settings: Settings, order: Order) -> Renderer:
    model = "" if order.format.traits.names_model else order.template.model
    salt = key_salt(order.provider, order.served_by, order.endpoint, order.task, model)
    context = order.rates.context_tokens
    room = settings.max_input_tokens
    if context is not None:
        room = min(room, context - order.template.max_output_tokens)
    room_bytes = room * ROOM_BYTES_PER_TOKEN
    return Renderer(order.task, order.template, order.format, order.served_by, order.endpoint, room_bytes, salt)


Spread = Callable[[Iterable[Chunk]], Iterator[Rendered]]


@dataclass(slots=True)
class _Packing:
    """One pass over the input: render, key, drop what needs no purchase, pack the rest."""

    desk: Desk
    order: Order
    job: str
    spool: Path
    results: Results
    lines: int = 0
    items: int = 0
    duplicates: int = 0
    reused: int = 0
    sync_cost: Decimal = Decimal(0)
    carried: TableWriter = field(init=False)
    rejects: TableWriter = field(init=False)

    def __post_init__(self) -> None:
        self.carried = TableWriter(self.spool / "carried.parquet", CARRIED)
        self.rejects = TableWriter(self.spool / "rejects.parquet", REJECTS)

    def run(self, items: Input, rendered: Spread, dry_run: bool) -> Plan:
        with beside(min(self.desk.env.threads, 1)) as begin:
            packer = self._packer(begin, dry_run)
            at_once = packer.pricing.estimate(at_once=True)
            self.results.start_screening()
            for requests in self._requests(items, rendered):
                new = self._screen(items.name, requests)
                at_once.add(list(map(len, new.bodies)))
                packer.add(new)
            packer.close()
        self.sync_cost = at_once.likely.total
        return self._plan(items, packer, dry_run)

    def _requests(self, items: Input, rendered: Spread) -> Iterator[Requests]:
        """All that could be rendered, as much at a time as is worth screening at once."""
        some, size = Requests(), 0
        for made in rendered(items.chunks()):
            self.lines = max(self.lines, made.last)
            for reject in made.rejects:
                self._reject(items.name, reject)
            some.extend(made.requests)
            size += sum(map(len, made.requests.bodies))
            if len(some) >= SCREENED_REQUESTS or size >= SCREENED_BYTES:
                yield some
                some, size = Requests(), 0
        if some:
            yield some

    def _reject(self, source: str, reject: Reject) -> None:
        if self.desk.settings.strict:
            raise UsageError(
                f"{source} line {reject.line} is rejected ({reject.reason}: {reject.detail}): nothing was sent."
            )
        self.rejects.add((source, reject.line, reject.item_id, reject.reason, reject.detail))

    def _screen(self, source: str, requests: Requests) -> Requests:
        """Only what must be bought; everything else is noted as rejected or carried."""
        verdicts = self.results.screen(requests.item_ids, requests.keys)
        new = [verdict is Verdict.new for verdict in verdicts]
        self.items += len(requests) - verdicts.count(Verdict.duplicate)
        if all(new):
            return requests
        self._reject_twins(source, requests, verdicts)
        self._carry(requests, verdicts)
        return requests.only(new)

    def _reject_twins(self, source: str, requests: Requests, verdicts: list[Verdict]) -> None:
        twins = requests.only([verdict is Verdict.duplicate for verdict in verdicts])
        self.duplicates += len(twins)
        for line, item_id in zip(twins.lines, twins.item_ids, strict=True):
            self._reject(source, Reject(line, item_id, "duplicate_id", "this id came earlier"))

    def _carry(self, requests: Requests, verdicts: list[Verdict]) -> None:
        bought = [verdict not in (Verdict.new, Verdict.duplicate) for verdict in verdicts]
        carried, hows = requests.only(bought), list(compress(verdicts, bought))
        self.reused += hows.count(Verdict.reused)
        self.carried.extend([carried.item_ids, carried.keys, [how.value for how in hows], carried.summaries])

    def _packer(self, begin: Begin, dry_run: bool) -> Packer:
        settings, order = self.desk.settings, self.order
        tokens = settings.max_enqueued_tokens
        return Packer(
            store=_Nowhere() if dry_run else self.desk.store,
            format=order.format,
            job=self.job,
            short=short_id(self.job),
            attempt=1,
            limits=shard_limits(order.format, settings.shard_requests, settings.shard_bytes, tokens),
            pricing=Pricing(order.rates, order.template.max_output_tokens),
            spool=self.spool,
            names=(f"1-{n:05d}" for n in itertools.count(1)),
            first_requests=settings.canary,
            begin=begin,
        )

    def _plan(self, items: Input, packer: Packer, dry_run: bool) -> Plan:
        order, settings, shards = self.order, self.desk.settings, tuple(packer.shards)
        return Plan(
            job=self.job,
            created_at=self.desk.env.now(),
            task=TaskRef(order.task_spec, order.task.name, order.task.version, order.fingerprint, view_of(order.task)),
            provider=order.provider,
            endpoint=order.endpoint,
            served_by=order.served_by,
            model=order.template.model,
            max_output_tokens=order.template.max_output_tokens,
            temperature=order.template.temperature,
            rates=order.rates,
            source=items.name,
            input_sha256=items.sha256,
            lines=self.lines,
            items=self.items,
            rejected=self.rejects.rows - self.duplicates,
            duplicates=self.duplicates,
            reused=self.reused,
            carried=self.carried.rows - self.reused,
            requests=sum(shard.requests for shard in shards),
            estimated_cost=sum((shard.estimated_cost for shard in shards), Decimal(0)),
            estimated_sync_cost=self.sync_cost,
            ceiling_cost=sum((shard.ceiling_cost for shard in shards), Decimal(0)),
            max_attempts=settings.max_attempts,
            shards=shards,
            max_cost=settings.max_cost,
            canary=settings.canary,
            carried_key=None if dry_run else self._keep(self.carried, carried_key),
            rejects_key=None if dry_run else self._keep(self.rejects, rejects_key),
            bounds=self._bounds(),
        )

    def _bounds(self) -> Bounds | None:
        limits = self.order.format.limits
        if not self.order.format.traits.limits_vary:
            return None
        return Bounds(limits.requests_min, limits.requests, limits.bytes)

    def _keep(self, table: TableWriter, make_key: Callable[[str, str], str]) -> str | None:
        """Put the carried items, or the rejects, beside the plan that will name them."""
        table.close()
        if not table.rows:
            return None
        key = make_key(self.job, file_sha8(table.path))
        self.desk.store.create_from(key, table.path)
        return key


def rejects_path(desk: Desk, job: str) -> Path:
    """Where the rejects of a job are written for people."""
    return desk.results_path.with_name(f"{job}.rejects.jsonl")


def write_rejects(desk: Desk, plan: Plan, path: Path) -> None:
    """Write them, a line each: source, line, item id, reason. The file is there whole, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.new")
    with desk.intact(plan.rejects_key or "") as table, fresh.open("wb") as out:
        for batch in pyarrow.parquet.ParquetFile(table).iter_batches():
            out.writelines(msgspec.json.encode(row) + b"\n" for row in batch.to_pylist())
    fresh.replace(path)


class _Nowhere:
    """The store of a dry run: everything can be written, nothing is kept."""

    def create_from(self, key: str, path: Path) -> None:
        """Forget it."""
