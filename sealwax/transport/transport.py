"""kombu's transport: one for each connection, over the process's engine.

Celery's event loop is woken by one descriptor when messages have arrived;
loops without descriptors (`drain_events`) wait on a condition instead.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections import deque
from dataclasses import replace
from typing import Any

from kombu.exceptions import ChannelError
from kombu.exceptions import ConnectionError as KombuConnectionError
from kombu.transport import virtual

from sealwax.transport.addresses import BrokerAddress, masked, parse_broker_url
from sealwax.transport.channel import Channel as SqsChannel
from sealwax.transport.engine import Engine, engine_for
from sealwax.transport.errors import (
    MessageRefused,
    MessageTooLarge,
    QueueNotFound,
    QueueUnreachable,
    TransportOptionInvalid,
)
from sealwax.transport.in_flight import Delivery
from sealwax.transport.liveness import Liveness
from sealwax.transport.options import TransportOptions

__all__ = ["Transport"]

logger = logging.getLogger(__name__)

#: Messages delivered before the event loop gets to look at anything else.
DELIVERIES_A_TURN = 50

#: Seconds between two signs of life of the event loop.
HEARTBEAT = 2.0


class Transport(virtual.Transport):
    """The SQS transport: `Celery(broker="sealwax://")`."""

    Channel = SqsChannel
    default_port = None
    can_parse_url = True
    driver_type = "sqs"
    driver_name = "sealwax"
    polling_interval = None

    connection_errors = (KombuConnectionError, QueueUnreachable)
    channel_errors = (ChannelError, QueueNotFound, MessageTooLarge, MessageRefused)
    # Sends have retried for as long as `send_timeout` allows: kombu is not to
    # begin anew, so nothing is recoverable in its sense.
    recoverable_connection_errors = ()
    recoverable_channel_errors = ()

    implements = virtual.Transport.implements.extend(
        asynchronous=True,
        exchange_type=frozenset(["direct", "topic"]),
        heartbeats=False,
    )

    def __init__(self, client: Any, **kwargs: Any) -> None:
        super().__init__(client, **kwargs)
        self.options = TransportOptions.parse(client.transport_options, _address(client))
        self._engine = engine_for(self.options)
        self.liveness = Liveness(self.options.wait_time + self.options.read_timeout)
        self._ready: deque[tuple[SqsChannel, Delivery]] = deque()
        self._arrival = threading.Condition()
        self._pipe: tuple[int, int] | None = None
        self._woken = False
        self._checked: set[str] = set()

    @property
    def engine(self) -> Engine:
        """This process's engine: after a fork, the child's own."""
        if self._engine.pid != os.getpid():
            self._engine = engine_for(self.options)
        return self._engine

    def driver_version(self) -> str:
        """Return the version of boto3."""
        import boto3

        return str(boto3.__version__)

    @property
    def default_connection_params(self) -> dict[str, Any]:
        """What a connection has that names nothing: no host, since that would be a server."""
        return {}

    def as_uri(self, uri: str, include_password: bool = False, mask: str = "**") -> str:
        """Return the URL; a secret key in it is masked."""
        return uri if include_password or not uri else masked(uri, mask)

    # -- arrivals

    def before_consuming(self, queue: str) -> None:
        """Check a queue before its first consumer, where the options say so."""
        if self.options.check and queue not in self._checked:
            from sealwax.transport.checks import check_queue

            if not self._checked:
                for note in self.options.notes:
                    logger.warning("%s", note)
            check_queue(self.engine, queue)
            self._checked.add(queue)

    def arrived(self, channel: SqsChannel, deliveries: list[Delivery]) -> None:
        """Queue the deliveries of a receiving thread, and wake the loop that delivers them."""
        with self._arrival:
            self._ready.extend((channel, delivery) for delivery in deliveries)
            self._arrival.notify_all()
            self._wake()

    def _wake(self) -> None:
        if self._pipe is not None and not self._woken:
            self._woken = True
            try:
                os.write(self._pipe[1], b"\0")
            except BlockingIOError:
                pass  # full: the reader will come
            except OSError:
                self._woken = False

    def deliver_ready(self) -> int:
        """Deliver what has arrived, at most `DELIVERIES_A_TURN` messages; return how many.

        Called by the loop when the wake-up descriptor is readable, which it is
        again afterwards where more has arrived.
        """
        self.liveness.turned()
        pipe = self._pipe
        if pipe is not None:
            with self._arrival:
                self._woken = False
                with contextlib.suppress(OSError):
                    os.read(pipe[0], 4096)
        count = 0
        while count < DELIVERIES_A_TURN:
            try:
                channel, delivery = self._ready.popleft()
            except IndexError:
                return count
            channel.deliver(delivery)
            count += 1
        with self._arrival:
            if self._ready:
                self._wake()
        return count

    # -- event loop

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        """Have the loop read the wake-up descriptor."""
        if self._pipe is None:
            reader, writer = os.pipe()
            os.set_blocking(reader, False)
            os.set_blocking(writer, False)
            self._pipe = (reader, writer)
        loop.add_reader(self._pipe[0], self.deliver_ready)
        loop.call_repeatedly(HEARTBEAT, self.liveness.turned)

    # -- blocking loop

    def drain_events(self, connection: Any, timeout: float | None = None) -> None:
        """Wait for messages and deliver them.

        Raises
        ------
        TimeoutError
            None came within `timeout` seconds.
        """
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            if self.deliver_ready():
                return
            with self._arrival:
                if not self._ready:
                    left = 1.0 if until is None else until - time.monotonic()
                    if left <= 0:
                        raise TimeoutError
                    self._arrival.wait(min(left, 1.0))

    def close_connection(self, connection: Any) -> None:
        """Close all channels: release, confirm, stop."""
        super().close_connection(connection)
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            for descriptor in pipe:
                os.close(descriptor)


def _address(client: Any) -> BrokerAddress:
    """Return what a connection says of the server and the keys.

    Raises
    ------
    TransportOptionInvalid
        It cannot be obeyed.
    """
    address = parse_broker_url(client.hostname, client.port)
    if client.ssl and client.ssl is not True:
        raise TransportOptionInvalid(
            "The setting 'broker_use_ssl' names certificates, which is not obeyed: set it to True, "
            "and the file of the authority by AWS_CA_BUNDLE."
        )
    address = replace(address, ssl=bool(client.ssl))
    if address.access_key_id is None and client.userid and client.password:
        # `broker_user` and `broker_password`.
        keys = {"access_key_id": client.userid, "secret_access_key": client.password}
        return replace(address, **keys)
    return address
