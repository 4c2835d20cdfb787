"""Messages in flight: received and not yet settled, under the prefetch limit.

Every receive of a message is a `Delivery` with a random token. It is settled
exactly once (acknowledged, postponed, dead-lettered or released); a second
settlement returns None and does nothing. Settling frees the prefetch slot at once,
while the lease is kept until SQS has confirmed.

Called by receivers, the event loop, pool threads and the lease keeper: every
method is thread-safe and quick.
"""

from __future__ import annotations

import enum
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Carried", "Delivery", "InFlight", "MessageState"]


#: How long a receive waits for ten free slots when there are some, in seconds.
PATIENCE = 0.25


class MessageState(enum.Enum):
    """States of a delivery, in their order."""

    RECEIVED = enum.auto()
    STARTED = enum.auto()
    SETTLING = enum.auto()
    GONE = enum.auto()


@dataclass(frozen=True, kw_only=True)
class Carried:
    """What went before the first receive of a message that is a copy.

    Parameters
    ----------
    receives
        Receives of all messages before.
    retries
        Attempts that asked for another.
    crashes
        Attempts whose process died, or that ran into their time limit.
    requeues
        Attempts that gave it back, which are no retries.
    first
        When the first message of them was first received, in epoch seconds; 0: this one.
    unknown
        Since when it waits for a worker that knows its task, in epoch seconds; 0: it does not.
    """

    receives: int = 0
    retries: int = 0
    crashes: int = 0
    requeues: int = 0
    first: float = 0.0
    unknown: float = 0.0


@dataclass(slots=True, eq=False)
class Delivery:
    """One receive of one message.

    Parameters
    ----------
    receive_count
        How often it was received, those that it is a copy of included.
    carried
        What its message says of those that it is a copy of.
    waits, retries_here, crashes_here, requeues_here
        Receives before this one of which this process knows how they ended.
    proven_only
        Whether receives that this process knows nothing of are no attempts: others may have
        given the message back, and no copy could say so.
    unknown_since
        Since when it waits for a worker that knows its task, in epoch seconds; 0: it does not.
    """

    token: str
    queue: str
    receipt: str
    message_id: str
    body: str
    attributes: dict[str, Any]
    receive_count: int
    sent_at: float
    first_received_at: float
    received_at: float
    lease_until: float
    group: str | None = None
    job: str | None = None
    task: str | None = None
    state: MessageState = MessageState.RECEIVED
    renewing: bool = False
    lost: bool = False
    started_at: float = field(default=0.0)
    carried: Carried | None = None
    waits: int = 0
    retries_here: int = 0
    crashes_here: int = 0
    proven_only: bool = False
    unknown_since: float = 0.0
    requeues_here: int = 0

    @property
    def receives(self) -> int:
        """How often this very message was received."""
        return self.receive_count - (self.carried.receives if self.carried else 0)

    @property
    def crashes(self) -> int:
        """How many attempts before are known to have crashed."""
        return self.crashes_here + (self.carried.crashes if self.carried else 0)

    def unproven(self, now: float, lease: float) -> int:
        """Return how many receives before may have killed their workers, as far as is known.

        Those whose ends this process knows have not. Nor has what came back sooner: a
        message whose worker is gone stays invisible for a lease.

        Parameters
        ----------
        now
            Epoch seconds.
        lease
            Seconds.
        """
        known = self.waits + self.retries_here + self.crashes_here + self.requeues_here
        unknown = self.receives - 1 - known
        return max(0, min(unknown, int((now - self.first_received_at) / lease)))

    @property
    def requeues(self) -> int:
        """How many attempts before gave it back, as far as is known."""
        return self.requeues_here + (self.carried.requeues if self.carried else 0)

    def metadata(self) -> dict[str, Any]:
        """Return `task.request.delivery_info["sqs"]`: plain values, times in epoch s."""
        return {
            "message_id": self.message_id,
            "receive_count": self.receive_count,
            "sent_at": self.sent_at,
            "first_received_at": self.first_received_at,
            "queue": self.queue,
            "token": self.token,
            "group": self.group,
            # Neither is charged.
            "waits": self.waits + self.requeues_here,
            "receives_carried": self.carried.receives if self.carried else 0,
            "retries_carried": self.carried.retries if self.carried else 0,
            "crashes": self.crashes,
            "crashes_here": self.crashes_here,
            "retries_here": self.retries_here,
            "proven_only": self.proven_only,
        }


