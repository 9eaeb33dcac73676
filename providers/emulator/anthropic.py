"""The emulated Anthropic: message batches and messages, as PROVIDERS §2 and §10 describe them."""

import re
from array import array
from collections.abc import Iterator
from mmap import ACCESS_READ, mmap
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import msgspec

from providers.emulator import anthropic_items as items
from providers.emulator.batches import Batch, Phase, Registry, plan
from providers.emulator.faults import Fault
from providers.emulator.wire import Call, Problem, Reply, Route, file_chunks
from providers.emulator.work import Sheet, common_prefix
from providers.emulator.world import Charge, Patience, World, moment, read_json

MAX_REQUESTS = 100_000  # PROVIDERS §2.2
RETENTION_S = 29 * 86_400  # after the batch was created (PROVIDERS §2.2)
_CUSTOM_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


class _Create(msgspec.Struct):
    requests: list[items.Item]


_CREATE = msgspec.json.Decoder(_Create)  # made here: two threads that are the first to use a type end the process


VARIABLES = {"ANTHROPIC_BASE_URL": "{url}", "ANTHROPIC_API_KEY": "{key}"}


class Anthropic:
    """One workspace at Anthropic."""

    name = "anthropic"

    def __init__(self, world: World) -> None:
        self._world = world
        self._models = items.Models(world)
        self._registry = Registry(world, self._close)

    def routes(self) -> list[Route]:
        return [
            Route("POST", "/v1/messages/batches", self._create),
            Route("GET", "/v1/messages/batches", self._list),
            Route("GET", "/v1/messages/batches/{}", self._retrieve),
            Route("DELETE", "/v1/messages/batches/{}", self._delete),
            Route("POST", "/v1/messages/batches/{}/cancel", self._cancel),
            Route("GET", "/v1/messages/batches/{}/results", self._results),
            Route("POST", "/v1/messages", self._direct),
            Route("POST", "/v1/messages/count_tokens", self._count_tokens),
            Route("GET", "/v1/models", self._list_models),
            Route("GET", "/v1/models/{}", self._model),
        ]

    def batches(self) -> list[Batch]:
        """Every accepted batch, oldest first."""
        return self._registry.all()

    def word(self, batch: Batch, patience: Patience) -> str:
        """The batch's status now, in Anthropic's words."""
        return self._word(batch, self._world.clock.now(), patience)

    def claims(self, call: Call) -> bool:
        return "anthropic-version" in call.headers or call.path.startswith("/v1/messages")

    def check(self, call: Call) -> Reply | None:
        """The refusal of a call without a key or a version."""
        if not call.headers.get("x-api-key") and not call.headers.get("authorization"):
            return self._error(401, "x-api-key header is required")
        if not call.headers.get("anthropic-version"):
            return self._error(400, "anthropic-version: header is required")
        return None

    def sorry(self, status: int, fault: Fault) -> Reply:
        """An ordered error, in Anthropic's words."""
        return self._error(status, fault.message or f"Ordered error {status}.", kind=fault.kind, code=fault.code)

    def not_found(self, call: Call) -> Reply:
        """A 404 for the object a path names."""
        return self._error(404, f"Not found: {call.path.split('/')[-1]}")

    def headers(self) -> dict[str, str]:
        """What every reply carries."""
        return {"request-id": self._request_id(), "anthropic-organization-id": "emulator"}

    def _request_id(self) -> str:
        return f"req_{self._world.new_id(24, _BASE58)}"

    def _error(self, status: int, message: str, *, kind: str = "", code: str = "") -> Reply:
        request_id = self._request_id()
        return Reply(
            status, items.error(status, message, request_id, kind=kind, code=code), headers={"request-id": request_id}
        )

    def _problem(self, status: int, message: str) -> Problem:
        return Problem(self._error(status, message))

    def _create(self, call: Call) -> Reply:
        entries = self._entries(call)
        faults = call.faults
        self._refuse_if_ordered(faults)
        batch_id = f"msgbatch_{self._world.new_id(24, _BASE58)}"
        sheet = _stored(self._world.folder / f"{batch_id}.requests", entries)
        with self._world.lock:
            try:
                self._limit_queue(sheet.total)
            except Problem:
                sheet.source.unlink()
                raise
            batch = self._accept(batch_id, sheet, call.headers["anthropic-version"], faults)
        return Reply(document=self._document(batch, batch.plan.created, call))

    def _entries(self, call: Call) -> list[items.Item]:
        """The synchronous checks of a create (PROVIDERS §10)."""
        try:
            entries = _CREATE.decode(self._body(call)).requests
        except msgspec.DecodeError as wrong:
            raise self._problem(400, f"requests: {str(wrong).split(' - at ')[0]}") from None
        if not entries:
            raise self._problem(400, "requests: List should have at least 1 item")
        if len(entries) > MAX_REQUESTS:
            raise self._problem(413, f"requests: a batch has at most {MAX_REQUESTS} requests")
        seen: set[str] = set()
        for index, entry in enumerate(entries):
            if not _CUSTOM_ID.fullmatch(entry.custom_id):
                raise self._problem(
                    400, f"requests.{index}.custom_id: String should match pattern '^[a-zA-Z0-9_-]{{1,64}}$'"
                )
            if entry.custom_id in seen:
                raise self._problem(400, f"requests.{index}.custom_id: must be unique within the batch")
            if not bytes(entry.params).startswith(b"{"):
                raise self._problem(400, f"requests.{index}.params: Input should be an object")
            seen.add(entry.custom_id)
        return entries

    def _body(self, call: Call) -> mmap:
        """The body, mapped from a file that has no name any more: it may be 256 MB."""
        limit = self._world.settings.body_bytes
        with TemporaryFile(dir=self._world.folder) as file:
            for chunk in call.body.chunks():
                file.write(chunk)
                if file.tell() > limit:
                    raise self._problem(413, f"Request exceeds the maximum size of {limit} bytes")
            file.flush()
            if not file.tell():
                raise self._problem(400, "The request body is empty.")
            return mmap(file.fileno(), 0, access=ACCESS_READ)

    def _refuse_if_ordered(self, faults: tuple[Fault, ...]) -> None:
        for fault in faults:
            if fault.action == "reject":
                raise Problem(self.sorry(fault.status or 429, fault))

    def _limit_queue(self, more: int) -> None:
        limit = self._world.settings.queued_request_limit
        if limit is None:
            return
        now = self._world.clock.now()
        queued = sum(one.sheet.total - one.executed(now) for one in self.batches() if not one.phase(now).over)
        if queued + more > limit:
            raise self._problem(429, f"This request would exceed the limit of {limit} batch requests in the queue.")

    def _accept(self, batch_id: str, sheet: Sheet, version: str, faults: tuple[Fault, ...]) -> Batch:
        world = self._world
        timing = plan(world.clock.now(), world.settings.batch_seconds, faults, rejected=False)
        batch = Batch(self.name, batch_id, timing, sheet, {}, faults, world.settings.cancel_seconds)
        self._registry.accept(batch, items.executor(self._models, version, batch.forced()), together=True)
        return batch

    def _retrieve(self, call: Call) -> Reply:
        batch = self._found(call.args[0])
        document = self._document(batch, self._world.clock.now() - call.behind_s, call)
        ended = document["processing_status"] == "ended"
        return Reply(document=document, headers={} if ended else {"retry-after": "10"})

    def _list(self, call: Call) -> Reply:
        now = self._world.clock.now() - call.behind_s
        limit = self._page_size(call.query.get("limit", "20"))
        shown = [one for one in reversed(self.batches()) if one.listed(now)]
        page, more = self._page(shown, limit, call.query.get("after_id"), call.query.get("before_id"))
        patience = self._world.patience()
        data = [self._document(one, now, call, patience) for one in page]
        ends = {"first_id": data[0]["id"] if data else None, "last_id": data[-1]["id"] if data else None}
        return Reply(document={"data": data, "has_more": more, **ends})

    def _page(self, shown: list[Batch], limit: int, after: str | None, before: str | None) -> tuple[list[Batch], bool]:
        """One page of a listing, newest first; `before` looks towards the newer ones."""
        ids = [one.id for one in shown]
        if after and before:
            raise self._problem(400, "after_id and before_id cannot be used together")
        if (cursor := after or before) and cursor not in ids:
            raise self._problem(400, f"No batch {cursor} to page from")
        if before:
            newer = shown[: ids.index(before)]
            return newer[-limit:], len(newer) > limit
        older = shown[ids.index(after) + 1 :] if after else shown
        return older[:limit], len(older) > limit

    def _page_size(self, asked: str) -> int:
        if not asked.isdigit() or not 1 <= int(asked) <= 1_000:
            raise self._problem(400, "limit: Input should be from 1 to 1000")
        return int(asked)

    def _cancel(self, call: Call) -> Reply:
        batch = self._found(call.args[0])
        with batch.lock:
            now = self._world.clock.now()
            if self._word(batch, now, self._world.patience()) == "ended":
                raise self._problem(400, f"Batch {batch.id} has ended and cannot be canceled.")
            if batch.cancelled_at is None:
                batch.cancelled_at = now
        return Reply(document=self._document(batch, now, call))

    def _delete(self, call: Call) -> Reply:
        batch = self._found(call.args[0])
        if self.word(batch, self._world.patience()) != "ended":
            raise self._problem(400, f"Batch {batch.id} is still processing; cancel it before deleting it.")
        with self._world.lock:
            batch.deleted = True
        return Reply(document={"id": batch.id, "type": "message_batch_deleted"})

    def _results(self, call: Call) -> Reply:
        batch = self._found(call.args[0])
        ended = self.word(batch, self._world.patience()) == "ended"
        if not ended or self._archived(batch, self._world.clock.now()) or batch.work is None:
            raise self._problem(404, f"No results available for batch {batch.id}.")
        disposition = f'attachment; filename="{batch.id}_results.jsonl"'
        headers = {"content-type": "application/x-jsonl", "content-disposition": disposition}
        return Reply(chunks=file_chunks(str(batch.work.output)), headers=headers)

    def _direct(self, call: Call) -> Reply:
        served = self._models.serve(call.body.read(), call.headers["anthropic-version"], "standard")
        if served.status == 200:
            prompt, spent, produced = served.digest.hex(), served.spent.total, served.output_tokens
            self._world.charge(Charge(self.name, "", {}, "", prompt, spent, produced))
        return Reply(served.status, served.document)

    def _list_models(self, _call: Call) -> Reply:
        data = [_model(name) for name in items.MODELS]
        return Reply(document={"data": data, "has_more": False, "first_id": data[0]["id"], "last_id": data[-1]["id"]})

    def _model(self, call: Call) -> Reply:
        if not call.args[0].startswith("claude-"):
            raise self._problem(404, f"model: {call.args[0]}")
        return Reply(document=_model(call.args[0]))

    def _count_tokens(self, call: Call) -> Reply:
        asked = read_json(call.body.read())
        if not isinstance(asked, dict) or not asked.get("messages"):
            raise self._problem(400, "messages: Field required")
        return Reply(document={"input_tokens": items.count_tokens(asked)})

    def _found(self, batch_id: str) -> Batch:
        batch = self._registry.find(batch_id)
        if batch is None:
            raise self._problem(404, f"No batch found with id {batch_id}.")
        return batch

    def _archived(self, batch: Batch, now: float) -> bool:
        return now >= batch.plan.created + RETENTION_S

    def _word(self, batch: Batch, now: float, patience: Patience) -> str:
        settled = self._registry.settled(batch, patience)
        phase = batch.phase(now)
        if phase.over and settled:
            return "ended"
        return "canceling" if phase in {Phase.stopping, Phase.stopped} else "in_progress"

    def _close(self, batch: Batch, rest: Iterator[bytes]) -> None:
        """Add the items that never ran to the results (PROVIDERS §2.3)."""
        if batch.work is None:
            return
        kind = "expired" if batch.phase(batch.ended_at()) is Phase.expired else "canceled"
        with batch.work.output.open("ab") as file:
            file.writelines(items.unexecuted(kind, line) for line in rest)

    def _document(self, batch: Batch, now: float, call: Call, patience: Patience | None = None) -> dict[str, Any]:
        word = self._word(batch, now, patience or self._world.patience())
        ended = word == "ended"
        archived = self._archived(batch, now)
        cancelled = batch.cancelled_at if batch.cancelled_at is not None and batch.cancelled_at <= now else None
        readable = ended and not archived
        return {
            "id": batch.id,
            "type": "message_batch",
            "processing_status": word,
            "request_counts": self._counts(batch, ended=ended),
            "ended_at": _stamp(batch.ended_at()) if ended else None,
            "created_at": _stamp(batch.plan.created),
            "expires_at": _stamp(batch.plan.expires),
            "archived_at": _stamp(batch.plan.created + RETENTION_S) if archived else None,
            "cancel_initiated_at": _stamp(cancelled) if cancelled is not None else None,
            "results_url": f"http://{call.host}/v1/messages/batches/{batch.id}/results" if readable else None,
        }

    def _counts(self, batch: Batch, *, ended: bool) -> dict[str, int]:
        """Frozen at processing = total until the batch has ended (PROVIDERS §2.3)."""
        counts = {"processing": 0, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0}
        if not ended:
            return {**counts, "processing": batch.sheet.total}
        tally = batch.tally(batch.ended_at(), self._world.patience())
        rest = batch.sheet.total - tally.succeeded - tally.failed
        kind = "expired" if batch.phase(batch.ended_at()) is Phase.expired else "canceled"
        return {**counts, "succeeded": tally.succeeded, "errored": tally.failed, kind: rest}


def _model(name: str) -> dict[str, Any]:
    return {"type": "model", "id": name, "display_name": name, "created_at": "2025-10-01T00:00:00Z"}


def _stored(path: Path, entries: list[items.Item]) -> Sheet:
    """Spool the entries as lines; a newline in JSON is only ever white space, so it may go."""
    offsets = array("Q", [0])
    with path.open("wb") as file:
        for entry in entries:
            params = bytes(entry.params).replace(b"\n", b" ").replace(b"\r", b" ")
            written = file.write(b'{"custom_id":"%b","params":%b}\n' % (entry.custom_id.encode(), params))
            offsets.append(offsets[-1] + written)
    return Sheet(path, offsets, prefix=common_prefix([entry.custom_id for entry in entries]))


def _stamp(seconds: float) -> str:
    return moment(seconds).isoformat(timespec="microseconds")
