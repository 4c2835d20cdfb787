"""SQS engine: clients, queue addresses and batchers of one process.

kombu makes a transport for every connection; the clients, batchers and
counters behind them are made once, so that concurrent senders share calls.
After a fork the child starts with none.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

from sealwax.aws.backoff import jittered
from sealwax.aws.errors import error_code, is_final, is_gone, is_retryable
from sealwax.aws.sqs import queue_of_arn
from sealwax.errors import ConfigurationError
from sealwax.telemetry.counters import CounterLog, Counters
from sealwax.transport.addresses import region_of
from sealwax.transport.background import Background
from sealwax.transport.batcher import Batcher
from sealwax.transport.batching import BatchEntry, EntryResult
from sealwax.transport.client import Clients
from sealwax.transport.errors import (
    DeadLetterQueueMissing,
    QueueMisconfigured,
    QueueNotFound,
    QueueUnreachable,
)
from sealwax.transport.forks import gate, on_child
from sealwax.transport.options import TransportOptions

__all__ = ["Engine", "QueueCalls", "engine_for", "snapshot"]

logger = logging.getLogger(__name__)

#: Seconds that SQS keeps a message where nobody has set it.
#: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SetQueueAttributes.html
RETENTION = 345_600

_engines: dict[tuple[str, str | None], Engine] = {}
_engines_lock = threading.Lock()


class QueueCalls:
    """The batchers of one queue URL."""

    def __init__(self, engine: Engine, url: str) -> None:
        options, counters = engine.options, engine.counters
        self.url = url
        self._engine = engine
        fifo = url.endswith(".fifo")
        send = partial(self._call, "send_message_batch")
        self.send = Batcher(
            send,
            kind="send",
            counters=counters,
            linger=options.linger,
            immediate=True,
            concurrency=options.senders,
            max_bytes=options.batch_bytes,
        )
        # Nobody waits for a dead letter: it waits for company, so that a burst is few calls.
        self.letters = Batcher(
            send,
            kind="send",
            counters=counters,
            linger=options.settle_linger,
            immediate=False,
            concurrency=2,
            max_bytes=options.batch_bytes,
        )
        self.delete = Batcher(
            partial(self._call, "delete_message_batch"),
            kind="delete",
            counters=counters,
            # A group's next message waits for the delete of the one before.
            linger=options.linger if fifo else options.settle_linger,
            immediate=fifo,
            # As many as there are receives: fewer would set the pace at a distant endpoint.
            concurrency=options.receivers,
        )
        # One call at a time: a renewal must not overtake the postponement after it.
        self.visibility = Batcher(
            partial(self._call, "change_message_visibility_batch"),
            kind="visibility",
            counters=counters,
            linger=min(options.settle_linger, 0.02),
            immediate=False,
            concurrency=1,
        )

    def batchers(self) -> tuple[Batcher, ...]:
        """Return all of them, sends first."""
        return self.send, self.letters, self.visibility, self.delete

    def _call(self, operation: str, entries: Sequence[BatchEntry]) -> list[EntryResult]:
        """Make one batch call; return an outcome for each entry, in their order.

        Raises
        ------
        botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError
            As the client does: no entry has an outcome then.
        """
        response = getattr(self._engine.quick, operation)(
            QueueUrl=self.url,
            Entries=[{"Id": str(number), **entry.fields} for number, entry in enumerate(entries)],
        )
        # An entry that is in neither list has no outcome: ask again.
        outcomes = [EntryResult(ok=False, code="NoOutcome", retryable=True)] * len(entries)
        for item in response.get("Successful") or ():
            outcomes[int(item["Id"])] = EntryResult(ok=True, message_id=item.get("MessageId", ""))
        for item in response.get("Failed") or ():
            code = str(item.get("Code", "Unknown"))
            # Signatures, clocks, keys and policies are the sender's fault too, and pass.
            retryable = not item.get("SenderFault", False) or not is_final(code)
            outcomes[int(item["Id"])] = EntryResult(ok=False, code=code, retryable=retryable)
        return outcomes


class Engine:
    """Clients, queue addresses, batchers and counters of one process.

    Parameters
    ----------
    options
        The checked transport options.
    """

    def __init__(self, options: TransportOptions) -> None:
        self.options = options
        self.pid = os.getpid()
        self.counters = Counters()
        self.retentions: dict[str, float] = {}
        self.counter_log = CounterLog(self.counters, options.counters_every)
        self.background = Background()
        self._gate = gate()
        self._lock = threading.Lock()
        self._clients: Clients | None = None
        self._urls: dict[str, str] = {}
        self._dead_letter_urls: dict[str, str] = {}
        self._calls: dict[str, QueueCalls] = {}

    @property
    def clients(self) -> Clients:
        """The clients, made on first use."""
        if self._clients is None:
            with self._gate, self._lock:
                if self._clients is None:
                    self._clients = Clients(self.options)
        return self._clients

    @property
    def quick(self) -> Any:
        """The client of everything but receives."""
        return self.clients.quick

    @property
    def polling(self) -> Any:
        """The client of receives."""
        return self.clients.polling

    def calls_made(self) -> dict[str, int]:
        """Return the requests on the wire by operation, retries included."""
        return dict(self._clients.aws.calls) if self._clients else {}

    # -- addresses

    def url(self, queue: str) -> str:
        """Return the URL of a queue by its logical name; asks SQS once.

        Raises
        ------
        QueueNotFound
            It does not exist.
        QueueMisconfigured
            Its URL is one of another region.
        botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError
            SQS could not be asked.
        """
        found = self._urls.get(queue)
        if found is None:
            found = self.options.queue(queue).url
            if found:
                self._in_our_region(queue, found)
            else:
                found = self._look_up(self.options.sqs_name(queue))
            self._urls[queue] = found
        return found

    def patient_url(self, queue: str) -> str:
        """Return the URL, trying for at most `send_timeout` seconds.

        Raises
        ------
        QueueNotFound
            The queue does not exist.
        QueueUnreachable
            SQS could not be asked within `send_timeout`.
        """
        until = time.monotonic() + self.options.send_timeout
        attempt = 0
        while True:
            try:
                return self.url(queue)
            except (QueueNotFound, ConfigurationError):
                raise
            except Exception as error:
                attempt += 1
                pause = jittered(attempt)
                self.counters.add(f"failures.lookup.{error_code(error)}")
                if not is_retryable(error) or time.monotonic() + pause > until:
                    raise QueueUnreachable from error
                time.sleep(pause)

    def _in_our_region(self, queue: str, url: str) -> None:
        theirs = region_of(url)
        if theirs and theirs != (ours := self.clients.aws.region):
            raise QueueMisconfigured(
                f"The url of queue {queue!r} is one of region {theirs}, and this connection is in "
                f"{ours}: {url}; set the transport option region to {theirs}, or name the queue of "
                "this region."
            )

    def forget_url(self, queue: str) -> None:
        """Look the queue up again next time: it may have been made anew."""
        if not self.options.queue(queue).url:
            self._urls.pop(queue, None)

    def _look_up(self, name: str, owner: str = "") -> str:
        account = {"QueueOwnerAWSAccountId": owner} if owner else {}
        try:
            return str(self.quick.get_queue_url(QueueName=name, **account)["QueueUrl"])
        except Exception as error:
            if is_gone(error):
                where = f"account {owner}" if owner else "this account"
                raise QueueNotFound(
                    f"There is no SQS queue named {name!r} in {where} and this region; create it, "
                    'or name another in broker_transport_options["queues"].'
                ) from error
            raise

    def dead_letter_url(self, queue: str) -> str:
        """Return the URL of a queue's dead-letter queue.

        Raises
        ------
        DeadLetterQueueMissing
            It has none.
        """
        found = self._dead_letter_urls.get(queue)
        if found is None:
            name, owner = self.options.queue(queue).dead_letter_queue, ""
            if name is None:
                attributes = self.quick.get_queue_attributes(
                    QueueUrl=self.url(queue), AttributeNames=["RedrivePolicy"]
                ).get("Attributes", {})
                policy = json.loads(attributes.get("RedrivePolicy") or "{}")
                owner, name = queue_of_arn(str(policy.get("deadLetterTargetArn", "")))
            if not name:
                raise DeadLetterQueueMissing(
                    f"Queue {queue!r} has no dead-letter queue; give it a RedrivePolicy, or set "
                    'broker_transport_options["queues"][…]["dead_letter_queue"].'
                )
            found = self._dead_letter_urls[queue] = self._look_up(name, owner)
        return found

    def forget_dead_letter_url(self, queue: str) -> None:
        """Look the dead-letter queue up again next time: it may have been made anew."""
        self._dead_letter_urls.pop(queue, None)

    def waiting(self, queue: str) -> int:
        """Return about how many messages of a queue wait for a worker.

        Raises
        ------
        QueueNotFound
            It does not exist.
        QueueUnreachable
            SQS could not be asked.
        """
        url, name = self.patient_url(queue), "ApproximateNumberOfMessages"
        try:
            found = self.quick.get_queue_attributes(QueueUrl=url, AttributeNames=[name])
        except Exception as error:
            if is_gone(error):
                raise QueueNotFound(f"There is no SQS queue at {url}; create it.") from error
            raise QueueUnreachable from error
        return int(found.get("Attributes", {}).get(name, 0))

    # -- calls

    def calls(self, url: str) -> QueueCalls:
        """Return the batchers of a queue URL."""
        found = self._calls.get(url)
        if found is None:
            with self._lock:
                found = self._calls.setdefault(url, QueueCalls(self, url))
        return found

    def retention(self, queue: str) -> float:
        """Return how many seconds SQS keeps a queue's messages; until it was asked: its default."""
        return self.retentions.get(queue, RETENTION)

    def flush(self, timeout: float) -> bool:
        """Have everything pending confirmed; False when time ran out."""
        until = time.monotonic() + timeout
        complete = self.background.flush(timeout)
        for calls in list(self._calls.values()):
            for batcher in calls.batchers():
                complete &= batcher.flush(max(0.0, until - time.monotonic()))
        return complete


def engine_for(options: TransportOptions) -> Engine:
    """Return this process's engine for these options."""
    # The secret is in no text of the options.
    key = (repr(options), options.secret_access_key)
    with _engines_lock:
        engine = _engines.get(key)
        if engine is None:
            if not _engines:
                on_child(_forget.run)
            engine = _engines[key] = Engine(options)
            atexit.register(engine.flush, options.drain_timeout)
        return engine


def snapshot() -> dict[str, int]:
    """Return the counters of all engines of this process by name; see `Counters`."""
    with _engines_lock:
        engines = list(_engines.values())
    total: Counter[str] = Counter()
    for engine in engines:
        total.update(engine.counters.snapshot())
    return dict(sorted(total.items()))


class _Forget:
    """Empties the registry in a forked child.

    Nothing of the parent's engines is called, not even to close their sockets:
    a lost thread may hold any of their locks.
    """

    def run(self) -> None:
        global _engines_lock  # noqa: PLW0603 - the parent's lock may be held by a lost thread
        _engines_lock = threading.Lock()
        inherited = list(_engines.values())
        _engines.clear()
        for engine in inherited:
            atexit.unregister(engine.flush)


_forget = _Forget()
