"""Every key of the object store is built here and nowhere else.

    accepted/000001.json …                              the order in which jobs were accepted, put-once by number
    jobs/<job>/plan.<sha8>.json                         the plan before its job was accepted
    jobs/<job>/plan.json                                the same once it was: a job exists when this object does
    jobs/<job>/shards/<shard>.<sha8>.jsonl.zst          requests, as the provider gets them (.jsonl: it reads them here)
    jobs/<job>/shards/<shard>.<sha8>.items.parquet      which request is which item
    jobs/<job>/carried.<sha8>.parquet                   items whose answer is reused or awaited from another job
    jobs/<job>/rejects.<sha8>.parquet                   input lines that could not become a request
    jobs/<job>/ledger/<name>/000001.json …              append-only, put-once by number
    jobs/<job>/<provider>/<shard>/…                     where such a provider writes its answers
    jobs/<job>/raw/<shard>/<n>-<kind>.<sha8>.jsonl.zst  the provider's bytes
    jobs/<job>/outcomes/<shard>.<sha8>.parquet          how every request of the shard ended
    jobs/<job>/strays/<shard>.<sha8>.parquet            answers that belong to no request
    doctor/<probe>/<name>                               what `doctor` writes to see what the store promises

`sha8` is the beginning of the SHA-256 of the object's own bytes, so that two packings of one shard never share a key.
Characters stay inside what Bedrock accepts in an S3 location (DESIGN §4); sizes stay inside S3's and ext4's limits.
"""

import re

from storage.contract import BadName

SEGMENT = re.compile(r"[A-Za-z0-9\-._!*'()]{1,200}")
_SEGMENT = re.compile(rf"(?!\.\.?(?:/|\Z)){SEGMENT.pattern}")
_KEY = re.compile(rf"{_SEGMENT.pattern}(?:/{_SEGMENT.pattern})*")
_JOB = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
_SHA8 = re.compile(r"[0-9a-f]{8}")
_CONTENT = re.compile(r"\.([0-9a-f]{8})(?:\.jsonl(?:\.zst)?|(?:\.items)?\.parquet|\.json)$")
_KEY_LENGTH_MAX = 1024


def jobs_prefix() -> str:
    """Below it there is one child for each job."""
    return "jobs/"


def job_prefix(job: str) -> str:
    """Everything a job owns has a key that begins with this."""
    return f"jobs/{_checked(_JOB, 'job id', job)}/"


def accepted_prefix() -> str:
    """Below it there is one record for each accepted job."""
    return "accepted/"


def accepted_key(number: int) -> str:
    """The job accepted as this one, counted from 1."""
    return f"{accepted_prefix()}{_checked_number('place in the order of jobs', number):06d}.json"


def plan_key(job: str) -> str:
    """The plan of an accepted job."""
    return f"{job_prefix(job)}plan.json"


def draft_key(job: str, sha8: str) -> str:
    """A plan that is not accepted yet."""
    return f"{_content(job, '', 'plan', sha8)}.json"


def shard_key(job: str, shard: str, sha8: str, *, packed: bool = True) -> str:
    """The shard's requests, compressed or, where the provider reads the object itself, plain."""
    return f"{_content(job, 'shards/', shard, sha8)}{'.jsonl.zst' if packed else '.jsonl'}"


def answers_prefix(job: str, provider: str, shard: str) -> str:
    """Below it a provider that reads shards here writes what it answers."""
    return f"{job_prefix(job)}{_checked(_NAME, 'provider', provider)}/{_checked(_NAME, 'shard id', shard)}/"


def requests_key(job: str, shard: str, sha8: str) -> str:
    """Which request of the shard is which item."""
    return f"{_content(job, 'shards/', shard, sha8)}.items.parquet"


def carried_key(job: str, sha8: str) -> str:
    """Items whose answer comes from another job."""
    return f"{_content(job, '', 'carried', sha8)}.parquet"


def rejects_key(job: str, sha8: str) -> str:
    """Input lines that could not become a request."""
    return f"{_content(job, '', 'rejects', sha8)}.parquet"


