"""The policies in docs/aws: real actions, all that our code calls and nothing else, words that the guide explains."""

import ast
import json
import re
from pathlib import Path
from typing import Any

import botocore.session
import pytest

ROOT = Path(__file__).parents[2]
AWS = ROOT / "docs/aws"
POLICIES = sorted(AWS.glob("*.json"))
PLACEHOLDERS = {"BUCKET", "PREFIX", "ACCOUNT", "REGION", "MODEL", "SERVICE_ROLE"}
# Where an action has another name than its operation (S3 alone), and the parts of a service that no model describes.
OPERATIONS = {"s3:ListBucket": "ListObjectsV2", "s3:*": "PutObject", "sts:AssumeRole": "AssumeRole"}
SERVICES = {"servicequotas": "service-quotas"}  # where an action's prefix is not the name of the service's model
PERMISSION_ONLY = {"iam:PassRole"}


def statements(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((AWS / f"{name}.json").read_text())["Statement"]
    return found


def listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def actions(name: str, effect: str = "Allow") -> set[str]:
    return {action for one in statements(name) if one["Effect"] == effect for action in listed(one["Action"])}


def calls(path: str) -> set[str]:
    """The client methods that a module calls or passes on: `client.put_object` → PutObject."""
    tree = ast.parse((ROOT / path).read_text())
    names = {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute) and ast.unparse(n.value).endswith("client")}
    return {"".join(part.capitalize() for part in name.split("_")) for name in names if "_" in name}


def operations(service: str) -> set[str]:
    model = botocore.session.get_session().get_service_model(service)
    return {name.lower() for name in model.operation_names}


RUNTIME = operations("bedrock-runtime")


@pytest.mark.parametrize("policy", POLICIES, ids=lambda path: path.stem)
def test_every_action_is_a_real_one(policy: Path):
    for action in actions(policy.stem) | actions(policy.stem, "Deny"):
        service, name = action.split(":")
        known = OPERATIONS.get(action, name).lower() in operations(SERVICES.get(service, service)) | (
            RUNTIME if service == "bedrock" else set()
        )
        assert known or action in PERMISSION_ONLY, action


@pytest.mark.parametrize("policy", POLICIES, ids=lambda path: path.stem)
def test_every_policy_is_complete(policy: Path):
    document = json.loads(policy.read_text())
    assert document["Version"] == "2012-10-17"
    sids = [one["Sid"] for one in document["Statement"]]
    assert len(set(sids)) == len(sids)
    assert all(re.fullmatch(r"[A-Za-z0-9]+", sid) for sid in sids)
    trusted = policy.stem in ("bucket", "bedrock-service-role-trust")
    assert all(("Principal" in one) is trusted for one in document["Statement"])


@pytest.mark.parametrize("policy", POLICIES, ids=lambda path: path.stem)
def test_placeholders_are_the_ones_the_guide_explains(policy: Path):
    named = set(re.findall(r"\b[A-Z][A-Z_]{3,}\b", policy.read_text()))
    assert named <= PLACEHOLDERS
    assert all(f"`{word}`" in (AWS / "README.md").read_text() for word in named)


@pytest.mark.parametrize("policy", POLICIES, ids=lambda path: path.stem)
def test_the_guide_names_every_policy(policy: Path):
    assert f"({policy.name})" in (AWS / "README.md").read_text()


def s3_actions(operations: set[str]) -> set[str]:
    names = {"ListObjectsV2": "ListBucket"}
    return {f"s3:{names.get(name, name)}" for name in operations}


def test_the_runner_may_call_what_the_store_calls_but_for_deleting():
    used = {name for name in calls("storage/s3.py") if name.lower() in operations("s3")}
    assert used >= {"PutObject", "GetObject", "DeleteObject", "ListObjectsV2"}
    assert actions("runner") == s3_actions(used) - {"s3:DeleteObject"}
    assert actions("purger") == actions("runner") | {"s3:DeleteObject"}


def test_the_runner_may_call_what_bedrock_takes_and_nothing_else():
    used = {name for name in calls("providers/bedrock.py") if name.lower() in operations("bedrock")}
    now = {"Converse": "InvokeModel"}  # the permission that both need
    now_used = {now.get(name, name) for name in calls("providers/bedrock_now.py") if name.lower() in RUNTIME}
    quotas = {name for name in calls("providers/bedrock_quotas.py") if name.lower() in operations("service-quotas")}
    wanted = {f"bedrock:{name}" for name in used | now_used} | {f"servicequotas:{name}" for name in quotas}
    assert actions("runner-bedrock") == wanted | {"iam:PassRole"}


def test_plans_and_ledgers_are_never_deleted():
    denied = {
        resource for one in statements("purger") if one["Effect"] == "Deny" for resource in listed(one["Resource"])
    }
    assert {resource.rpartition("PREFIX/")[2] for resource in denied} == {
        "accepted/*", "jobs/*/plan*.json", "jobs/*/ledger/*",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["runner", "purger", "bedrock-service-role"])
def test_nobody_gets_more_than_the_store(name: str):
    for one in statements(name):
        for resource in listed(one["Resource"]):
            assert resource == "arn:aws:s3:::BUCKET" or resource.startswith("arn:aws:s3:::BUCKET/PREFIX/")
