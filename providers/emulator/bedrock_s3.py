"""The buckets that the emulated Bedrock reads from and writes to, on a real S3 server."""

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.loaders import create_loader

from providers.emulator.world import World

_PIECE = 1_048_576


class Unreachable(Exception):
    """S3 did not do what was asked; the message says why, in words for a job's `message`."""


@dataclass(frozen=True, slots=True)
class Source:
    """One input object. `name`: its key below the input prefix."""

    bucket: str
    key: str
    name: str
    size: int


class Buckets:
    """S3 at `Emulator.s3_endpoint`, else at AWS_ENDPOINT_URL_S3; never elsewhere. Credentials from the environment."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._lock = threading.Lock()
        self._clients: dict[str, Any] = {}

    def check(self, uri: str) -> None:
        """Raises Unreachable when the bucket is not there or not ours."""
        try:
            self._client().head_bucket(Bucket=_split(uri)[0])
        except (BotoCoreError, ClientError) as error:
            raise Unreachable(f"The service role could not reach the bucket of {uri}: {_why(error)}") from error

    def sources(self, uri: str) -> list[Source]:
        """The input objects at an S3 URI: the object itself, or every *.jsonl below it as a folder."""
        bucket, key = _split(uri)
        try:
            found = [(one["Key"], one["Size"]) for one in self._objects(bucket, key)]
        except (BotoCoreError, ClientError) as error:
            raise Unreachable(f"The service role could not list {uri}: {_why(error)}") from error
        exact = [Source(bucket, key, key.rpartition("/")[2], size) for one, size in found if one == key and key]
        folder = f"{key.rstrip('/')}/" if key else ""
        below = [
            Source(bucket, one, one.removeprefix(folder), size)
            for one, size in found
            if one.startswith(folder) and one.endswith(".jsonl")
        ]
        return exact or below

    def lines(self, source: Source) -> Iterator[bytes]:
        """The object's lines, streamed, without their line ends."""
        try:
            body = self._client().get_object(Bucket=source.bucket, Key=source.key)["Body"]
            with body:
                yield from body.iter_lines(_PIECE)
        except (BotoCoreError, ClientError) as error:
            raise Unreachable(f"The service role could not read {source.key}: {_why(error)}") from error

    def write(self, uri: str, name: str, path: Path, kms_key: str = "") -> None:
        """Put a file at `name` below an S3 URI."""
        bucket, key = _split(uri)
        folder = f"{key.rstrip('/')}/" if key else ""
        sealed = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": kms_key} if kms_key else {}
        try:
            self._client().upload_file(str(path), bucket, folder + name, ExtraArgs=sealed)
        except (BotoCoreError, ClientError, boto3.exceptions.Boto3Error) as error:
            raise Unreachable(f"The service role could not write {folder}{name}: {_why(error)}") from error

    def _objects(self, bucket: str, prefix: str) -> Iterator[dict[str, Any]]:
        pages = self._client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix.rstrip("/"))
        for page in pages:
            yield from page.get("Contents", ())

    def _client(self) -> Any:
        """Made when first needed, from the environment as it is then."""
        endpoint = self._world.settings.s3_endpoint or os.environ.get("AWS_ENDPOINT_URL_S3")
        if not endpoint:
            raise Unreachable("No S3 server was given: start the emulator with s3_endpoint or AWS_ENDPOINT_URL_S3.")
        with self._lock:
            if endpoint not in self._clients:
                once = {"total_max_attempts": 1}
                config = Config(s3={"addressing_style": "path"}, retries=once, connect_timeout=5, read_timeout=60)
                region = os.environ.get("AWS_DEFAULT_REGION", "us-east-1")
                session = botocore.session.get_session()
                session.register_component("data_loader", _loader())
                self._clients[endpoint] = boto3.session.Session(botocore_session=session).client(
                    "s3", endpoint_url=endpoint, region_name=region, config=config
                )
            return self._clients[endpoint]


@cache
def _loader() -> Any:
    """AWS's descriptions of its services, which take longer to read than most tests to run."""
    return create_loader()


def _split(uri: str) -> tuple[str, str]:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


def _why(error: Exception) -> str:
    if isinstance(error, ClientError):
        return str(error.response.get("Error", {}).get("Code", error))
    return str(error)
