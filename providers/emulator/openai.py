"""The emulated OpenAI and those that speak like it: batches, synchronous endpoints (PROVIDERS §1, §6, §7, §10)."""

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Any

from providers.emulator import openai_replies as replies
from providers.emulator.batches import Batch, Phase, Registry, plan
from providers.emulator.faults import Fault
from providers.emulator.openai_create import Asked, ordered_rejection, token_limit, validated
from providers.emulator.openai_dialects import OPENAI, Dialect
from providers.emulator.openai_files import Files, StoredFile, page_size, problem, read_object
from providers.emulator.openai_lines import Scan, complaint, executed, unexecuted
from providers.emulator.openai_models import Models
from providers.emulator.openai_requests import known
from providers.emulator.wire import Call, Handler, Problem, Reply, Route
from providers.emulator.work import Sheet
from providers.emulator.world import Charge, Patience, World

_WORDS = {
    Phase.validating: "validating",
    Phase.rejected: "failed",
    Phase.running: "in_progress",
    Phase.finalizing: "finalizing",
    Phase.completed: "completed",
    Phase.stopping: "cancelling",
    Phase.stopped: "cancelled",
    Phase.expired: "expired",
}


@dataclass(slots=True)
class _Extra:
    """What only an OpenAI batch has."""

    asked: Asked
    errors: list[dict[str, Any]]
    output: StoredFile | None = None
    error: StoredFile | None = None


