"""What real SQS does and a kind emulator does not: ways of answering, each by its name.

Sources: the SQS developer guide on short polling, at-least-once delivery, approximate
counts, quotas and FIFO visibility time-outs. How often is this laboratory's choice, harsher
than what is seen on AWS. `sqs_server.py` and `sqs_queue.py` ask here.
"""

from __future__ import annotations

import random
import time

__all__ = ["MODES", "Modes"]

#: By name, what each does.
MODES = {
    "short": "a receive brings 1 to 10 messages, evenly, whatever waits",
    "duplicates": "a message of a standard queue comes twice, though it is deleted",
    "disorder": "a standard queue's messages come in any order",
    "counts": "counts of messages are late, and too small",
    "expired": "a FIFO queue refuses deletes and visibility changes after the lease",
    "overlimit": "while much is in flight receives bring nothing; OverLimit where they do not wait",
}

#: Share of a standard queue's messages that come twice.
TWICE = 0.1
#: Among so many of the oldest messages, the next to come may be any.
SPREAD = 100
#: Most seconds that a count is late.
LATE = 3.0
#: Messages in flight at which a queue is full; 120,000 on AWS.
#: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
IN_FLIGHT = 30


class Modes:
    """The modes that are on, and their dice.

    Parameters
    ----------
    names
        Of `MODES`.
    seed
        Of the dice.

    Raises
    ------
    ValueError
        A name is none of them.
    """

    def __init__(self, names: set[str], seed: int = 1) -> None:
        if unknown := names - set(MODES):
            raise ValueError(f"no such mode: {', '.join(sorted(unknown))}")
        self.names = names
        self._dice = random.Random(seed)
        self._counted: dict[str, tuple[float, tuple[int, int]]] = {}

    def most(self, asked: int) -> int:
        """Return how many messages a receive may bring that asked for so many."""
        return min(asked, self._dice.randint(1, 10)) if "short" in self.names else asked

    def twice(self) -> bool:
        """Whether a message comes once more."""
        return "duplicates" in self.names and self._dice.random() < TWICE

    def place(self, waiting: int) -> int:
        """Return which of so many messages comes next; 0 is the oldest."""
        return self._dice.randrange(min(waiting, SPREAD)) if "disorder" in self.names else 0

    def full(self, in_flight: int) -> bool:
        """Whether a queue gives no more, for what is in flight."""
        return "overlimit" in self.names and in_flight >= IN_FLIGHT

    def expires(self) -> bool:
        """Whether a FIFO queue's receipts end with their leases."""
        return "expired" in self.names

    def depth(self, queue: str, now: tuple[int, int]) -> tuple[int, int]:
        """Return what a queue says of its visible and invisible messages."""
        if "counts" not in self.names:
            return now
        until, said = self._counted.get(queue, (0.0, now))
        if time.monotonic() >= until:
            shrunk = self._dice.uniform(0.5, 1.0)
            said = (int(now[0] * shrunk), int(now[1] * shrunk))
            self._counted[queue] = (time.monotonic() + self._dice.uniform(0.0, LATE), said)
        return said
