"""The transport's options: `broker_transport_options` as one checked value.

Read once, when the first connection of a process is made. Unknown names are
refused, so that a misspelt option cannot pass silently; what becomes of those that
only stock kombu knows stands in `sealwax.transport.stock_options`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from sealwax.outcomes import DeadLetter
from sealwax.transport.addresses import BrokerAddress, check_queue_url
from sealwax.transport.codec import MAX_DEPTH
from sealwax.transport.errors import QueueNotFound, TransportOptionInvalid
from sealwax.transport.pauses import ConsumerPauses
from sealwax.transport.stock_options import (
    IGNORED,
    REFUSED,
    SILENT,
    check_shapes,
    endpoint_of,
    keys_of,
    nearest,
    notes_on,
    queue_fields,
    refuse_stock,
    region_with,
    sqs_name,
)

__all__ = ["MAX_VISIBILITY", "QueueOptions", "TransportOptions"]

#: A message stays invisible at most this long after one receive, in seconds.
#: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-visibility-timeout.html
MAX_VISIBILITY = 43_200

#: Longest DelaySeconds of one message.
#: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html
MAX_DELAY = 900

#: Largest message, and largest sum of a batch, in bytes.
#: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
MAX_BYTES = 1_048_576


@dataclass(frozen=True, kw_only=True)
class QueueOptions:
    """One queue, by its logical name.

    Parameters
    ----------
    queue
        SQS queue name; default: the logical name.
    url
        Queue URL; default: looked up by name on first use.
    dead_letter_queue
        Name of the dead-letter queue; default: the one of the queue's RedrivePolicy.
    """

    queue: str | None = None
    url: str | None = None
    dead_letter_queue: str | None = None


@dataclass(frozen=True, kw_only=True)
class TransportOptions:
    """All options, in seconds and bytes unless said otherwise.

    Parameters
    ----------
    queues
        Logical name to `QueueOptions` (or a mapping of its fields).
    region
        Of all queues; default: boto3's own answer.
    endpoint_url
        Another server than AWS; also the host of the broker's URL. Default: boto3's own answer.
    access_key_id, secret_access_key
        Keys of all queues; also those of the broker's URL. Default: boto3 finds them.
    queue_name_prefix
        Stands before each queue's name that `queues` does not give.
    lease
        How long a message in flight stays invisible before it must be renewed.
    wait_time
        Long-poll duration of an idle receive.
    receivers
        Receiving threads a queue may use when receives come back full, and as many for deletes.
    connect_timeout, read_timeout
        Of one AWS call; a long poll adds its waiting time.
    send_timeout
        Total time of one send, retries included; then `QueueUnreachable`.
    linger, settle_linger
        How long a send, or a delete, waits for others to share its call.
    message_bytes, batch_bytes
        Limits of one message and of one batch.
    inflated_bytes
        Largest body of a compressed message; 0: compressed messages are malformed.
    max_depth
        Deepest nesting of JSON that a received message may have.
    unknown_task_grace
        How long a message of an unknown task waits for a worker that knows it.
    unproven_receives
        Receives that may have killed their workers, for all that is known, after which a message
        is dead as `crashed` before it starts once more. Not where `headers` is set.
    crashes
        Receives after which a message that lost its worker is dead (generic tasks).
    requeues
        Times that a message may be given back (`Reject(requeue=True)`); then it is a dead letter.
    drain_timeout
        How long closing waits for deletes that are still to be confirmed.
    accept
        Content types of message bodies that are let through.
    on_dead_letter
        Called in a background thread before the transport dead-letters on its own; may return
        another `DeadLetter`, which is sent instead.
    sign_letter
        Called in a background thread with a `DeadLetterEvent` and the members of each dead
        letter's attribute, whoever asked for it; returns the members that are sent, or raises:
        then the message waits.
    headers
        Headers of a message that are obeyed; all others, and its properties, count as absent once
        they were checked, and what it says of its arguments for logs is replaced by a mask. None:
        all are obeyed.
    on_renew
        Called in a background thread with (job id, delivery token) of each started task whose
        lease is renewed.
    park
        Called in a background thread with a `sealwax.transport.parking.Parked`; records it
        durably or raises. Whoever implements it sends the message again when it is due.
    liveness_file
        Where the health status is written, as JSON; None: nowhere.
    archive
        Called in a background thread with a `sealwax.transport.RefusedLetter`, a
        letter that the dead-letter queue will never take; records it durably or raises.
    counters_every
        Seconds between two lines of counters in the log; 0: none.
    copy_waits
        Replace a message that was received and not started (a deploy, a pause, an unknown task)
        by a copy, so that the receive counts as no attempt. Never on FIFO queues, nor where
        `headers` is set.
    fair_queues
        Send the property `sealwax-group` as MessageGroupId on standard queues too.
    per_tenant, per_route
        Tasks of one tenant (fair group), and of one name, that a worker runs at once; 0: no
        limit, None: half of its slots while there are others.
    pauses
        The queues and tasks that this process must not receive or start now; None: never any.
    check
        Check the queues when a worker starts to consume.
    """

    queues: Mapping[str, QueueOptions] = field(default_factory=dict)
    region: str | None = None
    lease: float = 30
    wait_time: int = 20
    receivers: int = 4
    connect_timeout: float = 2
    read_timeout: float = 5
    send_timeout: float = 10
    linger: float = 0.003
    settle_linger: float = 0.1
    senders: int = 4
    message_bytes: int = MAX_BYTES
    batch_bytes: int = MAX_BYTES
    max_depth: int = MAX_DEPTH
    inflated_bytes: int = 16 * MAX_BYTES
    unknown_task_grace: float = 300
    unproven_receives: int = 100
    crashes: int = 3
    requeues: int = 1_000
    drain_timeout: float = 10
    accept: tuple[str, ...] = ("application/json",)
    on_dead_letter: Callable[[Any], DeadLetter | None] | None = None
    sign_letter: Callable[[Any, dict[str, Any]], Mapping[str, Any]] | None = None
    headers: frozenset[str] | None = None
    on_renew: Callable[[list[tuple[str, str]]], None] | None = None
    park: Callable[[Any], None] | None = None
    archive: Callable[[Any], None] | None = None
    counters_every: float = 60
    liveness_file: str | None = None
    copy_waits: bool = True
    fair_queues: bool = False
    per_tenant: int | None = 0
    per_route: int | None = 0
    pauses: ConsumerPauses | None = None
    check: bool = True
    endpoint_url: str | None = None
    access_key_id: str | None = None
    secret_access_key: str | None = field(default=None, repr=False)
    queue_name_prefix: str = ""
    closed: bool = False
    notes: tuple[str, ...] = ()

    @classmethod
    def parse(
        cls, raw: Mapping[str, Any], address: BrokerAddress | None = None
    ) -> TransportOptions:
        """Check `broker_transport_options`, with what the broker's URL says.

        Raises
        ------
        TransportOptionInvalid
            Names the option and its range, or what to use instead.
        """
        address = address or BrokerAddress()
        known = {item.name for item in fields(cls)} - _INTERNAL
        for name in raw:
            if name not in known | _STOCK:
                raise TransportOptionInvalid(
                    f"Unknown transport option {name!r}: {nearest(name, known | _STOCK)}"
                )
        check_shapes(raw)
        given = refuse_stock(raw) | {name: raw[name] for name in raw if name in known}
        for old, new in _ALIASES.items():
            if old in raw and new not in raw:
                given[new] = raw[old]
        given |= keys_of(address, raw)
        given["endpoint_url"] = endpoint_of(address, raw)
        given["region"] = region_with(given["endpoint_url"], given["region"])
        given["queues"] = _queues(given.get("queues") or {})
        # As kombu does: where queues are predefined, there are no others.
        given["closed"] = bool(raw.get("predefined_queues"))
        given["notes"] = notes_on(raw, address)
        given["queue_name_prefix"] = raw.get("queue_name_prefix") or ""
        if "accept" in given:
            given["accept"] = tuple(given["accept"])
        options = cls(**given)
        options._check({new: old for old, new in _ALIASES.items() if old in raw and new not in raw})
        return options

    def _check(self, given_as: Mapping[str, str]) -> None:
        for name, low, high in _RANGES:
            value = getattr(self, name)
            if value is None and name in _NONE:
                continue
            said = given_as.get(name, name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise TransportOptionInvalid(f"Transport option {said!r} must be a number.")
            if not low <= value <= high:
                raise TransportOptionInvalid(
                    f"Transport option {said!r} is {value}; it must be from {low} to {high}."
                )

    def queue(self, name: str) -> QueueOptions:
        """Return the options of a queue by its logical name.

        Raises
        ------
        QueueNotFound
            Queues are predefined, and this is none of them.
        """
        found = self.queues.get(name) or self.queues.get(sqs_name(self.queue_name_prefix + name))
        if found is None and self.closed:
            raise QueueNotFound(
                f"Queue {name!r} is not in the transport option 'predefined_queues': "
                f"{nearest(name, self.queues)} Where other queues are looked up by name, the "
                "option is called 'queues'."
            )
        return found or QueueOptions()

    @property
    def lone_here(self) -> bool:
        """Whether one call's own time-outs end it before a sender's patience is over."""
        return self.connect_timeout + self.read_timeout <= self.send_timeout

    @property
    def keys(self) -> tuple[str, str] | None:
        """Access key id and secret access key; None: boto3 finds them."""
        if self.access_key_id and self.secret_access_key:
            return self.access_key_id, self.secret_access_key
        return None

    def sqs_name(self, name: str) -> str:
        """Return what a queue is called on SQS, by its logical name.

        Raises
        ------
        QueueNotFound
            As `queue` does.
        """
        options = self.queue(name)
        if options.url:
            return options.url.rpartition("/")[2]
        return options.queue or sqs_name(self.queue_name_prefix + name)


#: Stock kombu's names of the same thing.
_ALIASES = {
    "predefined_queues": "queues",
    "visibility_timeout": "lease",
    "wait_time_seconds": "wait_time",
}

#: Set here alone.
_INTERNAL = frozenset({"closed", "notes"})

#: Names that only stock kombu has.
_STOCK = frozenset({*_ALIASES, *IGNORED, *REFUSED, *SILENT, "client-config", "is_secure"})

_RANGES: tuple[tuple[str, float, float], ...] = (
    ("lease", 2, MAX_VISIBILITY),
    ("wait_time", 0, 20),
    ("receivers", 1, 16),
    ("connect_timeout", 0.05, 60),
    ("read_timeout", 0.05, 60),
    ("send_timeout", 0.1, 300),
    ("linger", 0, 1),
    ("settle_linger", 0, 5),
    ("senders", 1, 16),
    ("message_bytes", 1_024, MAX_BYTES),
    ("batch_bytes", 1_024, MAX_BYTES),
    ("max_depth", 4, MAX_DEPTH),
    ("inflated_bytes", 0, 64 * MAX_BYTES),
    ("unknown_task_grace", 0, 86_400),
    ("unproven_receives", 1, 1_000),
    ("crashes", 1, 100),
    ("requeues", 0, 1_000_000),
    ("drain_timeout", 0, 300),
    ("counters_every", 0, 86_400),
    ("per_tenant", 0, 10_000),
    ("per_route", 0, 10_000),
)

#: Options for which None means something.
_NONE = frozenset({"per_tenant", "per_route"})


def _queues(raw: Mapping[str, Any]) -> dict[str, QueueOptions]:
    known = {item.name for item in fields(QueueOptions)}
    found: dict[str, QueueOptions] = {}
    for name, value in raw.items():
        if isinstance(value, QueueOptions):
            if value.url is not None:
                check_queue_url(name, value.url)
            found[name] = value
            continue
        found[name] = QueueOptions(**queue_fields(name, {} if value is None else value, known))
    return found
