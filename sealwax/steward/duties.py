"""The list of all duties: a new one is added here.

Called by `sealwax steward`.
"""

from __future__ import annotations

from sealwax.keys.provenance import by_record
from sealwax.runtime import Runtime
from sealwax.steward.audit_head import AuditHeadDuty
from sealwax.steward.collect import DeadLetterCollector
from sealwax.steward.duty import Duty
from sealwax.steward.replay import ReplayEngine
from sealwax.steward.send_due import OutboxDuty
from sealwax.steward.sweep import PARTS, Sweep, SweepDuty
from sealwax.steward.sweep_notes import SweepNotes

__all__ = ["make_duties"]


def make_duties(runtime: Runtime) -> list[Duty]:
    """Return the duties of a steward."""
    letters, sqs = runtime.letters, runtime.stores.sqs
    settings = runtime.settings
    evidence = by_record(runtime.evidence)

    def fair_group(tenant: str) -> str:
        return runtime.hashes.fair_group(tenant)

    def sweep() -> Sweep:
        return Sweep(
            settings,
            runtime.ledger,
            runtime.outbox,
            letters,
            sqs,
            evidence=evidence,
            fair_group=fair_group,
            clock=runtime.clock,
        )

    parts = min(PARTS, runtime.ledger.shards_read)
    return [
        *(
            OutboxDuty(runtime.outbox, sqs, shard=shard, clock=runtime.clock)
            for shard in range(runtime.outbox.shards)
        ),
        *(
            SweepDuty(
                sweep(),
                settings.lanes,
                SweepNotes(runtime.control, runtime.clock),
                every=settings.steward.sweep_every,
                part=part,
                parts=parts,
            )
            for part in range(parts)
        ),
        DeadLetterCollector(settings, sqs, letters, runtime.ledger, evidence, clock=runtime.clock),
        ReplayEngine(
            runtime.settings,
            sqs,
            letters,
            runtime.ledger,
            lambda: runtime.payloads,
            evidence=evidence,
            fair_group=fair_group,
            clock=runtime.clock,
        ),
        AuditHeadDuty(letters.audit),
    ]
