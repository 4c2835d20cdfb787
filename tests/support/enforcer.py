"""The templates' policies put to work: each call of each client is checked before it leaves.

Emulators look at actions alone, or at nothing. What a role's policy, and a key's,
would refuse on AWS fails here as AWS would fail it: action, resource and conditions.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from sealwax.aws.clients import Aws
from sealwax.settings import Settings
from support.templates import ACCOUNT, REGION, Request, Stack, allows

__all__ = ["Enforcer", "enforced"]


class Enforcer:
    """Checks each call of each client against the policies of the current role."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        environment = {"Environment": settings.environment}
        self.role: str | None = None
        self.used: dict[str, set[str]] = {"api": set(), "worker": set()}
        self.refused: list[str] = []
        self.data = Stack("data", environment)
        queues = Stack("queues", environment)
        cluster = Stack("cluster", environment)
        imports = {**self.data.exports, **queues.exports, **cluster.exports}
        lane = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{settings.queue_name('default')}"
        self.stacks = {
            "api": Stack("api", {**environment, "LaneQueueArns": [lane]}, imports),
            "worker": Stack("worker", environment, imports),
        }

    def attach(self, client: Any) -> None:
        if client.meta.service_model.service_name == "sqs":
            # The transport's requests are made without the client's models: seen as they leave.
            client.meta.events.register("before-send.sqs", self._check_sent)
        else:
            client.meta.events.register("provide-client-params", self._check_called)

    def _check_called(self, params: dict[str, Any], model: Any, **_: Any) -> None:
        self._check(model.service_model.service_name, model.name, params)

    def _check_sent(self, request: Any, event_name: str, **_: Any) -> None:
        self._check("sqs", event_name.rpartition(".")[2], json.loads(request.body))

    def _check(self, service: str, operation: str, params: dict[str, Any]) -> None:
        if self.role is None:
            return
        for request in self._requests(service, operation, params):
            self.used[self.role].add(request.action)
            if not self._allowed(request):
                self.refused.append(f"{request.action} {request.resource}")
                refusal: Any = {
                    "Error": {"Code": "AccessDeniedException", "Message": request.action},
                    "ResponseMetadata": {"HTTPStatusCode": 400},
                }
                raise ClientError(refusal, operation)

    def _allowed(self, request: Request) -> bool:
        assert self.role is not None
        role = self.stacks[self.role].resources["TaskRole"]["Properties"]
        request.context["aws:PrincipalArn"] = f"arn:aws:iam::{ACCOUNT}:role/{role['RoleName']}"
        if not allows(role["Policies"][0]["PolicyDocument"]["Statement"], request):
            return False
        if not request.action.startswith("kms:"):
            return True
        key = self.data.resources[request.resource.rpartition("/")[2]]["Properties"]
        return allows(key["KeyPolicy"]["Statement"], request)

    def _requests(self, service: str, operation: str, params: dict[str, Any]) -> Iterator[Request]:
        arn = f"arn:aws:{service}:{REGION}:{ACCOUNT}:"
        if service == "sqs":
            name = params.get("QueueName") or params["QueueUrl"].rpartition("/")[2]
            yield Request(f"sqs:{operation.removesuffix('Batch')}", arn + name)
        elif service == "dynamodb" and operation in _OF_MANY:
            yield from self._of_many(operation, params)
        elif service == "dynamodb":
            yield self._of_item(operation, params)
        elif service == "kms":
            given = params["EncryptionContext"]
            owner = given["name"].split("/")[0].replace("app", "worker")
            context = {f"kms:EncryptionContext:{name}": value for name, value in given.items()}
            yield Request(f"kms:{operation}", f"{arn}key/{owner.capitalize()}Key", context)
        elif operation == "ListObjectsV2":
            yield Request("s3:ListBucket", f"arn:aws:s3:::{params['Bucket']}")
        elif operation == "CopyObject":
            source = params["CopySource"]
            yield Request("s3:GetObject", f"arn:aws:s3:::{source['Bucket']}/{source['Key']}")
            yield Request("s3:PutObject", f"arn:aws:s3:::{params['Bucket']}/{params['Key']}")
        else:
            yield Request(f"s3:{operation}", f"arn:aws:s3:::{params['Bucket']}/{params['Key']}")

    def _of_many(self, operation: str, params: dict[str, Any]) -> Iterator[Request]:
        """Yield what IAM asks for a call on several items: each item's own action."""
        if operation == "BatchGetItem":
            for table, asked in params["RequestItems"].items():
                for key in asked["Keys"]:
                    yield self._of_item("BatchGetItem", {"TableName": table, "Key": key})
            return
        for item in params["TransactItems"]:
            (kind, fields), *_ = item.items()
            request = self._of_item(f"{kind}Item", fields)
            request.context["dynamodb:EnclosingOperation"] = [operation]
            yield request

    def _of_item(self, operation: str, params: dict[str, Any]) -> Request:
        """Return what IAM asks for one call, with the leading keys that it names."""
        name = params["TableName"]
        arn = f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{name}"
        if "IndexName" in params:
            arn += f"/index/{params['IndexName']}"
        leading = _LEADING[name.removeprefix(f"{self.settings.name_prefix}-")]
        values = params.get("ExpressionAttributeValues", {})
        found = (params.get("Key") or params.get("Item") or {}).get(leading)
        if found is None and operation == "Query":
            # The key's value is the one that the condition compares with `=`.
            condition = params["KeyConditionExpression"]
            if not isinstance(condition, str):  # of a resource: boto3's own expression
                found = values.get(":name") or condition.get_expression()["values"][1]
            else:
                found = values[condition.split("=")[1].split()[0]]
        value = found["S"] if isinstance(found, dict) else found
        context = {"dynamodb:LeadingKeys": [value]} if value is not None else {}
        return Request(f"dynamodb:{operation}", arn, context)


#: Name of each table's partition key.
_LEADING = {
    "jobs": "id",
    "tokens": "digest",
    "secrets": "name",
    "outbox": "id",
    "control": "kind",
    "letters": "id",
    "audit": "day",
}
_OF_MANY = frozenset({"BatchGetItem", "TransactWriteItems"})


def enforced(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Enforcer:
    """Return the check of all clients that the product makes from now on."""
    made = Enforcer(settings)
    original = Aws._make

    def make(self: Aws, kind: str, service: str, overrides: dict[str, Any]) -> Any:
        known = len(self._clients)
        client = original(self, kind, service, overrides)
        if len(self._clients) > known:
            made.attach(client.meta.client if kind == "resource" else client)
        return client

    monkeypatch.setattr(Aws, "_make", make)
    return made
