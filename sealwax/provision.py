"""What Sealwax needs in AWS, as data, and a way to make it.

`desired_state` is pure: queues, tables and keys derived from the settings.
`provision` makes what is missing and corrects what differs; `sealwax dev` and
the tests call it. `audit` only looks, and says what is wrong and how to put it
right; `sealwax check` prints it. In production CloudFormation makes these
resources (`ecs/`) and `provision` is not used. Nothing here ever deletes or
empties anything.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from botocore.exceptions import ClientError

from sealwax.aws import Aws, error_code
from sealwax.errors import SealwaxError
from sealwax.settings import SQS_RETENTION_MAX, Settings

__all__ = [
    "DesiredState",
    "Finding",
    "IndexSpec",
    "KeySpec",
    "ProvisionError",
    "QueueSpec",
    "Report",
    "TableSpec",
    "audit",
    "desired_state",
    "provision",
]

#: Receives after which SQS itself moves a message to the dead-letter queue: a
#: backstop far above any number of attempts, and SQS's maximum.
#: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SetQueueAttributes.html
MAX_RECEIVE_COUNT = 1_000

#: How long a new table or index may take to become active, in seconds.
TABLE_WAIT_SECONDS = 120.0

ROLES: tuple[Literal["api", "worker", "steward", "shared"], ...] = (
    "api",
    "worker",
    "steward",
    "shared",
)


class ProvisionError(SealwaxError):
    """A resource exists but cannot be corrected in place; the message names it and the remedy."""


@dataclass(frozen=True)
class QueueSpec:
    """One SQS queue: its attributes, and the name of its dead-letter queue if it has one."""

    name: str
    attributes: dict[str, str]
    dead_letter_queue: str | None = None


@dataclass(frozen=True)
class IndexSpec:
    """A keys-only global secondary index: attribute name and DynamoDB type of each key."""

    name: str
    keys: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class TableSpec:
    """An on-demand DynamoDB table; `keys` is hash key, then range key if there is one."""

    name: str
    keys: tuple[tuple[str, str], ...]
    indexes: tuple[IndexSpec, ...] = ()
    ttl: str | None = None


@dataclass(frozen=True)
class KeySpec:
    """A symmetric KMS key, known by its alias."""

    alias: str
    description: str


@dataclass(frozen=True)
class DesiredState:
    """Everything one environment needs in AWS; dead-letter queues before their queues."""

    queues: tuple[QueueSpec, ...]
    tables: tuple[TableSpec, ...]
    keys: tuple[KeySpec, ...]


@dataclass
class Report:
    """What `provision` did, by resource name."""

    created: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Finding:
    """One line of an audit: a resource, and what is wrong with it (`None`: nothing)."""

    kind: Literal["queue", "dead-letter queue", "table", "key"]
    name: str
    problem: str | None = None
    remedy: str | None = None

    @property
    def ok(self) -> bool:
        """Whether the resource is as it should be."""
        return self.problem is None


def desired_state(settings: Settings) -> DesiredState:
    """Return what the settings ask for in AWS, without asking AWS anything."""
    queues: list[QueueSpec] = []
    for lane in settings.lanes:
        name = settings.queue_name(lane)
        dead = settings.dead_letter_queue_name(lane)
        # High throughput needs both the scope and the quota by message group:
        # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/high-throughput-fifo.html
        fifo = (
            {
                "FifoQueue": "true",
                "ContentBasedDeduplication": "false",
                "DeduplicationScope": "messageGroup",
                "FifoThroughputLimit": "perMessageGroupId",
            }
            if name.endswith(".fifo")
            else {}
        )
        retention = {"MessageRetentionPeriod": str(SQS_RETENTION_MAX)}
        queues.append(QueueSpec(dead, {**retention, **fifo}))
        queues.append(
            QueueSpec(
                name,
                {**retention, "VisibilityTimeout": str(settings.lanes[lane].lease), **fifo},
                dead_letter_queue=dead,
            )
        )
    return DesiredState(tuple(queues), _tables(settings), _keys(settings))


def _tables(settings: Settings) -> tuple[TableSpec, ...]:
    return (
        TableSpec(
            settings.table_name("jobs"),
            (("id", "S"),),
            (
                IndexSpec("by-tenant", (("tenant", "S"), ("created", "N"))),
                # Sparse: only jobs that somebody must look at have `due`.
                IndexSpec("by-due", (("due_shard", "S"), ("due", "N"))),
            ),
            ttl="expires",
        ),
        TableSpec(settings.table_name("tokens"), (("digest", "S"),)),
        # CredStash's own schema.
        TableSpec(settings.table_name("secrets"), (("name", "S"), ("version", "S"))),
        TableSpec(
            settings.table_name("outbox"),
            (("id", "S"),),
            (IndexSpec("by-due", (("shard", "S"), ("due", "N"))),),
        ),
    )


def _keys(settings: Settings) -> tuple[KeySpec, ...]:
    return tuple(
        KeySpec(settings.kms_alias(role), f"Sealwax {settings.environment}: secrets of {role}")
        for role in ROLES
    )


def provision(
    settings: Settings, aws: Aws, *, sleep: Callable[[float], None] = time.sleep
) -> Report:
    """Make what is missing and correct what differs; safe to repeat at any time.

    Parameters
    ----------
    settings
        Names and lanes.
    aws
        Clients; their identity must be allowed to create queues, tables, keys.
    sleep
        Waits between looks at a table that is not active yet.

    Raises
    ------
    ProvisionError
        Where an existing table has other keys, or an index does not become
        active in time.
    """
    state = desired_state(settings)
    report = Report()
    for queue in state.queues:
        _provision_queue(queue, aws.client("sqs"), report)
    for table in state.tables:
        _provision_table(table, aws.client("dynamodb"), report, sleep)
    for key in state.keys:
        _provision_key(key, aws.client("kms"), report)
    return report


def _queue_url(sqs: Any, name: str) -> str | None:
    try:
        return str(sqs.get_queue_url(QueueName=name)["QueueUrl"])
    except sqs.exceptions.QueueDoesNotExist:
        return None


def _queue_attributes(sqs: Any, url: str) -> dict[str, str]:
    answer = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
    return dict(answer.get("Attributes", {}))


def _wanted_attributes(spec: QueueSpec, dead_letter_arn: str | None) -> dict[str, str]:
    wanted = dict(spec.attributes)
    if dead_letter_arn:
        wanted["RedrivePolicy"] = json.dumps(
            {"deadLetterTargetArn": dead_letter_arn, "maxReceiveCount": MAX_RECEIVE_COUNT}
        )
    return wanted


def _same(name: str, wanted: str, found: str | None) -> bool:
    if found is None:
        return False
    if name == "RedrivePolicy":
        # AWS accepts and returns maxReceiveCount as a number or as text.
        first, second = json.loads(wanted), json.loads(found)
        return all(str(first[key]) == str(second.get(key)) for key in first)
    return wanted.lower() == found.lower()


def _provision_queue(spec: QueueSpec, sqs: Any, report: Report) -> None:
    dead_letter_arn = None
    if spec.dead_letter_queue:
        dead_url = _queue_url(sqs, spec.dead_letter_queue)
        if dead_url is None:  # made just before, from the same state
            raise ProvisionError(f"Queue {spec.dead_letter_queue} vanished; run it again.")
        dead_letter_arn = _queue_attributes(sqs, dead_url)["QueueArn"]
    wanted = _wanted_attributes(spec, dead_letter_arn)
    url = _queue_url(sqs, spec.name)
    if url is None:
        sqs.create_queue(QueueName=spec.name, Attributes=wanted)
        report.created.append(spec.name)
        return
    found = _queue_attributes(sqs, url)
    differing = {
        name: value for name, value in wanted.items() if not _same(name, value, found.get(name))
    }
    if not differing:
        report.unchanged.append(spec.name)
        return
    sqs.set_queue_attributes(QueueUrl=url, Attributes=differing)
    report.changed.append(spec.name)


def _describe_table(dynamodb: Any, name: str) -> dict[str, Any] | None:
    try:
        return dict(dynamodb.describe_table(TableName=name)["Table"])
    except dynamodb.exceptions.ResourceNotFoundException:
        return None


def _key_schema(keys: tuple[tuple[str, str], ...]) -> list[dict[str, str]]:
    return [
        {"AttributeName": name, "KeyType": kind}
        for (name, _), kind in zip(keys, ("HASH", "RANGE"), strict=False)
    ]


def _attribute_definitions(spec: TableSpec) -> list[dict[str, str]]:
    kinds = dict(spec.keys)
    for index in spec.indexes:
        kinds.update(index.keys)
    return [{"AttributeName": name, "AttributeType": kind} for name, kind in kinds.items()]


def _index_request(index: IndexSpec) -> dict[str, Any]:
    return {
        "IndexName": index.name,
        "KeySchema": _key_schema(index.keys),
        "Projection": {"ProjectionType": "KEYS_ONLY"},
    }


def _schema_problem(spec: TableSpec, found: dict[str, Any]) -> str | None:
    kinds = {
        item["AttributeName"]: item["AttributeType"]
        for item in found.get("AttributeDefinitions", [])
    }

    def described(schema: list[dict[str, str]]) -> tuple[tuple[str, str], ...]:
        ordered = sorted(schema, key=lambda item: item["KeyType"])  # HASH before RANGE
        return tuple(
            (item["AttributeName"], kinds.get(item["AttributeName"], "?")) for item in ordered
        )

    if described(found["KeySchema"]) != spec.keys:
        return f"its key is {described(found['KeySchema'])}, not {spec.keys}"
    existing = {item["IndexName"]: item for item in found.get("GlobalSecondaryIndexes") or []}
    for index in spec.indexes:
        if index.name in existing:
            keys = described(existing[index.name]["KeySchema"])
            if keys != index.keys:
                return f"index {index.name} has the keys {keys}, not {index.keys}"
    return None


def _missing_indexes(spec: TableSpec, found: dict[str, Any]) -> list[IndexSpec]:
    existing = {item["IndexName"] for item in found.get("GlobalSecondaryIndexes") or []}
    return [index for index in spec.indexes if index.name not in existing]


def _ttl_attribute(dynamodb: Any, name: str) -> str | None:
    answer = dynamodb.describe_time_to_live(TableName=name)["TimeToLiveDescription"]
    if answer.get("TimeToLiveStatus") in {"ENABLED", "ENABLING"}:
        return str(answer.get("AttributeName"))
    return None


def _provision_table(
    spec: TableSpec, dynamodb: Any, report: Report, sleep: Callable[[float], None]
) -> None:
    found = _describe_table(dynamodb, spec.name)
    changed = False
    if found is None:
        request: dict[str, Any] = {
            "TableName": spec.name,
            "BillingMode": "PAY_PER_REQUEST",
            "KeySchema": _key_schema(spec.keys),
            "AttributeDefinitions": _attribute_definitions(spec),
        }
        if spec.indexes:
            request["GlobalSecondaryIndexes"] = [_index_request(item) for item in spec.indexes]
        dynamodb.create_table(**request)
        _wait_active(dynamodb, spec.name, sleep)
    else:
        problem = _schema_problem(spec, found)
        if problem:
            raise ProvisionError(
                f"Table {spec.name} cannot be used: {problem}. Keys cannot be changed in place; "
                "move the data and delete the table, or use another environment name."
            )
        _wait_active(dynamodb, spec.name, sleep)
        for index in _missing_indexes(spec, found):  # DynamoDB makes one index at a time
            dynamodb.update_table(
                TableName=spec.name,
                AttributeDefinitions=_attribute_definitions(spec),
                GlobalSecondaryIndexUpdates=[{"Create": _index_request(index)}],
            )
            _wait_active(dynamodb, spec.name, sleep)
            changed = True
    if spec.ttl and _ttl_attribute(dynamodb, spec.name) != spec.ttl:
        dynamodb.update_time_to_live(
            TableName=spec.name,
            TimeToLiveSpecification={"Enabled": True, "AttributeName": spec.ttl},
        )
        changed = True
    if found is None:
        report.created.append(spec.name)
    else:
        (report.changed if changed else report.unchanged).append(spec.name)


def _wait_active(dynamodb: Any, name: str, sleep: Callable[[float], None]) -> None:
    pause, waited = 0.05, 0.0
    while waited < TABLE_WAIT_SECONDS:
        found = _describe_table(dynamodb, name)
        if found and found["TableStatus"] == "ACTIVE":
            indexes = found.get("GlobalSecondaryIndexes") or []
            if all(item.get("IndexStatus", "ACTIVE") == "ACTIVE" for item in indexes):
                return
        sleep(pause)
        waited += pause
        pause = min(pause * 2, 2.0)
    raise ProvisionError(
        f"Table {name} is not active after {TABLE_WAIT_SECONDS:.0f} s; run it again later."
    )


def _key_state(kms: Any, alias: str) -> str | None:
    try:
        return str(kms.describe_key(KeyId=alias)["KeyMetadata"]["KeyState"])
    except ClientError as error:
        if error_code(error) == "NotFoundException":
            return None
        raise


def _provision_key(spec: KeySpec, kms: Any, report: Report) -> None:
    if _key_state(kms, spec.alias) is not None:
        report.unchanged.append(spec.alias)
        return
    made = kms.create_key(Description=spec.description, KeyUsage="ENCRYPT_DECRYPT")
    kms.create_alias(AliasName=spec.alias, TargetKeyId=made["KeyMetadata"]["KeyId"])
    report.created.append(spec.alias)


def audit(settings: Settings, aws: Aws) -> list[Finding]:
    """Compare AWS with `desired_state`; one finding a resource, nothing is changed.

    Errors of AWS other than "not found" (no permission, unreachable) are left
    to the caller.
    """
    state = desired_state(settings)
    return [
        *(_audit_queue(spec, aws.client("sqs")) for spec in state.queues),
        *(_audit_table(spec, aws.client("dynamodb")) for spec in state.tables),
        *(_audit_key(spec, aws.client("kms")) for spec in state.keys),
    ]


_MAKE = "deploy the data layer again (locally: `sealwax dev`)"


def _audit_queue(spec: QueueSpec, sqs: Any) -> Finding:
    kind: Literal["queue", "dead-letter queue"] = (
        "queue" if spec.dead_letter_queue else "dead-letter queue"
    )
    url = _queue_url(sqs, spec.name)
    if url is None:
        return Finding(kind, spec.name, "it does not exist", _MAKE)
    found = _queue_attributes(sqs, url)
    for name, value in spec.attributes.items():
        if not _same(name, value, found.get(name)):
            return Finding(
                kind,
                spec.name,
                f"{name} is {found.get(name, 'not set')}, not {value}",
                f"set {name} of the queue to {value}"
                + (", or the lane's `lease`" if name == "VisibilityTimeout" else ""),
            )
    if spec.dead_letter_queue:
        return _audit_redrive(spec, found)
    return Finding(kind, spec.name)


def _audit_redrive(spec: QueueSpec, found: dict[str, str]) -> Finding:
    policy = json.loads(found.get("RedrivePolicy") or "{}")
    target = str(policy.get("deadLetterTargetArn", "")).rsplit(":", 1)[-1]
    if not target:
        problem = "it has no dead-letter queue"
    elif target != spec.dead_letter_queue:
        problem = f"its dead-letter queue is {target}, not {spec.dead_letter_queue}"
    elif str(policy.get("maxReceiveCount")) != str(MAX_RECEIVE_COUNT):
        problem = f"maxReceiveCount is {policy.get('maxReceiveCount')}, not {MAX_RECEIVE_COUNT}"
    else:
        return Finding("queue", spec.name)
    remedy = (
        f"set its RedrivePolicy to {spec.dead_letter_queue} with maxReceiveCount "
        f"{MAX_RECEIVE_COUNT}; Sealwax dead-letters by itself and keeps SQS's own as a backstop"
    )
    return Finding("queue", spec.name, problem, remedy)


def _audit_table(spec: TableSpec, dynamodb: Any) -> Finding:
    found = _describe_table(dynamodb, spec.name)
    if found is None:
        return Finding("table", spec.name, "it does not exist", _MAKE)
    problem = _schema_problem(spec, found)
    if problem:
        return Finding("table", spec.name, problem, "use another environment name")
    missing = _missing_indexes(spec, found)
    if missing:
        names = ", ".join(index.name for index in missing)
        return Finding("table", spec.name, f"it lacks the index {names}", _MAKE)
    if spec.ttl and _ttl_attribute(dynamodb, spec.name) != spec.ttl:
        return Finding(
            "table",
            spec.name,
            f"time to live on `{spec.ttl}` is off, so finished jobs stay for ever",
            f"switch on TTL with the attribute `{spec.ttl}`",
        )
    return Finding("table", spec.name)


def _audit_key(spec: KeySpec, kms: Any) -> Finding:
    state = _key_state(kms, spec.alias)
    if state is None:
        return Finding("key", spec.alias, "it does not exist", _MAKE)
    if state != "Enabled":
        return Finding("key", spec.alias, f"its state is {state}", "enable the key in KMS")
    return Finding("key", spec.alias)