def raw_key(job: str, shard: str, n: int, kind: str, sha8: str) -> str:
    """The `n`-th result file of the shard's batch, counted from 1; `kind` is what the provider calls it."""
    name = f"{_checked_number('file number', n)}-{_checked(_NAME, 'kind of file', kind)}"
    folder = f"raw/{_checked(_NAME, 'shard id', shard)}/"
    return f"{_content(job, folder, name, sha8)}.jsonl.zst"


def outcomes_key(job: str, shard: str, sha8: str, n: int = 1) -> str:
    """How every request of the shard ended; `n` is 1 but where a damaged object is in the way."""
    return f"{_content(job, 'outcomes/', _numbered(shard, n), sha8)}.parquet"


def strays_key(job: str, shard: str, sha8: str, n: int = 1) -> str:
    """Answers that belong to no request of the shard; `n` as for its outcomes."""
    return f"{_content(job, 'strays/', _numbered(shard, n), sha8)}.parquet"


def raw_prefix(job: str, shard: str) -> str:
    """All that was fetched for the shard."""
    return f"{job_prefix(job)}raw/{_checked(_NAME, 'shard id', shard)}/"


def redacted_key(key: str, sha8: str) -> str:
    """Beside a table, the place of the same table without its texts."""
    match = _CONTENT.search(key)
    if match is None:
        raise BadName(f"{key[:200]!r} names no object with content")
    return key[: match.start(1)] + _checked(_SHA8, "hash", sha8) + key[match.end(1) :]


def doctor_prefix(probe: str = "") -> str:
    """The test objects of one probing, or of all."""
    return f"doctor/{_checked(_NAME, 'probe', probe)}/" if probe else "doctor/"


def doctor_key(probe: str, name: str) -> str:
    """A test object, of no job and of no worth."""
    return f"{doctor_prefix(probe)}{_checked(_NAME, 'name of a test object', name)}"


def ledgers_prefix(job: str) -> str:
    """Below it there is one child for each ledger of the job."""
    return f"{job_prefix(job)}ledger/"


def ledger_prefix(job: str, name: str) -> str:
    """All records of one ledger."""
    return f"{ledgers_prefix(job)}{_checked(_NAME, 'ledger name', name)}/"


def ledger_key(job: str, name: str, number: int) -> str:
    """One record of a ledger, counted from 1; six digits, so that keys sort as numbers do."""
    return f"{ledger_prefix(job, name)}{_checked_number('ledger number', number):06d}.json"


def is_key(text: str) -> bool:
    """Whether every store can hold an object under this key, inside the store."""
    return len(text) <= _KEY_LENGTH_MAX and _KEY.fullmatch(text) is not None


def checked_key(key: str) -> str:
    """The key itself; raises BadName when it is none."""
    if not is_key(key):
        raise BadName(f"{key[:200]!r} cannot be a key: letters, digits and -._!*'() between single slashes are allowed")
    return key


def checked_prefix(prefix: str) -> str:
    """The prefix itself, when a key could begin with it; else raises BadName."""
    if prefix:
        checked_key(f"{prefix}x")  # so that a prefix may end in "/" or in the middle of a segment
    return prefix


def content_sha8(key: str) -> str | None:
    """The hash that the key of an object with content promises; None for a plan or a ledger record."""
    match = _CONTENT.search(key)
    return match[1] if match else None


def is_segment(text: str) -> bool:
    """Whether a key may have this between two slashes."""
    return _SEGMENT.fullmatch(text) is not None


def _numbered(shard: str, n: int) -> str:
    return shard if n == 1 else f"{shard}_{_checked_number('copy', n)}"


def _content(job: str, folder: str, name: str, sha8: str) -> str:
    return f"{job_prefix(job)}{folder}{_checked(_NAME, 'shard id', name)}.{_checked(_SHA8, 'hash', sha8)}"


def _checked(pattern: re.Pattern[str], what: str, text: str) -> str:
    if not pattern.fullmatch(text):
        raise BadName(f"{text[:200]!r} cannot be a {what}: it must match {pattern.pattern}")
    return text


def _checked_number(what: str, number: int) -> int:
    if not 1 <= number <= 999_999:
        raise BadName(f"{number} cannot be a {what}: it must lie between 1 and 999999")
    return number
