"""What one API process holds, made once when it starts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from flask import current_app

from sealwax.control import Heartbeats, Pauses
from sealwax.control.fleet import Fleet
from sealwax.deadletters.reveal import Reveals
from sealwax.deadletters.service import Letters
from sealwax.egress import shared_client
from sealwax.egress.shares import SystemShares
from sealwax.producer.celery_app import make_producer
from sealwax.producer.publish import CeleryPublisher, Publisher
from sealwax.producer.submit import Submitter
from sealwax.provision.preflight import configuration_checks, lane_key_checks, log_warnings
from sealwax.runtime import START_PATIENCE, Runtime
from sealwax.settings import Settings
from sealwax.task_definition import TaskDefinition, discover
from sealwax.web.admission import Admission
from sealwax.web.rate_limits import LargeBodies, RateLimiter, RequestsUnderWay
from sealwax.web.refused_sign_ins import RefusedSignIns
from sealwax.web.tokens import TOKEN_KEY, TokenStore, make_tokens

__all__ = ["Services", "make_services", "services"]


#: Seconds for which a queue that has not answered is left alone.
UNREACHABLE_PAUSE = 2.0


@dataclass(frozen=True, kw_only=True)
class Services:
    """The parts that views use."""

    settings: Settings
    runtime: Runtime
    definitions: dict[str, TaskDefinition[Any]]
    tokens: TokenStore
    submitter: Submitter
    limiter: RateLimiter
    under_way: RequestsUnderWay
    systems: SystemShares
    admission: Admission
    letters: Letters
    fleet: Fleet
    reveals: Reveals
    refused: RefusedSignIns
    large_bodies: LargeBodies = field(default_factory=LargeBodies)

    @property
    def body_limit(self) -> int:
        """Bytes of the largest body that any task takes."""
        largest = [definition.max_payload or 0 for definition in self.definitions.values()]
        return max(self.settings.limits.request_bytes, *largest, 0)

    def waits(self, authorization: str) -> int | None:
        """Return the seconds that a caller over a limit must wait; None for all others.

        Before anything is read of a request but its head: what the known token of a
        tenant over its limit costs is a hash. Everybody else is judged by the views.
        """
        kind, _, token = authorization.partition(" ")
        who = self.tokens.known(token.strip()) if kind.lower() == "bearer" else None
        if who is None:
            return None
        wait = self.limiter.wait(who.tenant)
        return 1 if wait is None and self.under_way.full(who.tenant) else wait


def make_services(
    settings: Settings, *, runtime: Runtime | None = None, publisher: Publisher | None = None
) -> Services:
    """Read secrets and make clients; raises where the role cannot work."""
    definitions = runtime.definitions if runtime else discover(settings.task_modules)
    log_warnings(configuration_checks(settings, definitions))
    runtime = runtime or Runtime(settings, "api", definitions, patience=START_PATIENCE)
    log_warnings(lane_key_checks(settings, runtime.public_keyring))
    if publisher is None:
        publisher = CeleryPublisher(
            make_producer(settings), settings, stores=runtime.stores, pause=UNREACHABLE_PAUSE
        )
    limits = settings.limits
    return Services(
        settings=settings,
        runtime=runtime,
        definitions=definitions,
        tokens=make_tokens(runtime.stores, runtime.secrets[TOKEN_KEY]),
        submitter=Submitter(runtime, publisher),
        limiter=RateLimiter(limits.requests_per_second, limits.request_burst),
        under_way=RequestsUnderWay(limits.tenant_requests),
        systems=SystemShares(limits.system_requests, shared_client()),
        admission=Admission(settings, runtime.ledger, clock=runtime.clock),
        letters=runtime.letters,
        refused=RefusedSignIns(runtime.letters.audit),
        reveals=Reveals(runtime.control, clock=runtime.clock),
        fleet=Fleet(
            settings,
            sqs=runtime.stores.sqs,
            ledger=runtime.ledger,
            statuses=Heartbeats(runtime.control, runtime.clock),
            pauses=Pauses(runtime.control, runtime.clock),
            audit=runtime.letters.audit,
            tasks=frozenset(definitions),
        ),
    )


def services() -> Services:
    """Return the services of the app that handles the current request."""
    found: Services = current_app.extensions["sealwax"]
    return found