class InFlight:
    """The deliveries of one consuming channel, and its prefetch limit."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._condition = threading.Condition()
        self._clock = clock
        self._deliveries: dict[str, Delivery] = {}
        self._settling: dict[str, Delivery] = {}
        self._reserved = 0
        self._needs: list[int] = []
        self._limit = 0

    @property
    def limit(self) -> int:
        """Most deliveries in flight at once; 0: no limit."""
        return self._limit

    @limit.setter
    def limit(self, value: int) -> None:
        with self._condition:
            self._limit = value
            self._condition.notify_all()

    def __len__(self) -> int:
        return len(self._deliveries)

    def free(self) -> int:
        """How many more may be received now."""
        with self._condition:
            return self._free()

    def _freed(self) -> None:
        # A waiting receiver that needs ten slots is not woken by each of the first nine.
        if self._needs and self._free() >= min(self._needs):
            self._condition.notify_all()

    def _free(self) -> int:
        if not self._limit:
            return 1_000
        return self._limit - len(self._deliveries) - self._reserved

    def reserve(self, most: int, timeout: float) -> int:
        """Wait for slots and take up to `most` of them; 0 after `timeout` seconds.

        With a limit that allows it, waits a little until a full receive fits:
        under load the slots of a few messages would make a call each.
        """
        now = self._clock()
        until, patient = now + timeout, now + min(timeout, PATIENCE)
        with self._condition:
            while True:
                free = self._free()
                now = self._clock()
                waits = self._limit >= 2 * most and now < patient
                need = most if waits else 1
                if free >= need:
                    taken = min(free, most)
                    self._reserved += taken
                    return taken
                if now >= until:
                    return 0
                self._needs.append(need)
                try:
                    self._condition.wait((patient if waits else until) - now)
                finally:
                    self._needs.remove(need)

    @property
    def contended(self) -> bool:
        """Whether some receiver waits for a slot."""
        return bool(self._needs)

    def return_slots(self, slots: int) -> None:
        """Return reserved slots that brought no message."""
        with self._condition:
            self._reserved -= slots
            self._freed()

    def add(self, deliveries: Iterable[Delivery], slots: int) -> None:
        """Add the deliveries of a receive, in exchange for its reserved slots."""
        with self._condition:
            self._reserved -= slots
            for delivery in deliveries:
                self._deliveries[delivery.token] = delivery
            self._freed()

    def get(self, token: str) -> Delivery | None:
        """Return an unsettled delivery."""
        return self._deliveries.get(token)

    def start(self, token: str) -> bool:
        """Mark a delivery as handed to the pool; False: it is settled, do not run it."""
        with self._condition:
            delivery = self._deliveries.get(token)
            if delivery is None:
                return False
            if delivery.state is MessageState.RECEIVED:
                delivery.state = MessageState.STARTED
                delivery.started_at = self._clock()
            return True

    def settle(self, token: str) -> Delivery | None:
        """Take a delivery out for its end; None: it was taken out before."""
        with self._condition:
            delivery = self._deliveries.pop(token, None)
            if delivery is not None:
                delivery.state = MessageState.SETTLING
                self._settling[token] = delivery
                self._freed()
            return delivery

    def settle_unstarted(self, queues: set[str] | None = None) -> list[Delivery]:
        """Take out everything that was not handed to the pool."""
        with self._condition:
            found = [
                d
                for d in self._deliveries.values()
                if d.state is MessageState.RECEIVED and (queues is None or d.queue in queues)
            ]
            for delivery in found:
                del self._deliveries[delivery.token]
                delivery.state = MessageState.SETTLING
                self._settling[delivery.token] = delivery
            self._condition.notify_all()
            return found

    def settle_all(self) -> list[Delivery]:
        """Take out everything, started or not."""
        with self._condition:
            found = list(self._deliveries.values())
            self._deliveries.clear()
            for delivery in found:
                delivery.state = MessageState.SETTLING
                self._settling[delivery.token] = delivery
            self._condition.notify_all()
            return found

    def done(self, delivery: Delivery) -> None:
        """Forget a settled delivery: SQS has confirmed, or never will."""
        with self._condition:
            delivery.state = MessageState.GONE
            self._settling.pop(delivery.token, None)

    def started(self) -> list[Delivery]:
        """Return what was handed to the pool and has not ended, the longest running first."""
        with self._condition:
            found = [d for d in self._deliveries.values() if d.state is MessageState.STARTED]
        return sorted(found, key=lambda delivery: delivery.started_at)

    def due(self, within: float) -> list[Delivery]:
        """Return what must be renewed: leases that end in less than `within` seconds."""
        with self._condition:
            limit = self._clock() + within
            return [
                d
                for d in (*self._deliveries.values(), *self._settling.values())
                if d.lease_until < limit and not d.renewing and not d.lost
            ]

    def wake(self) -> None:
        """Let waiting receivers look again (at shutdown)."""
        with self._condition:
            self._condition.notify_all()
