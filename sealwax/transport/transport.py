"""kombu's transport class: `sealwax://`."""

from __future__ import annotations

import time
from queue import Empty
from typing import Any

from kombu.transport import virtual

from sealwax.transport.channel import Channel
from sealwax.transport.engine import Engine
from sealwax.transport.errors import TransportError
from sealwax.transport.options import Options

__all__ = ["Transport"]


class Transport(virtual.Transport):
    """Celery on SQS: batched, leased, and not ended by any message.

    Use it as ``Celery(broker="sealwax://", broker_transport="sealwax.transport:Transport")``.
    """

    Channel = Channel
    driver_type = "sqs"
    driver_name = "sealwax"
    default_port = None
    polling_interval = 0
    #: SQS being away is the engine's to bear; no error of it restarts Celery's consumer.
    connection_errors = (*virtual.Transport.connection_errors,)
    channel_errors = (*virtual.Transport.channel_errors, TransportError)
    implements = virtual.Transport.implements.extend(
        asynchronous=True, exchange_type=frozenset({"direct"}), heartbeats=False
    )

    def __init__(self, client: Any, **kwargs: Any) -> None:
        options = Options.parse(client.transport_options or {})
        self.engine = Engine.shared(options)
        super().__init__(client, **kwargs)

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        """Let the hub call us when deliveries wait."""
        loop.add_reader(self.engine.wake_fd, self._on_wake, connection, loop)

    def _on_wake(self, connection: Any, loop: Any) -> None:
        for channel in list(self.channels):
            if channel._consumers:
                channel.deliver_waiting()
                return
        # Nobody consumes any more: empty the pipe, or the loop would spin.
        self.engine.release_unstarted()
        self.engine.next_delivery()

    def drain_events(self, connection: Any, timeout: float | None = None) -> None:
        """Deliver without a hub (threads and solo pools, plain kombu consumers)."""
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            left = 1.0 if until is None else max(0.0, until - time.monotonic())
            for channel in list(self.channels):
                if channel._consumers:
                    try:
                        channel.drain_events(timeout=min(left, 1.0))
                    except Empty:
                        break
                    return
            else:
                time.sleep(min(left, 0.05))
            if until is not None and time.monotonic() >= until:
                raise TimeoutError

    def close_connection(self, connection: Any) -> None:
        """Close channels; the last consumer's connection gives back what it holds."""
        consumed = any(channel._consumers for channel in self.channels)
        super().close_connection(connection)
        if consumed:
            self.engine.release_unstarted()

    def driver_version(self) -> str:
        """Return our version."""
        from importlib.metadata import version

        return version("sealwax")
