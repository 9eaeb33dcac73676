"""AWS Bedrock's model invocation jobs over the network: buy, look, fetch, stop (PROVIDERS §3).

The shard is read, and the answers are written, by AWS in our own object store: an S3 bucket.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Struct

from providers import aws
from providers.bedrock_format import ENDPOINTS, STATES, BedrockFormat, without_echo
from providers.bedrock_now import ANSWERED, CHUNK_BYTES, MARK, BedrockNow, chunks
from providers.contract import (
    Connection,
    Found,
    Gone,
    Objects,
    OutcomeUnknown,
    RawFile,
    Refused,
    ShardFile,
    State,
    Status,
    Tag,
    Unavailable,
)
from providers.failures import buying, patient, reading, retry_after_s
from providers.lines import known

if TYPE_CHECKING:
    import tenacity

READ_TIMEOUT_S = 60.0
CLOCK_SKEW = timedelta(minutes=10)  # between our clock and the provider's, when looking for a purchase
MESSAGE_LENGTH = 500
JOB_NAME_LENGTH = 63
MARK_LENGTH = 16  # of the token's digits in a job's name
PAGE = 100
CONFLICT = "ConflictException"
MANIFEST = "manifest.json.out"

# AWS's own patterns, which botocore does not check (PROVIDERS §3.1).
_ROLE = re.compile(r"arn:aws(-[^:]+)?:iam::([0-9]{12})?:role/.+")
_KMS_KEY = re.compile(
    r"(arn:aws(-[^:]+)?:kms:[a-zA-Z0-9-]*:[0-9]{12}:(key/[a-zA-Z0-9-]{36}|alias/[a-zA-Z0-9-_/]+))"
    r"|[a-zA-Z0-9-]{36}|alias/[a-zA-Z0-9-_/]+"
)
_PLACE = re.compile(r"s3://[a-z0-9][-.a-z0-9]{1,61}[a-z0-9](?:/[-!_*'().a-z0-9A-Z]+(?:/[-!_*'().a-z0-9A-Z]+)*)?/?")
_PLACE_LENGTH = 1_024
_LIKE = {  # what the patterns say, for people
    _ROLE: "arn:aws:iam::123456789012:role/NAME",
    _KMS_KEY: "alias/NAME, or the key's id or ARN",
    _PLACE: "s3://bucket/prefix of letters, digits and -_.!*'() between single slashes, in 1,024 characters",
}
_ARN = r"^arn:aws(-[^:]+)?:bedrock:[a-z0-9-]{1,20}:[0-9]{12}:model-invocation-job/[a-z0-9]{12}$"

_TYPES = dict(zip(ENDPOINTS, ("InvokeModel", "Converse"), strict=True))


class _Place(Struct, rename="camel"):
    s3_uri: str = msgspec.field(default="", name="s3Uri")


class _Input(Struct):
    place: _Place = msgspec.field(default_factory=_Place, name="s3InputDataConfig")


class _Output(Struct):
    place: _Place = msgspec.field(default_factory=_Place, name="s3OutputDataConfig")


class _Job(Struct, rename="camel"):
    job_arn: Annotated[str, msgspec.Meta(pattern=_ARN)]
    submit_time: datetime
    job_name: str = ""
    status: str = ""
    message: str | None = None
    model_id: str = ""
    client_request_token: str | None = None
    input_data_config: _Input = msgspec.field(default_factory=_Input)
    output_data_config: _Output = msgspec.field(default_factory=_Output)
    total_record_count: int | None = None
    processed_record_count: int | None = None
    error_record_count: int | None = None


class _Manifest(Struct, rename="camel"):
    total_record_count: int
    processed_record_count: int
    error_record_count: int = 0


class _Bought(Struct, rename="camel"):
    job_arn: Annotated[str, msgspec.Meta(pattern=_ARN)]


class _Page(Struct, rename="camel"):
    summaries: list[_Job] = msgspec.field(name="invocationJobSummaries")
    next_token: str | None = None


known(_Job, _Manifest, _Bought, _Page)


def address() -> str:
    """The effective base URL of the control plane."""
    return aws.address("bedrock")


def endpoints() -> tuple[str, ...]:
    """The ways of asking, the default first."""
    return ENDPOINTS


def load_format(endpoint: str | None = None) -> BedrockFormat:
    """The pure half, for "invoke" (the default) or "converse". Raises ValueError."""
    name = endpoint or ENDPOINTS[0]
    if name not in ENDPOINTS:
        raise ValueError(f"Bedrock has no endpoint {name!r}: choose {' or '.join(ENDPOINTS)}.")
    return BedrockFormat(name)


def connect(endpoint: str | None, connection: Connection) -> "Bedrock":
    """The provider with the account that the environment names. Raises ValueError, Unavailable without one.

    Its options: `role_arn` (the service role that reads and writes the bucket), `kms_key`, `timeout_hours`.
    """
    made_for = load_format(endpoint)
    client = aws.client("bedrock", min(connection.timeout_s, READ_TIMEOUT_S))
    now = BedrockNow(made_for.endpoint, connection.timeout_s, connection.objects)
    return Bedrock(made_for, client, now, patient(connection.sleep), connection.objects, dict(connection.options))


@dataclass(frozen=True, slots=True)
class Bedrock:
    """The talking half."""

    format: BedrockFormat
    client: Any = field(repr=False)
    now: BedrockNow = field(repr=False)  # for what is too little for a job
    patiently: "tenacity.Retrying" = field(repr=False)
    objects: Objects | None = field(repr=False)
    options: dict[str, str]

    def close(self) -> None:
        self.client.close()
        self.now.close()

    def stage(self, shard: ShardFile) -> str:
        """AWS reads the shard where it lies. What is wrong with the settings is told here, before any intent."""
        if shard.at_once:
            self.now.require(shard)
        else:
            self._order(shard)
        return ""

    def create(self, shard: ShardFile, staged: str, tag: Tag) -> str:  # noqa: ARG002 -- see stage
        """The token makes AWS ignore a second create without a word, so the job is read back and compared (§3.1)."""
        if shard.at_once:
            return self.now.buy(shard, tag)
        order = self._order(shard) | _names(shard, tag)
        try:
            ref = self._buy(order, tag)
        except Refused as refusal:
            if refusal.code != CONFLICT:
                raise
            ref = self._clashing(order, tag, refusal)
        try:
            job = self._job(ref)[0]
        except (Unavailable, Gone):
            raise OutcomeUnknown(f"Shard {tag}: job {ref} was made, but it cannot be read back.") from None
        if not _fits(job, shard):
            text = f"Shard {tag}: its token belongs to job {ref}, which has another model or input; nothing was bought."
            raise Refused(text, kind="blocked", code="token_taken")
        return ref

    def find(self, shard: ShardFile, tag: Tag, since: datetime) -> list[Found]:
        """By the token, or the part of it in the job's name: what both say is ours for certain."""
        if shard.at_once:
            return self.now.find(shard, tag, since)
        order = _names(shard, tag)
        ours = [job for job in self._listed(order, since - CLOCK_SKEW) if _is(job, order) and _fits(job, shard)]
        jobs = {job.job_arn: job for job in ours}
        return [Found(job.job_arn, _moment(job), certain=True) for job in jobs.values()]

    def status(self, ref: str) -> Status:
        if ref.startswith(MARK):
            return ANSWERED
        job, _, pause_s = self._job(ref)
        return status_of(job, pause_s)

    def raw(self, ref: str) -> Iterator[RawFile]:
        """From our own store, whose errors are its own. Answers may lie there before the end (PROVIDERS §3.4)."""
        if ref.startswith(MARK):
            yield from self.now.raw(ref)
            return
        job, document, _ = self._job(ref)
        state = status_of(job).state
        if state is State.rejected:
            yield RawFile("batch", iter([document]))
            return
        if state is not State.ended:
            raise Unavailable(f"Batch {ref} has not ended: its results cannot be read yet.")
        objects, prefix = self._folder(job)
        keys = sorted(objects.keys(prefix))
        outputs = [key for key in keys if key.endswith(".jsonl.out")]
        if not outputs and _answers_owed(job):
            raise Unavailable(f"Batch {ref} has ended, but below {prefix} lies no result file.", kind="absent")
        for key in outputs:
            yield RawFile("output", _result_lines(objects, key))
        for key in keys:
            if key.endswith(MANIFEST):
                yield RawFile("batch", chunks(objects, key))

    def cancel(self, ref: str) -> None:
        if not ref.startswith(MARK):  # what was answered is over
            self.patiently(self._cancel, ref)

    def forget(self, ref: str, staged: str) -> None:  # noqa: ARG002 -- nothing is staged here
        """AWS deletes no job (PROVIDERS §3.1); requests and answers lie in our own store, for its owner to delete."""
        if not ref:
            return
        try:
            state = self.status(ref).state
        except Gone:
            return
        except Unavailable as error:
            if error.kind == "absent":
                return
            raise
        if state not in (State.ended, State.rejected):
            raise Unavailable(f"Batch {ref} has not ended: it cannot be forgotten yet.")

    def _order(self, shard: ShardFile) -> dict[str, Any]:
        """All that a job is made of, but for its names. Raises Refused for what AWS would not take."""
        role, kms_key = _accepted(self.options)
        answers = {"s3Uri": _checked(_PLACE, "place for answers", shard.output_url)}
        if kms_key:
            answers["s3EncryptionKeyId"] = kms_key
        requests = {"s3Uri": _checked(_PLACE, "place of a shard", shard.url), "s3InputFormat": "JSONL"}
        order = {
            "roleArn": role,
            "modelId": shard.model,
            "modelInvocationType": _TYPES[self.format.endpoint],
            "inputDataConfig": {"s3InputDataConfig": requests},
            "outputDataConfig": {"s3OutputDataConfig": answers},
        }
        hours = self.options.get("timeout_hours")
        return order | ({"timeoutDurationInHours": int(hours)} if hours else {})

    def _buy(self, order: dict[str, Any], tag: Tag) -> str:
        with buying(f"Shard {tag}"):
            answer = self.client.create_model_invocation_job(**order)
            return msgspec.convert(answer, _Bought).job_arn

    def _clashing(self, order: dict[str, Any], tag: Tag, refusal: Refused) -> str:
        """The job that a create clashed with. As its name holds our token, none but ours should be there."""
        try:
            jobs = list(self._listed(order, datetime.min.replace(tzinfo=UTC)))
        except (Unavailable, Gone):
            jobs = []
        ours = [job.job_arn for job in jobs if _is(job, order)]
        if ours:
            return ours[0]
        if jobs:
            raise refusal
        raise OutcomeUnknown(f"Shard {tag}: a job of its name exists and cannot be seen yet; it may have been bought.")

    def _job(self, ref: str) -> tuple[_Job, bytes, float | None]:
        """The job, the document it came as, and the pause that AWS asks for."""
        job, document, pause_s = self.patiently(self._read_job, ref)
        return self._counted(job), document, pause_s

    def _counted(self, job: _Job) -> _Job:
        """A job that is over and does not tell its counts itself, with those of its manifest (PROVIDERS §3.4)."""
        if job.total_record_count is not None or STATES.get(job.status.lower()) not in (State.ended, State.rejected):
            return job
        try:
            objects, prefix = self._folder(job)
            key = next(key for key in objects.keys(prefix) if key.endswith(MANIFEST))
            with objects.local(key) as path:
                told = msgspec.json.decode(path.read_bytes(), type=_Manifest)
        except (Unavailable, StopIteration, msgspec.DecodeError):
            return job
        return msgspec.structs.replace(job, **msgspec.structs.asdict(told))

    def _read_job(self, ref: str) -> tuple[_Job, bytes, float | None]:
        answer = aws.told(f"Batch {ref}", lambda: self.client.get_model_invocation_job(jobIdentifier=ref))
        headers = answer.pop("ResponseMetadata", {}).get("HTTPHeaders", {})
        with reading(f"Batch {ref}"):
            return msgspec.convert(answer, _Job), msgspec.json.encode(answer), retry_after_s(headers)

    def _listed(self, order: dict[str, Any], since: datetime) -> Iterator[_Job]:
        """The jobs with our mark in their names, back to `since`, newest first."""
        asked = {"nameContains": order["jobName"][-MARK_LENGTH:], "maxResults": PAGE}
        asked |= {"sortBy": "CreationTime", "sortOrder": "Descending"}
        while True:
            page = self.patiently(self._read_page, asked)
            yield from (job for job in page.summaries if _moment(job) >= since)
            if not page.next_token or not page.summaries or _moment(page.summaries[-1]) < since:
                return
            asked = asked | {"nextToken": page.next_token}

    def _read_page(self, asked: dict[str, Any]) -> _Page:
        answer = aws.told("The list of batches", lambda: self.client.list_model_invocation_jobs(**asked))
        with reading("The list of batches"):
            return msgspec.convert(answer, _Page)

    def _folder(self, job: _Job) -> tuple[Objects, str]:
        """Our store, and the prefix of the keys below which AWS wrote the answers of a job (PROVIDERS §3.4)."""
        place = job.output_data_config.place.s3_uri.rstrip("/")
        if self.objects is None or not place.startswith(f"{self.objects.url}/"):
            here = "no store" if self.objects is None else self.objects.url
            raise Unavailable(f"The answers of batch {job.job_arn} lie in {place}, not in {here}.", kind="blocked")
        return self.objects, f"{place.removeprefix(f'{self.objects.url}/')}/{job.job_arn.rpartition('/')[2]}/"

    def _cancel(self, ref: str) -> None:
        """What a job that is over answers is told differently by different people (§3.3): looking decides."""
        try:
            with reading(f"The cancellation of batch {ref}", "made"):
                self.client.stop_model_invocation_job(jobIdentifier=ref)
        except Unavailable as error:
            if error.kind == "absent" or status_of(self._read_job(ref)[0]).state not in (State.ended, State.rejected):
                raise
        if status_of(self._read_job(ref)[0]).state in (State.queued, State.running):  # the answer itself says nothing
            raise Unavailable(f"Batch {ref} was asked to stop and does not yet: ask again.")


