"""Buying a shard, where each line could cost a thousand dollars.

    stage → intent ─durable─► create, ONE attempt ─┬─ ok ──────► sent
                                                   ├─ refused ─► refused: nothing was bought, the shard waits
                                                   └─ unknown ─► nothing to write: an unanswered intent *is* unknown

What to do is decided in `decide`, by two pure functions; here it is done.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path

from batchjobs.beside import Begin, later
from batchjobs.decide import Abandon, Again, Drop, Hold, Look, Policy, Send, after_look, bounce_until, next_step
from batchjobs.desk import Desk
from batchjobs.errors import Unreachable
from batchjobs.grace import remaining, still_due
from batchjobs.jobs import JOB_LEDGER, Job, load_job, reread
from batchjobs.observed import ObservedProvider
from batchjobs.plan import ShardPlan
from batchjobs.settle import settle_unsent, unpacked
from batchjobs.shards import Phase, Shard
from providers.contract import UNREACHED, Found, Gone, OutcomeUnknown, Refused, ShardFile, Tag, Unavailable
from storage.contract import Damaged, StoreUnavailable
from storage.layout import answers_prefix, raw_prefix
from storage.ledger import lengths

CLOCK_AHEAD_MAX = timedelta(hours=26)  # when an intent was written: looked through before a purchase is given up
_DROPPED = {"rejected", "stopping", "cancelled", "canceled"}


@dataclass(frozen=True, slots=True)
class Ready:
    """A shard that could be bought: its bytes as the provider gets them, and what the provider calls its upload."""

    file: ShardFile
    staged: str


@dataclass(slots=True)
class Sender:
    """Does what was decided, one shard at a time. `known` are the batches that belong to other shards.

    What is free may be begun before it is a shard's turn: unpacking and uploading, into the folder `spool`.
    """

    desk: Desk
    job: Job
    provider: ObservedProvider
    known: set[str]
    spool: Path
    begin: Begin = later
    _begun: dict[str, Callable[[], Ready]] = field(default_factory=dict)

    def _prepare(self, shard: Shard) -> None:
        if shard.plan.id not in self._begun:
            self._begun[shard.plan.id] = self.begin(partial(self._ready, shard))

    def _ready(self, shard: Shard) -> Ready:
        self._require_unanswered(shard)
        file = self._unpacked(shard.plan)
        return Ready(file, shard.staged or self.provider.inner.stage(file))

    def step(self, shard: Shard, policy: Policy, following: Shard | None = None) -> Hold | None:
        """Take one shard one step further; returns why it is held, if it is. Raises Unreachable.

        Where it is bought and the `following` one is to be bought after it, that one is made ready meanwhile.
        """
        decision = next_step(shard, policy)
        if isinstance(decision, Look):
            return self._look(shard, policy)
        if isinstance(decision, Drop):
            settle_unsent(self.desk, self.job, shard, decision.outcome, decision.code, decision.message)
        elif isinstance(decision, Send):
            self._prepare(shard)
            then = following and next_step(following, policy.after(shard, self.job, following))
            if following and isinstance(then, Send):
                self._prepare(following)
            self._send(shard, policy)
        return decision if isinstance(decision, Hold) else None

    def _send(self, shard: Shard, policy: Policy) -> None:
        with self._staged(shard) as ready:
            tag = Tag(self.job.id, shard.plan.id, shard.sends + 1)
            intent = {
                "send": tag.send,
                "staged": ready.staged,
                "body_sha256": shard.plan.body_sha256,
                "provider": self.job.plan.provider,
                "model": self.job.plan.model,
                "estimated_cost": str(shard.plan.estimated_cost),
                "ceiling_cost": str(shard.plan.ceiling_cost),
            }
            number = self._append(shard, shard.number, "intent", intent)
            if number is None:
                return  # another process took this step; it is buying, or has bought
            if why := self._overtaken(shard, policy, number):
                self._append(shard, number, "refused", {"kind": "later", "code": "overtaken", "message": why})
                return
            self._create(shard, ready, tag, number)

    def _overtaken(self, shard: Shard, policy: Policy, number: int) -> str:
        """Why the decision to buy holds no more, if another machine cancelled or spent since it was made.

        Asked after the intent is durable: of two machines that reach for the same money, the later one sees the other.
        """
        known = {one.plan.id: one.number for one in self.job.shards} | {JOB_LEDGER: self.job.number}
        try:
            if lengths(self.desk.store, self.job.id) == Counter(known | {shard.plan.id: number}):
                return ""
            now = load_job(self.desk.store, self.job.id)
        except StoreUnavailable as error:
            return f"the store could not be asked again before buying: {error}"
        if any(one.plan.id == shard.plan.id and one.number != number for one in now.shards):
            return "another machine decided about this purchase meanwhile"
        if now.cancelled and not shard.plan.wanted:
            return "the job was cancelled meanwhile"
        if policy.room_cost is not None and now.committed > self.job.committed + policy.room_cost:
            return "another machine spent what was left under the cap"
        return ""

    def _require_unanswered(self, shard: Shard) -> None:
        """Raises Damaged where answers lie in the store that the ledger knows nothing of: it lost the purchase."""
        answers = next(self.desk.store.keys(raw_prefix(self.job.id, shard.plan.id)), None)
        if answers is not None and not shard.disowned:  # the answers of a batch that was not ours are no sign
            raise Damaged(
                f"{answers} is there, and the ledger does not say that the shard was bought: its records were lost, "
                "and nothing is bought again until they are restored."
            )

    @contextmanager
    def _staged(self, shard: Shard) -> Iterator[Ready]:
        """The shard made ready, for as long as it takes to buy it. Raises Damaged, Missing, Unreachable."""
        begun = self._begun.pop(shard.plan.id)
        with self._swept(shard.plan):
            try:
                ready = begun() if shard.staged else self.provider.passed("stage", begun)
            except (Unavailable, Refused) as error:
                passing = error.kind in ("later", "absent")
                cure = f"{'run' if passing else 'fix it and run'} the same command again"
                raise Unreachable(f"{error} This shard was not bought; {cure}.", passing) from None
            yield ready

    def _create(self, shard: Shard, ready: Ready, tag: Tag, number: int) -> None:
        try:
            ref = self.provider.create(ready.file, ready.staged, tag)
        except Refused as refusal:
            self._note_refusal(shard, refusal, number)
        except OutcomeUnknown as error:
            self.desk.say(f"shard {shard.plan.id}: purchase unknown ({error}); it is looked for, not bought again")
        else:
            self._append(shard, number, "sent", {"send": tag.send, "batch_id": ref, "how": "created", "certain": True})

    def _note_refusal(self, shard: Shard, refusal: Refused, number: int) -> None:
        until = bounce_until(self.desk.env.now(), shard.bounces, refusal.retry_after_s)
        wait = refusal.kind == "later" and refusal.code != UNREACHED
        data = {
            "kind": refusal.kind,
            "code": refusal.code,
            "message": str(refusal),
            "not_before": until.isoformat() if wait else None,
        }
        number = self._append(shard, number, "refused", data) or number
        if refusal.kind == "blocked":
            raise Unreachable(f"{refusal} Fix it and run the same command again.", passing=False)
        if refusal.code == UNREACHED:
            raise Unreachable(f"{refusal} Run the same command again.")
        if refusal.kind == "never" and not shard.staged:  # an upload of an earlier try may be gone by now
            settle_unsent(self.desk, self.job, shard, "failed", refusal.code or "refused", str(refusal), after=number)

    def _look(self, shard: Shard, policy: Policy) -> Hold | None:
        tag = Tag(self.job.id, shard.plan.id, shard.sends)
        file = self._described(shard.plan, Path())
        since = shard.intent_at or policy.now
        if not remaining(shard.misses, policy.now, policy.grace):
            since -= CLOCK_AHEAD_MAX
        try:
            found = self.provider.find(file, tag, since)
        except Unavailable as error:
            if error.kind == "blocked":
                raise Unreachable(f"{error} Fix it and run the same command again.", passing=False) from None
            return Hold(f"unknown purchase, and the provider cannot be asked: {error}")
        ours = [batch for batch in found if batch.ref not in self.known and batch.ref not in shard.disowned]
        decision = after_look(shard, self._rivals(ours), policy)
        if isinstance(decision, (Hold, Again)):
            if not ours:
                still_due(self.desk, self.job, shard, policy.grace)
            return decision if isinstance(decision, Hold) else self._again(shard)
        if isinstance(decision, Abandon):
            self._append(shard, shard.number, "abandoned", {"send": shard.sends})
            return None
        self.known.add(decision.ref)
        if policy.cancelled and decision.certain:
            self._stop(decision.ref)
        sent = {"send": shard.sends, "batch_id": decision.ref, "how": "adopted", "certain": decision.certain}
        self._append(shard, shard.number, "sent", sent)
        return None

    def _again(self, shard: Shard) -> Hold | None:
        """Repeat a purchase whose answer was lost. Only a yes proves anything: a no is one to the repetition."""
        job = reread(self.desk.store, self.job, shard)
        shard = next(one for one in job.shards if one.plan.id == shard.plan.id)
        if shard.phase is not Phase.unknown:
            return None
        tag = Tag(job.id, shard.plan.id, shard.sends)
        try:
            with self._swept(shard.plan):
                ref = self.provider.create(self._unpacked(shard.plan), shard.staged, tag)
        except (Refused, OutcomeUnknown) as error:
            return Hold(f"unknown purchase, repeated with its own token: {error}")
        sent = {"send": tag.send, "batch_id": ref, "how": "repeated", "certain": True}
        self._append(shard, shard.number, "sent", sent)
        return None

    def _rivals(self, found: list[Found]) -> list[Found]:
        """Of several batches with our tag, those that somebody must choose from: not what was cancelled or rejected."""
        sure = [batch for batch in found if batch.certain]
        if len(sure) < 2:
            return found
        return [batch for batch in sure if not self._is_dropped(batch.ref)] or sure[:1]

    def _is_dropped(self, ref: str) -> bool:
        try:
            status = self.provider.status(ref)
        except (Unavailable, Gone):
            return False
        return bool({status.state.value, status.word} & _DROPPED)

    def _stop(self, ref: str) -> None:
        """A batch found after its job was cancelled."""
        try:
            self.provider.cancel(ref)
        except (Unavailable, Gone) as error:
            self.desk.say(f"batch {ref} belongs to a cancelled job and could not be stopped: {error}")

    def _append(self, shard: Shard, after: int, event: str, data: Mapping[str, object]) -> int | None:
        return self.desk.append(self.job.id, shard.plan.id, after, event, data)

    def _unpacked(self, plan: ShardPlan) -> ShardFile:
        """The shard's bytes as the provider gets them. Raises Damaged, Missing when they are not what was packed."""
        file = self._described(plan, self._path(plan))
        with self.desk.intact(plan.key) as packed:
            _unpack(packed, file.path, plan)
        return file

    @contextmanager
    def _swept(self, plan: ShardPlan) -> Iterator[None]:
        """The disk holds no more than the shard that is bought and the next one. A sweep that fails stops nothing."""
        try:
            yield
        finally:
            with suppress(OSError):
                self._path(plan).unlink()

    def _path(self, plan: ShardPlan) -> Path:
        return self.spool / f"{plan.id}.jsonl"

    def _described(self, plan: ShardPlan, path: Path) -> ShardFile:
        job, store = self.job.plan, self.desk.store.url
        return ShardFile(
            path=path,
            url=f"{store}/{plan.key}",
            requests=plan.requests,
            model=job.model,
            id_prefix=plan.id_prefix,
            output_url=f"{store}/{answers_prefix(job.job, job.provider, plan.id)}",
            at_once=plan.at_once,
        )


def _unpack(packed: Path, path: Path, plan: ShardPlan) -> None:
    sha = hashlib.sha256()
    with path.open("wb") as out:
        try:
            for chunk in unpacked(packed):
                sha.update(chunk)
                out.write(chunk)
        except Damaged:
            raise Damaged(f"{plan.key} cannot be decompressed: it was not bought; restore the object.") from None
    if sha.hexdigest() != plan.body_sha256:
        raise Damaged(f"{plan.key} is not what was packed: it was not bought; restore the object.")
