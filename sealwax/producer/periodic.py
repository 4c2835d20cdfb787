"""Fires periodic jobs: one job a tick, however many API processes run.

A thread of each API process, started by `serve` where schedules are
configured. It is the API that fires because it alone seals: the steward has no
key to sign with. A tick is fired before it is noted as done; its job's id
follows from schedule and tick, so a repeat after a crash makes no second job.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import structlog
from pydantic import ValidationError

from sealwax.aws.clock import AWS_CLOCK
from sealwax.control.ticks import Ticks
from sealwax.egress import shared_client
from sealwax.enrichment import EnrichmentContext
from sealwax.errors import ConfigurationError, SealwaxError
from sealwax.producer.submit import Submitter
from sealwax.runtime import Runtime
from sealwax.schedules import Schedule, latest_tick
from sealwax.task_definition import InvalidPayload, TaskDefinition

__all__ = ["PeriodicEnqueuer"]

log = structlog.get_logger("sealwax.api")

#: Seconds between two looks at the clock.
LOOK = 1.0


class PeriodicEnqueuer:
    """Fires what is due.

    Raises
    ------
    ConfigurationError
        Where a schedule names no task of ours, or its payload does not fit.
    """

    def __init__(
        self,
        runtime: Runtime,
        submitter: Submitter,
        *,
        clock: Callable[[], float] = AWS_CLOCK,
    ) -> None:
        self._runtime = runtime
        self._submitter = submitter
        self._clock = clock
        settings = runtime.settings
        self._ticks = Ticks(runtime.control, clock)
        self._schedules = {
            name: (schedule, *self._check(name, schedule))
            for name, schedule in settings.schedules.items()
        }
        self._known: dict[str, int] = {}
        self._seen: set[str] = set()
        self._stopping = threading.Event()

    def start(self) -> None:
        """Start the thread."""
        threading.Thread(target=self._run, name="sealwax-schedules", daemon=True).start()

    def stop(self) -> None:
        """End the thread after its present turn."""
        self._stopping.set()

    def turn(self) -> int:
        """Fire what is due; return how many jobs."""
        fired = 0
        for name, (schedule, definition, model) in self._schedules.items():
            tick = latest_tick(schedule, self._clock())
            try:
                if name not in self._seen:
                    # Also where nothing is due for long: its first tick may be months away.
                    self._ticks.see(name)
                    self._seen.add(name)
                if tick is None or self._known.get(name, -1) >= tick:
                    continue
                fired += self._fire(name, tick, schedule, definition, model)
            except SealwaxError as error:
                # The tick stays claimed for a moment, then somebody tries again.
                log.warning("schedule not fired", schedule=name, error=type(error).__name__)
        return fired

    def _fire(
        self, name: str, tick: int, schedule: Schedule, definition: TaskDefinition[Any], model: Any
    ) -> int:
        if not self._ticks.claim(name, tick):
            if not self._ticks.pending(name, tick):
                self._known[name] = tick
            return 0
        enrich = definition.enrich
        edge = EnrichmentContext(
            settings=self._runtime.settings,
            client=shared_client(),
            secrets={
                each: self._runtime.secrets[each]
                for each in definition.edge_secrets(self._runtime.settings)
            },
        )
        submission = self._submitter.submit(
            definition,
            schedule.payload,
            tenant=schedule.tenant,
            idempotency_key=f"schedule {name} {tick}",
            enrich=(lambda: enrich(model, edge).model_dump(mode="json")) if enrich else None,
        )
        self._ticks.done(name, tick)
        self._known[name] = tick
        log.info("schedule fired", schedule=name, job=submission.entry.id, task=definition.name)
        return 1

    def _check(self, name: str, schedule: Schedule) -> tuple[TaskDefinition[Any], Any]:
        definition = self._runtime.definitions.get(schedule.task)
        if definition is None:
            raise ConfigurationError(
                f"schedules.{name} names the task {schedule.task}, which is not served."
            )
        try:
            # From JSON, as a submission's: TOML's dates are none.
            model = definition.contract.model_validate_json(json.dumps(schedule.payload))
            if definition.validate is not None:
                definition.validate(model, self._runtime.settings)
        except (ValidationError, InvalidPayload, TypeError, ValueError):
            raise ConfigurationError(
                f"schedules.{name}.payload does not fit the contract of {schedule.task}."
            ) from None
        return definition, model

    def _run(self) -> None:
        while not self._stopping.wait(LOOK):
            try:
                self.turn()
            except Exception as error:  # noqa: BLE001 - whatever it is, the next turn may do
                log.warning("schedules failed", error=type(error).__name__)