def status_of(job: _Job, pause_s: float | None = None) -> Status:
    """What a job says, in our words. Pure. Counts are 0 while it is validated (PROVIDERS §3.3)."""
    word = job.status.lower()
    state, warning = STATES.get(word, State.running), ""
    if word not in STATES:
        warning = f"Batch {job.job_arn} has the unknown status {word[:40]!r}: taken as running."
    if state is State.rejected and job.processed_record_count:
        state, warning = State.ended, f"Batch {job.job_arn} failed on its way: what it had answered is read."
    told = (job.message or "")[:MESSAGE_LENGTH]
    code = word if state is State.rejected else ""
    if not job.total_record_count:
        return Status(state, word, code=code, message=told, warning=warning, retry_after_s=pause_s)
    return Status(
        state,
        word,
        total=job.total_record_count,
        done=job.processed_record_count,
        failed=job.error_record_count,
        code=code,
        message=told,
        warning=warning,
        retry_after_s=pause_s,
    )


def _answers_owed(job: _Job) -> bool:
    """Whether a result file must be there: where records were processed, or nobody says that none were."""
    if job.processed_record_count is not None and (job.processed_record_count or job.total_record_count):
        return job.processed_record_count > 0
    return job.status.lower() in ("completed", "partiallycompleted")


def _names(shard: ShardFile, tag: Tag) -> dict[str, Any]:
    """Token and name of a purchase. Equal for equal purchases alone: the same tag in another store is another."""
    token = hashlib.sha256(f"{tag} {shard.url}".encode()).hexdigest()
    told = re.sub(r"[^a-zA-Z0-9.-]", "-", str(tag)).lstrip("-.")
    kept = told[: JOB_NAME_LENGTH - MARK_LENGTH - 1].rstrip("-.")
    return {"clientRequestToken": token, "jobName": f"{kept}-{token[:MARK_LENGTH]}".lstrip("-")}


