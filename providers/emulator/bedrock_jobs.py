"""The jobs of one Bedrock account: their status words, documents and output objects (PROVIDERS §3.3, §3.4)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from providers.emulator import bedrock_records as records
from providers.emulator.batches import Batch, Phase, Registry
from providers.emulator.bedrock_create import Asked
from providers.emulator.bedrock_errors import invalid, problem
from providers.emulator.bedrock_s3 import Buckets, Source, Unreachable
from providers.emulator.bedrock_words import Target
from providers.emulator.bodies import mangled
from providers.emulator.work import Work
from providers.emulator.world import Patience, World, moment

_IDENTIFIER = re.compile(r"(arn:aws(-[^:]+)?:bedrock:[a-z0-9-]{1,20}:[0-9]{12}:model-invocation-job/)?[a-z0-9]{12}")
_SUBMITTED, _VALIDATED = 0.25, 0.75  # shares of the lead: until validating, until scheduled
_WORDS = {
    Phase.rejected: "Failed",
    Phase.running: "InProgress",
    Phase.finalizing: "InProgress",
    Phase.completed: "Completed",
    Phase.stopping: "Stopping",
    Phase.stopped: "Stopped",
}
_EARLY = {"Submitted", "Validating", "Failed"}
ENDED = {"Completed", "PartiallyCompleted", "Failed", "Stopped", "Expired"}


@dataclass(slots=True)
class Job:
    """What only a Bedrock job has."""

    asked: Asked
    arn: str
    target: Target
    lead: float = 0.0  # virtual seconds from create to the start when no other job is in the way
    sources: list[Source] = field(default_factory=list)
    complaint: str = ""  # why it fails its validation


class Jobs:
    """Every accepted job, and what is seen of it at a moment."""

    def __init__(self, world: World, buckets: Buckets) -> None:
        self._world = world
        self._buckets = buckets
        self._jobs: dict[str, Job] = {}
        self.registry = Registry(world, self._close)

    def add(self, job_id: str, job: Job) -> None:
        self._jobs[job_id] = job

    def job(self, batch: Batch) -> Job:
        return self._jobs[batch.id]

    def find(self, identifier: str) -> Batch:
        """The job with this id or ARN."""
        if not _IDENTIFIER.fullmatch(identifier):
            raise invalid(f"jobIdentifier: Member must satisfy regular expression pattern: {_IDENTIFIER.pattern}")
        batch = self.registry.find(identifier.rpartition("/")[2])
        if batch is None or identifier not in {batch.id, self.job(batch).arn}:
            raise problem("ResourceNotFoundException", f"Could not find the job {identifier}.")
        return batch

    def word(self, batch: Batch, now: float, patience: Patience) -> str:
        """The status shown; a job whose results are still in the making has not ended."""
        settled = self.registry.settled(batch, patience)
        phase = batch.phase(now)
        if phase.over and not settled:
            return "Stopping" if phase is Phase.stopped else "InProgress"
        if phase is Phase.expired:
            return "PartiallyCompleted" if batch.executed(batch.ended_at()) else "Expired"
        return _WORDS.get(phase) or self._beginning(batch, now)

    def document(self, batch: Batch, now: float, patience: Patience) -> dict[str, Any]:
        """The job as Get shows it; a listing's summary has the same members."""
        job, word = self.job(batch), self.word(batch, now, patience)
        asked = job.asked.document
        document = {
            "jobArn": job.arn,
            "status": word,
            "submitTime": _stamp(batch.plan.created),
            "lastModifiedTime": _stamp(self._changed(batch, word)),
            "timeoutDurationInHours": job.asked.hours,
            "jobExpirationTime": _stamp(batch.plan.expires),
            "modelInvocationType": "Converse" if job.asked.converse else "InvokeModel",
            **{name: asked[name] for name in _ECHOED if name in asked},
            **self._counts(batch, word, now, patience),
        }
        if word in ENDED:
            document["endTime"] = _stamp(batch.ended_at())
        if word == "Failed":
            document["message"] = job.complaint[:2_048]
        if word == "InProgress" and batch.has("early_output") and batch.work is not None:
            self._show_early(batch, batch.work, now, patience)
        return document

    def _beginning(self, batch: Batch, now: float) -> str:
        elapsed, lead = now - batch.plan.created, self.job(batch).lead
        if elapsed < lead * _SUBMITTED:
            return "Submitted"
        return "Validating" if batch.plan.rejected or elapsed < lead * _VALIDATED else "Scheduled"

    def _changed(self, batch: Batch, word: str) -> float:
        """When the status became what it is."""
        created, lead = batch.plan.created, self.job(batch).lead
        early = {
            "Submitted": created,
            "Validating": created + lead * _SUBMITTED,
            "Scheduled": created + lead * _VALIDATED,
            "InProgress": batch.plan.starts,
            "Stopping": batch.cancelled_at or created,
        }
        return early[word] if word in early else batch.ended_at()

    def _counts(self, batch: Batch, word: str, now: float, patience: Patience) -> dict[str, int]:
        """0 until validated (PROVIDERS §3.3)."""
        if not self._world.settings.bedrock.job_counts:
            return {}
        tally = batch.tally(now, patience)
        return {
            "totalRecordCount": 0 if word in _EARLY else batch.sheet.total,
            "processedRecordCount": tally.succeeded + tally.failed,
            "successRecordCount": tally.succeeded,
            "errorRecordCount": tally.failed,
        }

    def _close(self, batch: Batch, rest: Iterator[bytes]) -> None:
        """Write what came to pass to S3; a job that never executed anything leaves nothing."""
        count = batch.executed(batch.ended_at())
        if batch.work is None or not count:
            return
        if self._world.settings.bedrock.unprocessed_listed and count < batch.work.total:
            with batch.work.output.open("ab") as file:
                file.writelines(records.unexecuted(line) for line in rest)
        self._write(batch, batch.work, batch.work.total)
        self._put(batch, "manifest.json.out", [msgspec.json.encode(self._manifest(batch, batch.work, count))])

    def _write(self, batch: Batch, work: Work, count: int) -> None:
        """One output object for each input object, of the first `count` lines."""
        nested = self._world.settings.bedrock.nested_output
        for number, source in enumerate(self.job(batch).sources):
            name = source.name if nested else source.name.rpartition("/")[2]
            lines = records.of_file(work.output, number, count)
            self._put(batch, f"{name}.out", mangled(lines, batch.faults))

    def _show_early(self, batch: Batch, work: Work, now: float, patience: Patience) -> None:
        count = batch.executed(now)
        if count and work.wait(count, patience.left()):
            self._write(batch, work, count)

    def _put(self, batch: Batch, name: str, lines: Iterator[bytes] | list[bytes]) -> None:
        asked = self.job(batch).asked
        path = records.spool(self._world.folder / f"{batch.id}.upload", lines)
        try:
            self._buckets.write(asked.output_uri, f"{batch.id}/{name}", path, asked.kms_key)
        except Unreachable as wrong:
            raise problem("InternalServerException", str(wrong)) from wrong

    def _manifest(self, batch: Batch, work: Work, count: int) -> dict[str, int]:
        tally = work.tally(count)
        manifest = {
            "totalRecordCount": batch.sheet.total,
            "processedRecordCount": count,
            "successRecordCount": tally.succeeded,
            "errorRecordCount": tally.failed,
        }
        tokens = {"inputTokenCount": tally.input_tokens, "outputTokenCount": tally.output_tokens}
        return {**manifest, **tokens} if self._world.settings.bedrock.manifest_tokens else manifest


_ECHOED = (
    "jobName",
    "modelId",
    "roleArn",
    "clientRequestToken",
    "inputDataConfig",
    "outputDataConfig",
    "vpcConfig",
)


def _stamp(seconds: float) -> str:
    return moment(seconds).isoformat(timespec="milliseconds").replace("+00:00", "Z")