class OpenAI:
    """One organisation at OpenAI, or at another server by its dialect."""

    def __init__(self, world: World, dialect: Dialect = OPENAI) -> None:
        self.name = dialect.name
        self._world = world
        self._dialect = dialect
        self._files = Files(world, dialect)
        self._models = Models(world, dialect)
        self._registry = Registry(world, self._close)
        self._extras: dict[str, _Extra] = {}
        self._created: list[float] = []

    def routes(self) -> list[Route]:
        own = [
            *self._files.routes(),
            Route("POST", "/batches", self._create),
            Route("GET", "/batches", self._list),
            Route("GET", "/batches/{}", self._retrieve),
        ]
        if self._dialect.cancels:
            own.append(Route("POST", "/batches/{}/cancel", self._cancel))
        if self._dialect is OPENAI:
            own += [Route("GET", "/models", self._list_models), Route("GET", "/models/{}", self._model)]
            paths = self._models.endpoints
            own += [Route("POST", path.removeprefix("/v1"), partial(self._direct, path)) for path in paths]
        return [
            replace(route, path=base + route.path, handler=self._worded(route.handler))
            for base in self._dialect.bases
            for route in own
        ]

    def _worded(self, handler: Handler) -> Handler:
        """The handler with errors in this server's own shape."""

        def handle(call: Call) -> Reply:
            try:
                return handler(call)
            except Problem as problem:
                reply = problem.reply
                raise Problem(self._error(reply.status, reply.document)) from None

        return handle

    def _error(self, status: int, document: Any) -> Reply:
        return Reply(status, self._dialect.error(status, document))

    def batches(self) -> list[Batch]:
        """Every accepted batch, oldest first."""
        return self._registry.all()

    def word(self, batch: Batch, patience: Patience) -> str:
        """The batch's status now, in OpenAI's words whoever tells it."""
        return _WORDS[self._phase(batch, self._world.clock.now(), patience)]

    def claims(self, call: Call) -> bool:
        """OpenAI itself takes what nobody else does."""
        return self._dialect is OPENAI or call.path.split("/")[1] == self._dialect.bases[0].split("/")[1]

    def check(self, call: Call) -> Reply | None:
        """The refusal of a call without a key, or where one is wanted without a version."""
        keys = [call.headers.get(name, "").removeprefix("Bearer ").strip() for name in self._dialect.key_headers]
        if not any(keys):
            text = "You didn't provide an API key. You need to provide your API key in an Authorization header."
            return self._error(401, replies.error(text))
        newer = any(call.path.startswith(f"{base}/v1/") for base in self._dialect.versioned)
        if self._dialect.versioned and not newer and "api-version" not in call.query:
            return self._error(404, replies.error("Resource not found"))
        return None

    def sorry(self, status: int, fault: Fault) -> Reply:
        """An ordered error, in OpenAI's words."""
        kinds = {404: "invalid_request_error", 429: "requests"}
        kind = fault.kind or kinds.get(status, "server_error" if status >= 500 else "invalid_request_error")
        code = fault.code or ("rate_limit_exceeded" if status == 429 else None)
        return self._error(status, replies.error(fault.message or f"Ordered error {status}.", kind=kind, code=code))

    def not_found(self, call: Call) -> Reply:
        """A 404 for the object a path names."""
        base = max((one for one in self._dialect.bases if call.path.startswith(f"{one}/")), key=len, default="")
        kind, _, named = call.path.removeprefix(f"{base}/").partition("/")
        if not named or kind not in {"batches", "files"}:
            return self._error(404, replies.error(f"Invalid URL ({call.method} {call.path})"))
        named = named.partition("/")[0]
        if kind == "files":
            return self._error(404, replies.error(f"No such File object: {named}", param="id"))
        return self._error(404, replies.error(f"No batch found with id '{named}'."))

    def headers(self) -> dict[str, str]:
        """What every reply carries (PROVIDERS §1.4)."""
        return {
            "x-request-id": f"req_{self._world.new_id()}",
            "openai-processing-ms": "42",
            "openai-version": "2020-10-01",
            "openai-organization": "org-emulator",
        }

    def _create(self, call: Call) -> Reply:
        asked = validated(read_object(call), self._dialect)
        with self._world.lock:
            self._limit_rate()
        sheet, errors = self._scanned(asked)
        with self._world.lock:
            errors = errors or ordered_rejection(call.faults, sheet.model) or self._overflow(sheet)
            batch = self._accept(asked, sheet, errors, call.faults)
        document = self._document(batch, batch.plan.created)
        return Reply(document={"job": document, "warning": None} if self._dialect.wraps else document)

    def _limit_rate(self) -> None:
        most = self._world.settings.batches_per_hour
        recent = len(self._created) - bisect_left(self._created, self._world.clock.now() - 3_600)
        if recent >= most:
            text = f"Rate limit reached: at most {most} batches may be created per hour."
            raise problem(429, text, kind="requests", code="rate_limit_exceeded")

    def _scanned(self, asked: Asked) -> tuple[Sheet, list[dict[str, Any]]]:
        stored = self._files.find(asked.input_file_id)
        if stored is None or stored.purpose != "batch":
            text = (
                f"Cannot find file {asked.input_file_id}, or {self._dialect.organisation} does not have access to it."
            )
            return Sheet.empty(), [complaint("invalid_request", text, param="file_id")]
        scan = Scan(stored.path, asked.endpoint, self._dialect, self._world.settings)
        return scan.sheet, scan.complaints

    def _overflow(self, sheet: Sheet) -> list[dict[str, Any]]:
        """The complaint when the batch does not fit the queue; some accounts are refused at once (PROVIDERS §1.2)."""
        settings, now = self._world.settings, self._world.clock.now()
        limit = settings.enqueued_token_limit
        live = [one for one in self.batches() if one.sheet.model == sheet.model and not one.plan.rejected]
        queued = sum(one.sheet.tokens for one in live if not one.phase(now).over)
        if limit is None or queued + sheet.tokens <= limit:
            return []
        entry = token_limit(sheet.model, limit, self._dialect.organisation)
        if self._dialect.plain_errors:  # the code of such an error is no more than its kind (PROVIDERS §6)
            raise problem(400, f"{entry['code']}: {entry['message']}", code="BadRequest")
        if settings.refuse_at_create:
            raise problem(400, entry["message"], code=entry["code"])
        return [entry]

    def _accept(self, asked: Asked, sheet: Sheet, errors: list[dict[str, Any]], faults: tuple[Fault, ...]) -> Batch:
        world = self._world
        batch_id = f"batch_{self._dialect.batch_id(world)}"
        timing = plan(
            world.clock.now(),
            world.settings.batch_seconds,
            faults,
            rejected=bool(errors),
            window_s=asked.window_s,
        )
        own = sheet if errors else sheet.linked(world.folder / f"{batch_id}.requests")
        label = dict(asked.metadata or {})
        batch = Batch(self.name, batch_id, timing, own, label, faults, world.settings.cancel_seconds)
        self._extras[batch_id] = _Extra(asked, errors)
        if errors and self._dialect.empty_files:
            self._name_nothing(batch)
        self._created.append(timing.created)
        self._registry.accept(batch, partial(executed, self._models, asked.endpoint, batch_id, batch.forced()))
        return batch

    def _retrieve(self, call: Call) -> Reply:
        return Reply(document=self._document(self._found(call.args[0]), self._world.clock.now() - call.behind_s))

    def _list(self, call: Call) -> Reply:
        now = self._world.clock.now() - call.behind_s
        limit, patience = page_size(call, 20, 100), self._world.patience()
        shown = [one for one in reversed(self.batches()) if one.listed(now)]
        if self._dialect.oldest_first:
            shown.reverse()
        ids = [one.id for one in shown]
        after = call.query.get("after")
        if after is not None and after not in ids:
            raise problem(404, f"No batch found with id '{after}'.", param="after")
        start = ids.index(after) + 1 if after is not None else 0
        page = [self._document(one, now, patience) for one in shown[start : start + limit]]
        ends = {"first_id": page[0]["id"] if page else None, "last_id": page[-1]["id"] if page else None}
        return Reply(document={"object": "list", "data": page, **ends, "has_more": start + limit < len(shown)})

    def _cancel(self, call: Call) -> Reply:
        batch = self._found(call.args[0])
        with batch.lock:
            now = self._world.clock.now()
            phase = self._phase(batch, now, self._world.patience())
            if phase in {Phase.completed, Phase.rejected, Phase.expired}:
                raise problem(409, f"Cannot cancel a batch with status '{_WORDS[phase]}'.")
            if batch.cancelled_at is None:
                batch.cancelled_at = now
        return Reply(document=self._document(batch, now))

    def _direct(self, endpoint: str, call: Call) -> Reply:
        served = self._models.serve(endpoint, call.body.read())
        if served.status == 200:
            prompt, spent, produced = served.digest.hex(), served.spent.total, served.output_tokens
            self._world.charge(Charge(self.name, "", {}, "", prompt, spent, produced))
        return Reply(served.status, served.document)

    def _list_models(self, _call: Call) -> Reply:
        return Reply(document={"object": "list", "data": [_model(name) for name in _MODELS]})

    def _model(self, call: Call) -> Reply:
        if not known(call.args[0]):
            raise problem(404, f"The model '{call.args[0]}' does not exist", param="model", code="model_not_found")
        return Reply(document=_model(call.args[0]))

    def _found(self, batch_id: str) -> Batch:
        batch = self._registry.find(batch_id)
        if batch is None:
            raise problem(404, f"No batch found with id '{batch_id}'.")
        return batch

    def _phase(self, batch: Batch, now: float, patience: Patience) -> Phase:
        """The phase shown; a batch whose results are still in the making is not over."""
        settled = self._registry.settled(batch, patience)
        phase = batch.phase(now)
        if phase.over and not settled:
            return Phase.stopping if phase is Phase.stopped else Phase.finalizing
        return phase

    def _close(self, batch: Batch, rest: Iterator[bytes]) -> None:
        """Make the result files; items that never ran go to the error file (PROVIDERS §1.3)."""
        work, extra = batch.work, self._extras[batch.id]
        if work is None:
            return
        ended = batch.ended_at()
        code = "batch_expired" if batch.phase(ended) is Phase.expired else "batch_cancelled"
        if not (code == "batch_cancelled" and batch.has("cancelled_absent")):
            with work.errors.open("ab") as file:
                file.writelines(unexecuted(batch.id, code, line) for line in rest)
        extra.output = self._kept(batch, "output", work.output)
        extra.error = self._kept(batch, "error", work.errors)

    def _kept(self, batch: Batch, kind: str, path: Path) -> StoredFile | None:
        """A result file on the shelf; an empty one is none, or at some servers one that holds nothing."""
        kept_s = self._extras[batch.id].asked.kept_s
        name = f"{batch.id}_{kind}.jsonl"
        if not path.stat().st_size and not self._dialect.empty_files:
            return None
        return self._files.put(path, name, "batch_output", batch.ended_at(), kept_s)

    def _name_nothing(self, batch: Batch) -> None:
        """Result files of a batch that never ran, which hold nothing (PROVIDERS §6)."""
        extra = self._extras[batch.id]
        for kind in ("output", "error"):
            path = self._world.folder / f"{batch.id}.{kind}"
            path.touch()
            setattr(extra, kind, self._kept(batch, kind, path))

    def _document(self, batch: Batch, now: float, patience: Patience | None = None) -> dict[str, Any]:
        patience = patience or self._world.patience()
        phase = self._phase(batch, now, patience)
        extra = self._extras[batch.id]
        readable = phase in {Phase.completed, Phase.stopped, Phase.expired} and now >= batch.results_at()
        readable |= phase is Phase.rejected
        tally = batch.tally(now, patience)
        times = _times(batch, phase, now)
        none = self._dialect.no_file
        missing = "" if batch.has("empty_error_file_id") else none
        uncounted = self._dialect.empty_files and phase is Phase.rejected
        told = {
            "id": batch.id,
            "object": "batch",
            "endpoint": extra.asked.endpoint,
            "model": self._dialect.model(batch.sheet.model, self._world.settings),
            "errors": {"object": "list", "data": extra.errors} if phase is Phase.rejected else None,
            "input_file_id": extra.asked.input_file_id,
            "completion_window": extra.asked.window,
            "status": _WORDS[phase],
            "output_file_id": extra.output.id if readable and extra.output else none,
            "error_file_id": extra.error.id if readable and extra.error else missing,
            **times,
            "request_counts": {
                "total": batch.sheet.total if times["in_progress_at"] else 0,
                "completed": None if uncounted else tally.succeeded,
                "failed": None if uncounted else tally.failed,
            },
            "usage": {
                "input_tokens": tally.input_tokens,
                "input_tokens_details": {"cached_tokens": tally.cached_tokens},
                "output_tokens": tally.output_tokens,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": tally.input_tokens + tally.output_tokens,
            },
            "metadata": extra.asked.metadata,
        }
        return self._dialect.document(told)