def _is(job: _Job, order: dict[str, Any]) -> bool:
    if job.client_request_token:
        return bool(job.client_request_token == order["clientRequestToken"])
    return bool(job.job_name == order["jobName"])


def _fits(job: _Job, shard: ShardFile) -> bool:
    """Whether a job has the model and the input that were asked for; AWS may tell an id as an ARN."""
    theirs, ours = (name.rpartition("/")[2] for name in (job.model_id, shard.model))
    return theirs == ours and job.input_data_config.place.s3_uri == shard.url


def check(options: Mapping[str, str]) -> None:
    """Raises ValueError for options that AWS would not take: a missing or broken `role_arn`, a broken `kms_key`."""
    try:
        _accepted(options)
    except Refused as refusal:
        raise ValueError(str(refusal)) from None


def _accepted(options: Mapping[str, str]) -> tuple[str, str]:
    """Role and key of a job; "" for no key of one's own. Raises Refused."""
    role, key = options.get("role_arn", ""), options.get("kms_key", "")
    return _checked(_ROLE, "bedrock_role_arn", role), key and _checked(_KMS_KEY, "bedrock_kms_key", key)


def _checked(pattern: re.Pattern[str], what: str, text: str) -> str:
    if not text or len(text) > _PLACE_LENGTH or not pattern.fullmatch(text):
        told = f"{text[:200]!r} cannot be a {what}" if text else f"There is no {what}"
        raise Refused(f"{told}: write it like {_LIKE[pattern]}.", kind="blocked", code="settings")
    return text


def _moment(job: _Job) -> datetime:
    return job.submit_time.astimezone(UTC)


def _result_lines(objects: Objects, key: str) -> Iterator[bytes]:
    """The lines of a result file without the echo of their requests, in pieces of a bounded size."""
    piece: list[bytes] = []
    size = 0
    with objects.local(key) as path, path.open("rb") as file:
        for line in file:
            kept = without_echo(line)
            if piece and size + len(kept) > CHUNK_BYTES:
                yield b"".join(piece)
                piece, size = [], 0
            piece.append(kept)
            size += len(kept)
    if piece:
        yield b"".join(piece)
