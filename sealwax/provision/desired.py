"""Queues, tables and keys of one environment, derived from the settings; pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sealwax.settings import SQS_RETENTION_MAX, Settings

__all__ = [
    "MAX_RECEIVE_COUNT",
    "DesiredState",
    "IndexSpec",
    "KeySpec",
    "QueueSpec",
    "TableSpec",
    "desired_state",
]

#: Receives after which SQS itself moves a message to the dead-letter queue: a
#: backstop far above any number of attempts, and SQS's maximum.
#: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SetQueueAttributes.html
MAX_RECEIVE_COUNT = 1_000

#: Bytes of a message, in every queue alike: SQS's maximum. Queues that were made before
#: August 2025 have 262,144, whatever the default is now.
#: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SetQueueAttributes.html
MAX_MESSAGE_BYTES = 1_048_576

ROLES: tuple[Literal["api", "worker", "steward", "shared"], ...] = (
    "api",
    "worker",
    "steward",
    "shared",
)


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
    buckets: tuple[str, ...] = ()


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
        retention = {
            "MessageRetentionPeriod": str(SQS_RETENTION_MAX),
            "MaximumMessageSize": str(MAX_MESSAGE_BYTES),
        }
        queues.append(QueueSpec(dead, {**retention, **fifo}))
        queues.append(
            QueueSpec(
                name,
                {**retention, "VisibilityTimeout": str(settings.lanes[lane].lease), **fifo},
                dead_letter_queue=dead,
            )
        )
    return DesiredState(tuple(queues), _tables(settings), _keys(settings), (settings.bucket_name,))


def _tables(settings: Settings) -> tuple[TableSpec, ...]:
    return (
        TableSpec(
            settings.table_name("jobs"),
            (("id", "S"),),
            (
                IndexSpec("by-tenant", (("tenant", "S"), ("created", "N"))),
                # Sparse: only jobs that have not ended and dead ones have `watch`.
                IndexSpec("by-watch", (("watch", "S"), ("created", "N"))),
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
        TableSpec(settings.table_name("control"), (("kind", "S"), ("id", "S")), ttl="expires"),
        # Letters are listed by group while open, then by the replay that has them.
        TableSpec(
            settings.table_name("letters"),
            (("id", "S"), ("sort", "S")),
            (IndexSpec("by-list", (("list", "S"), ("at", "N"))),),
            ttl="expires",
        ),
        TableSpec(
            settings.table_name("audit"),
            (("day", "S"), ("id", "S")),
            ttl="expires",
        ),
    )


def _keys(settings: Settings) -> tuple[KeySpec, ...]:
    return tuple(
        KeySpec(settings.kms_alias(role), f"Sealwax {settings.environment}: secrets of {role}")
        for role in ROLES
    )
