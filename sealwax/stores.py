"""The stores of one environment, each made when it is first needed.

Called by the runtime of each role, and by commands that hold no role. Nobody
else names a table or a bucket: what a store needs to know of the settings
stands here once. Making a store makes no call; it never reads a secret of its
own accord.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

from sealwax.aws.clients import Aws
from sealwax.aws.clock import AWS_CLOCK
from sealwax.control.table import ControlTable
from sealwax.deadletters.service import Letters, make_letters
from sealwax.ledger import Ledger
from sealwax.outbox.payloads import PayloadStore
from sealwax.outbox.store import Outbox
from sealwax.secrets import SecretSource
from sealwax.secrets.factory import make_source
from sealwax.settings import Settings

__all__ = ["Stores"]

#: Seconds for one answer of S3: up to 45 MB go through it.
_S3_SECONDS = 60


class Stores:
    """Clients and stores of one process: they must not cross a fork.

    Parameters
    ----------
    aws
        Default: made from the settings.
    ledger, source
        Instead of those that the settings name; tests pass their own.
    clock
        Epoch seconds, AWS's.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        aws: Aws | None = None,
        ledger: Ledger | None = None,
        source: SecretSource | None = None,
        clock: Callable[[], float] = AWS_CLOCK,
    ) -> None:
        self.settings = settings
        self.aws = aws or Aws(settings.aws)
        self.clock = clock
        self._own_ledger = ledger
        self._own_source = source

    @cached_property
    def dynamodb(self) -> Any:
        """The client of all tables."""
        return self.aws.client("dynamodb")

    @cached_property
    def sqs(self) -> Any:
        """The client of all queues, for what is no worker's receiving or a producer's sending."""
        return self.aws.client("sqs")

    @cached_property
    def source(self) -> SecretSource:
        """Where secrets are read and written."""
        return self._own_source or make_source(self.settings, self.aws)

    @cached_property
    def ledger(self) -> Ledger:
        """The table of jobs."""
        limits = self.settings.limits
        return self._own_ledger or Ledger(
            self.dynamodb,
            self.settings.table_name("jobs"),
            keep=limits.max_age_seconds + limits.retention_seconds,
            clock=self.clock,
            shards=self.settings.ledger.shards,
            shards_read=self.settings.ledger.shards_read,
        )

    @cached_property
    def outbox(self) -> Outbox:
        """What is to be sent later."""
        return Outbox(
            self.dynamodb,
            self.settings.table_name("outbox"),
            shards=self.settings.ledger.shards,
            shards_read=self.settings.ledger.shards_read,
        )

    @cached_property
    def payloads(self) -> PayloadStore:
        """The bucket of payloads that do not fit into a message."""
        client = self.aws.client("s3", read_timeout=_S3_SECONDS)
        return PayloadStore(client, self.settings.bucket_name)

    @cached_property
    def control(self) -> ControlTable:
        """The table of heartbeats, pauses, ticks and leader leases."""
        return ControlTable(self.dynamodb, self.settings.table_name("control"))

    @cached_property
    def letters(self) -> Letters:
        """Dead letters, their groups and replays, and the audit log."""
        return make_letters(self.settings, self.aws, clock=self.clock)
