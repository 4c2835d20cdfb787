"""What IAM is asked for one call to AWS: actions, resources and the conditions' values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from support.templates import ACCOUNT, REGION, Request

__all__ = ["LEADING", "requests"]

#: Name of each table's partition key.
LEADING = {
    "jobs": "id",
    "tokens": "digest",
    "secrets": "name",
    "outbox": "id",
    "control": "kind",
    "letters": "id",
    "audit": "day",
}


def requests(
    environment: str, service: str, operation: str, params: dict[str, Any]
) -> Iterator[Request]:
    """Yield what one call needs; several items are several requests."""
    arn = f"arn:aws:{service}:{REGION}:{ACCOUNT}:"
    if service == "sqs":
        name = params.get("QueueName") or params["QueueUrl"].rpartition("/")[2]
        yield Request(f"sqs:{operation.removesuffix('Batch')}", arn + name)
    elif service == "dynamodb":
        yield from _of_table(operation, params)
    elif service == "kms":
        yield _of_key(environment, arn, operation, params)
    elif service == "s3":
        yield from _of_bucket(operation, params)


def _of_bucket(operation: str, params: dict[str, Any]) -> Iterator[Request]:
    bucket = f"arn:aws:s3:::{params['Bucket']}"
    if operation in ("ListObjectsV2", "HeadBucket"):
        prefix = {"s3:prefix": params["Prefix"]} if "Prefix" in params else {}
        yield Request("s3:ListBucket", bucket, prefix)
    elif operation == "CopyObject":
        source = params["CopySource"]
        yield Request("s3:GetObject", f"arn:aws:s3:::{source['Bucket']}/{source['Key']}")
        yield Request("s3:PutObject", f"{bucket}/{params['Key']}")
    elif "Key" in params:
        action = {"HeadObject": "GetObject"}.get(operation, operation)
        yield Request(f"s3:{action}", f"{bucket}/{params['Key']}")
    else:
        yield Request(f"s3:{operation}", bucket)


def _of_key(environment: str, arn: str, operation: str, params: dict[str, Any]) -> Request:
    context = params.get("EncryptionContext", {})
    # What decrypts names no key: it stands in the ciphertext. Each owner's secrets have one.
    owner = (
        context["name"].split("/")[0].replace("app", "worker")
        if context
        else str(params.get("KeyId", "")).rpartition("-")[2]
    )
    return Request(
        f"kms:{operation}",
        f"{arn}key/{environment}/{owner.capitalize()}Key",
        {f"kms:EncryptionContext:{name}": value for name, value in context.items()},
    )


def _of_table(operation: str, params: dict[str, Any]) -> Iterator[Request]:
    if operation == "BatchGetItem":
        for table, asked in params["RequestItems"].items():
            for key in asked["Keys"]:
                yield _of_item(operation, {"TableName": table, "Key": key})
    elif operation == "BatchWriteItem":
        for table, asked in params["RequestItems"].items():
            for item in asked:
                (fields, *_) = item.values()
                yield _of_item(operation, {"TableName": table, **fields})
    elif operation == "TransactWriteItems":
        for item in params["TransactItems"]:
            (kind, fields), *_ = item.items()
            request = _of_item(f"{kind.removesuffix('Item')}Item", fields)
            if kind == "ConditionCheck":
                request.action = "dynamodb:ConditionCheckItem"
            request.context["dynamodb:EnclosingOperation"] = [operation]
            yield request
    elif "TableName" in params:
        yield _of_item(operation, params)


def _of_item(operation: str, params: dict[str, Any]) -> Request:
    """Return what IAM asks for one item or query, with the leading key that it names."""
    name = params["TableName"]
    arn = f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{name}"
    if "IndexName" in params:
        arn += f"/index/{params['IndexName']}"
    leading = LEADING.get(name.rpartition("-")[2])
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
