"""All of the dead letters' parts together, made from the settings.

Called once by each role that has to do with letters: the API, the steward.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sealwax.aws.clients import Aws
from sealwax.aws.clock import AWS_CLOCK
from sealwax.control.audit_log import Audit
from sealwax.deadletters.archive import Archive
from sealwax.deadletters.bodies import Bodies
from sealwax.deadletters.groups import LetterGroups
from sealwax.deadletters.replays import Replays
from sealwax.deadletters.table import LettersTable
from sealwax.settings import Settings

__all__ = ["Letters", "make_letters"]


@dataclass(frozen=True)
class Letters:
    """The archive and what goes with it."""

    table: LettersTable
    bodies: Bodies
    archive: Archive
    groups: LetterGroups
    replays: Replays
    audit: Audit


def make_letters(
    settings: Settings, aws: Aws, *, clock: Callable[[], float] = AWS_CLOCK
) -> Letters:
    """Return the parts; no call is made."""
    client = aws.client("dynamodb")
    table = LettersTable(
        client,
        settings.table_name("letters"),
        shards=settings.ledger.shards,
        shards_read=settings.ledger.shards_read,
    )
    bodies = Bodies(lambda: aws.client("s3"), settings.bucket_name)
    groups = LetterGroups(table, clock=clock)
    audit = Audit(
        client,
        settings.table_name("audit"),
        keep=settings.limits.audit_retention_seconds,
        clock=clock,
    )
    return Letters(
        table=table,
        bodies=bodies,
        archive=Archive(table, bodies, groups, clock=clock),
        groups=groups,
        replays=Replays(table, groups, audit, clock=clock),
        audit=audit,
    )
