"""What the Bedrock tests share: clients, records, jobs in a real S3 server."""

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import boto3
from botocore.config import Config

from providers.emulator import Emulator
from tests.emulator.support import DEAL
from tests.storage.stores import BUCKET, s3_client

CLAUDE = "us.anthropic.claude-haiku-4-5-20251001-v1:0"
ROLE = "arn:aws:iam::000000000000:role/batch"


def client_of(service: str, url: str, **options: Any) -> Any:
    """boto3's client for the emulator; one attempt, so that faults are seen."""
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
    config = Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=10)
    return _session().client(service, endpoint_url=url, config=config, **{**keys, **options})


@cache
def _session() -> Any:
    return boto3.session.Session()


def claude(prompt: str, **more: Any) -> dict[str, Any]:
    """Claude's own body for a deal."""
    config = {"format": {"type": "json_schema", "schema": DEAL}}
    base = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 1000, "output_config": config}
    return {**base, "messages": [{"role": "user", "content": prompt}], **more}


def converse(prompt: str, **more: Any) -> dict[str, Any]:
    """A Converse body for a deal."""
    structure = {"jsonSchema": {"name": "deal", "schema": json.dumps(DEAL)}}
    shape = {"textFormat": {"type": "json_schema", "structure": structure}}
    messages = [{"role": "user", "content": [{"text": prompt}]}]
    return {"messages": messages, "inferenceConfig": {"maxTokens": 1000}, "outputConfig": shape, **more}


def records(bodies: Sequence[Any], prefix: str = "job") -> bytes:
    """An input file."""
    lines = [{"recordId": f"{prefix}-{at}", "modelInput": body} for at, body in enumerate(bodies)]
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def deals(count: int) -> bytes:
    return records([claude(f"deal {at}") for at in range(count)])


@dataclass
class Account:
    """One emulated account and a folder of its own in the S3 server."""

    emulator: Emulator
    s3_endpoint: str
    jobs: Any
    runtime: Any
    folder: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def s3(self) -> Any:
        return s3_client(self.s3_endpoint)

    def uri(self, name: str) -> str:
        return f"s3://{BUCKET}/{self.folder}/{name}"

    def upload(self, content: bytes, name: str = "in.jsonl") -> str:
        self.s3.put_object(Bucket=BUCKET, Key=f"{self.folder}/{name}", Body=content)
        return self.uri(name)

    def request(self, **more: Any) -> dict[str, Any]:
        """The parameters of a create; the input lies at `in.jsonl`."""
        base = {
            "jobName": f"night-{uuid.uuid4().hex[:12]}",
            "roleArn": ROLE,
            "modelId": CLAUDE,
            "inputDataConfig": {"s3InputDataConfig": {"s3Uri": self.uri("in.jsonl")}},
            "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": self.uri("out")}},
        }
        return {**base, **more}

    def create(self, content: bytes | None = None, **more: Any) -> str:
        """Upload and create; the job's ARN."""
        if content is not None:
            self.upload(content)
        return str(self.jobs.create_model_invocation_job(**self.request(**more))["jobArn"])

    def look(self, arn: str) -> Any:
        return self.jobs.get_model_invocation_job(jobIdentifier=arn)

    def status(self, arn: str) -> str:
        return str(self.look(arn)["status"])

    def done(self, content: bytes, **more: Any) -> dict[str, Any]:
        """Create, let the batch's time pass: the output lines by record id."""
        arn = self.create(content, **more)
        self.emulator.advance(600)
        self.look(arn)
        return {one["recordId"]: one for one in self.output(arn)}

    def keys(self, arn: str) -> list[str]:
        """The output objects' names below the job's folder."""
        folder = f"{self.folder}/out/{arn.rpartition('/')[2]}/"
        found = self.s3.list_objects_v2(Bucket=BUCKET, Prefix=folder).get("Contents", ())
        return [one["Key"].removeprefix(folder) for one in found]

    def read(self, arn: str, name: str) -> bytes:
        key = f"{self.folder}/out/{arn.rpartition('/')[2]}/{name}"
        return bytes(self.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())

    def output(self, arn: str, name: str = "in.jsonl.out") -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.read(arn, name).splitlines()]

    def manifest(self, arn: str) -> dict[str, int]:
        return dict(json.loads(self.read(arn, "manifest.json.out")))