_MODELS = ("gpt-4o-mini", "gpt-4.1-mini", "gpt-4.1", "gpt-5-nano", "gpt-5-mini", "gpt-5")


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 1_700_000_000, "owned_by": "openai"}


def _times(batch: Batch, phase: Phase, now: float) -> dict[str, int | None]:
    """The nine timestamps: unix seconds, null until reached."""
    timing, cancelled = batch.plan, batch.cancelled_at
    until = now if cancelled is None else min(now, cancelled)
    ran = not timing.rejected and until >= timing.starts
    done = ran and timing.stalls >= 1 and until >= timing.executed and timing.executed <= timing.expires
    ended = int(batch.ended_at()) if phase.over else None
    return {
        "created_at": int(timing.created),
        "in_progress_at": int(timing.starts) if ran else None,
        "expires_at": int(timing.expires if isfinite(timing.expires) else timing.created + 86_400),
        "finalizing_at": int(timing.executed) if done else None,
        "completed_at": ended if phase is Phase.completed else None,
        "failed_at": ended if phase is Phase.rejected else None,
        "expired_at": ended if phase is Phase.expired else None,
        "cancelling_at": int(cancelled) if phase in {Phase.stopping, Phase.stopped} and cancelled is not None else None,
        "cancelled_at": ended if phase is Phase.stopped else None,
    }
