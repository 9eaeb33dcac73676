"""The emulated Bedrock: model invocation jobs and the runtime's two calls, as PROVIDERS §3 and §10 describe them."""

import threading
from dataclasses import replace
from functools import partial

from providers.emulator import bedrock_records as records
from providers.emulator.batches import Batch, Plan, plan
from providers.emulator.bedrock_create import Asked, validated
from providers.emulator.bedrock_errors import invalid, problem, read_object, refusal, region_of, unsigned, usual_code
from providers.emulator.bedrock_jobs import ENDED, Job, Jobs
from providers.emulator.bedrock_listing import page_of
from providers.emulator.bedrock_models import Models
from providers.emulator.bedrock_s3 import Buckets, Unreachable
from providers.emulator.bedrock_words import Target
from providers.emulator.faults import Fault
from providers.emulator.wire import Call, Problem, Reply, Route
from providers.emulator.work import Sheet
from providers.emulator.world import Charge, Patience, World

ACCOUNT = "000000000000"
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
_FULL = "ServiceQuotaExceededException"


VARIABLES = {"AWS_ENDPOINT_URL_BEDROCK": "{url}", "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": "{url}"}


class Bedrock:
    """One account at AWS, as far as Bedrock goes."""

    name = "bedrock"

    def __init__(self, world: World) -> None:
        self._world = world
        self._models = Models(world)
        self._buckets = Buckets(world)
        self._jobs = Jobs(world, self._buckets)
        self._creating = threading.Lock()

    def routes(self) -> list[Route]:
        return [
            Route("POST", "/model-invocation-job", self._create),
            Route("GET", "/model-invocation-job/{}", self._get),
            Route("GET", "/model-invocation-jobs", self._list),
            Route("POST", "/model-invocation-job/{}/stop", self._stop),
            Route("POST", "/model/{}/invoke", partial(self._direct, chat=False)),
            Route("POST", "/model/{}/converse", partial(self._direct, chat=True)),
        ]

    def batches(self) -> list[Batch]:
        """Every accepted job, oldest first."""
        return self._jobs.registry.all()

    def word(self, batch: Batch, patience: Patience) -> str:
        """The job's status now, in Bedrock's words."""
        return self._jobs.word(batch, self._world.clock.now(), patience)

    def claims(self, call: Call) -> bool:
        signed = call.headers.get("authorization", "").startswith("AWS4-HMAC-SHA256")
        return signed or call.path.startswith("/model")

    def check(self, call: Call) -> Reply | None:
        """The refusal of a call without credentials."""
        why = unsigned(call, self._world.settings.bedrock.known_keys)
        return None if why is None else refusal(*why)

    def sorry(self, status: int, fault: Fault) -> Reply:
        """An ordered error, in AWS's words."""
        return refusal(fault.code or usual_code(status), fault.message or f"Ordered error {status}.", status)

    def not_found(self, call: Call) -> Reply:
        """A 404 for the object a path names."""
        if call.path.startswith("/model-invocation-job/"):
            return refusal("ResourceNotFoundException", f"Could not find the job {call.path.split('/')[2]}.")
        return refusal("UnknownOperationException", f"No such operation: {call.method} {call.path}", 404)

    def headers(self) -> dict[str, str]:
        """What every reply carries."""
        return {"x-amzn-requestid": self._world.new_id()}

    def _create(self, call: Call) -> Reply:
        asked = validated(read_object(call))
        with self._creating:
            batch = self._known(asked) or self._accept(asked, call)
        return Reply(document={"jobArn": self._jobs.job(batch).arn})

    def _known(self, asked: Asked) -> Batch | None:
        """The job that this token has already made (PROVIDERS §3.1)."""
        batch = next((one for one in reversed(self.batches()) if self._remembers(one, asked.token)), None)
        strict = self._world.settings.bedrock.strict_tokens
        if batch is not None and strict and self._jobs.job(batch).asked.document != asked.document:
            raise problem("ConflictException", "The clientRequestToken was already used with other parameters.")
        return batch

    def _remembers(self, batch: Batch, token: str) -> bool:
        kept_s = self._world.settings.bedrock.token_seconds
        fresh = kept_s is None or self._world.clock.now() < batch.plan.created + kept_s
        return bool(token) and fresh and self._jobs.job(batch).asked.token == token

    def _accept(self, asked: Asked, call: Call) -> Batch:
        world, faults = self._world, call.faults
        target = self._allowed(asked, faults)
        job_id = world.new_id(12, _LETTERS)
        arn = f"arn:aws:bedrock:{region_of(call)}:{ACCOUNT}:model-invocation-job/{job_id}"
        job = Job(asked, arn, target, complaint=_ordered(faults))
        sheet = self._read(job, job_id)
        timing = self._plan(job, faults)
        batch = Batch(self.name, job_id, timing, sheet, _label(asked), faults, world.settings.cancel_seconds)
        self._jobs.add(job_id, job)
        run = partial(records.executed, self._models, target, asked.converse, batch.forced())
        self._jobs.registry.accept(batch, run, together=True)
        return batch

    def _allowed(self, asked: Asked, faults: tuple[Fault, ...]) -> Target:
        """The synchronous refusals that need more than the request; else the model."""
        for fault in faults:
            if fault.action == "reject" and fault.at_create:
                raise Problem(self.sorry(fault.status or 400, replace(fault, code=fault.code or _FULL)))
        role = asked.document["roleArn"]
        if role in self._world.settings.bedrock.denied_roles:
            raise problem("AccessDeniedException", f"The caller is not authorized to perform iam:PassRole on {role}.")
        target = self._models.target(asked.model_id)
        if target is None:
            raise invalid("The provided model identifier is invalid.")
        if any(self._clashes(batch, asked.name) for batch in self.batches()):
            raise problem("ConflictException", f"A job with the name {asked.name} already exists.")
        self._check_quota(target)
        return target

    def _clashes(self, batch: Batch, name: str) -> bool:
        scope = self._world.settings.bedrock.names
        ended = batch.phase(self._world.clock.now()).over
        return self._jobs.job(batch).asked.name == name and (scope == "all" or (scope == "live" and not ended))

    def _check_quota(self, target: Target) -> None:
        settings = self._world.settings.bedrock
        most = settings.jobs_per_model
        if most is not None and not settings.queueing and len(self._live(target)) >= most:
            text = f"The sum of submitted and in-progress jobs for {target.base} has reached its quota of {most}."
            raise problem(_FULL, text)

    def _live(self, target: Target) -> list[Batch]:
        now = self._world.clock.now()
        return [one for one in self.batches() if self._jobs.job(one).target == target and not one.phase(now).over]

    def _plan(self, job: Job, faults: tuple[Fault, ...]) -> Plan:
        """The job's times; beyond the quota it waits until enough others have ended."""
        now, settings = self._world.clock.now(), self._world.settings
        timing = plan(now, settings.batch_seconds, faults, rejected=bool(job.complaint))
        job.lead = timing.starts - now
        most = settings.bedrock.jobs_per_model
        ends = sorted(one.ended_at() for one in self._live(job.target))
        waits = most is not None and len(ends) >= most and not job.complaint
        wait = ends[len(ends) - (most or 0)] - now if waits else 0.0
        return replace(
            timing,
            starts=timing.starts + wait,
            executed=timing.executed + wait,
            ready=timing.ready + wait,
            expires=now + job.asked.hours * 3_600,
        )

    def _read(self, job: Job, job_id: str) -> Sheet:
        """Take the input in; what is wrong with it makes the job fail once it is validated."""
        path = self._world.folder / f"{job_id}.requests"
        try:
            self._buckets.check(job.asked.output_uri)
            job.sources, sheet = records.read(self._world, self._buckets, job.asked.input_uri, path)
        except (records.Complaint, Unreachable) as wrong:
            job.complaint = job.complaint or str(wrong)
            path.unlink(missing_ok=True)
            return Sheet.empty()
        return sheet

    def _get(self, call: Call) -> Reply:
        now, batch = self._world.clock.now() - call.behind_s, self._jobs.find(call.args[0])
        return Reply(document=self._jobs.document(batch, now, self._world.patience()))

    def _list(self, call: Call) -> Reply:
        now, patience = self._world.clock.now() - call.behind_s, self._world.patience()
        shown = [self._jobs.document(one, now, patience) for one in self.batches() if one.listed(now)]
        page, token = page_of(call.query, shown)
        return Reply(document={"invocationJobSummaries": page, **({"nextToken": token} if token else {})})

    def _stop(self, call: Call) -> Reply:
        batch = self._jobs.find(call.args[0])
        with batch.lock:
            now = self._world.clock.now()
            word = self._jobs.word(batch, now, self._world.patience())
            if word in ENDED:
                code = self._world.settings.bedrock.stop_error
                raise problem(code, f"The job {batch.id} cannot be stopped: its status is {word}.")
            if batch.cancelled_at is None:
                batch.cancelled_at = now
        return Reply(document={})

    def _direct(self, call: Call, *, chat: bool) -> Reply:
        target = self._models.target(call.args[0])
        if target is None:
            raise invalid("The provided model identifier is invalid.")
        answer = self._models.serve(target, call.body.read(), chat=chat, batch=False)
        if answer.status != 200:
            return refusal(usual_code(answer.status), answer.message)
        spent, produced = answer.input_tokens, answer.output_tokens
        self._world.charge(Charge(self.name, "", {}, "", answer.digest.hex(), spent, produced))
        counts = {"x-amzn-bedrock-input-token-count": str(spent), "x-amzn-bedrock-output-token-count": str(produced)}
        return Reply(document=answer.document, headers={} if chat else counts)


def _ordered(faults: tuple[Fault, ...]) -> str:
    """What a `reject` fault makes the job's message."""
    fault = next((fault for fault in faults if fault.action == "reject"), None)
    return "" if fault is None else fault.message or f"The job was rejected: {fault.code or 'ordered'}."


def _label(asked: Asked) -> dict[str, str]:
    tags = {tag["key"]: tag["value"] for tag in asked.document.get("tags", ())}
    return {**tags, "jobName": asked.name, "clientRequestToken": asked.token}
