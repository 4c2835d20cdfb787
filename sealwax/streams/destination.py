"""What a Stream's reader asks of whom it delivers to; a protocol only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from sealwax.streams.records import Outcome, StreamRecord

__all__ = ["Destination"]


class Destination(Protocol):
    """Where records go. It is called from several threads, one for each shard."""

    def key_of(self, record: StreamRecord) -> str | None:
        """Return the key whose records stay in order; None for what is not to be delivered.

        What it raises sets the record aside.
        """
        ...

    def deliver(self, records: Sequence[StreamRecord]) -> Sequence[Outcome]:
        """Deliver one record each of some keys; return what became of each, in their order.

        A record may come again, after a crash or where its shard changes hands. What it
        raises counts as each record's failure, once each was tried alone.
        """
        ...

    def set_aside(self, record: StreamRecord, reason: str) -> None:
        """Keep for a person what cannot be delivered. Where it raises, it is asked again."""
        ...

    def recover(self) -> Iterable[StreamRecord]:
        """Yield from the table what was never delivered, in each key's order.

        Asked for where the stream has forgotten records. What is delivered already, or
        will be told by the stream too, may be among them.
        """
        ...
