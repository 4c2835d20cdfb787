"""Erasure: what is kept of a job anywhere, found and removed.

Called by `sealwax jobs erase`. The ledger's entry is first, so that nothing is
kept again meanwhile; then outbox, payloads in S3 and dead letters' bodies. A
stop in between is mended by a repeat. SQS cannot be searched: messages of an
erased job are acknowledged unread when they arrive.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sealwax.deadletters.letter import Letter
from sealwax.ledger import LedgerEntry
from sealwax.stores import Stores

__all__ = ["Erasure", "ErasureReport"]


@dataclass(frozen=True, kw_only=True)
class ErasureReport:
    """What is kept of one job besides its entry, in numbers."""

    job: str
    state: str
    letters: int
    outbox: int
    objects: int
    result: bool


class Erasure:
    """Finds and erases.

    Parameters
    ----------
    stores
        Where something may be kept of a job.
    """

    def __init__(self, stores: Stores) -> None:
        self._ledger = stores.ledger
        self._outbox = stores.outbox
        self._letters = stores.letters
        self._payloads = stores.payloads
        self._outboxed: dict[str, list[str]] | None = None

    def job(self, job_id: str) -> LedgerEntry | None:
        """Return a job's entry."""
        return self._ledger.get(job_id)

    def of_tenant(self, tenant_ref: str) -> Iterator[LedgerEntry]:
        """Yield a tenant's jobs, the oldest first."""
        after: str | None = None
        while True:
            page = self._ledger.of_tenant(tenant_ref, after=after, newest_first=False)
            yield from page.entries
            after = page.after
            if after is None:
                return

    def look(self, entry: LedgerEntry) -> ErasureReport:
        """Return what is kept of a job; nothing is changed."""
        return ErasureReport(
            job=entry.id,
            state=entry.state.value,
            letters=len(self._of(entry.id)),
            outbox=len(self._items(entry.id)),
            objects=len(self._payloads.objects(entry.id)),
            result=entry.result is not None,
        )

    def erase(self, entry: LedgerEntry) -> ErasureReport:
        """Erase a job; return what was kept of it.

        Raises
        ------
        sealwax.ledger.erasing.StillRuns
            Nothing was erased.
        """
        kept = self.look(entry)
        self._ledger.erase(entry.id)
        self._outbox.delete(*self._items(entry.id))
        self._payloads.erase(entry.id)
        for letter in self._of(entry.id):
            self._letters.archive.erase_body(letter)
        return kept

    def _of(self, job_id: str) -> list[Letter]:
        """Return a job's letters, and strays that bear its id: they may hold a copy of it."""
        archive = self._letters.archive
        return [*archive.of_job(job_id), *archive.claiming(job_id, limit=None)]

    def _items(self, job_id: str) -> list[str]:
        if self._outboxed is None:
            self._outboxed = {}
            for item_id, _ in self._outbox.names():
                self._outboxed.setdefault(item_id.partition("#")[0], []).append(item_id)
        return self._outboxed.get(job_id, [])
