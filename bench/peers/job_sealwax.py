"""Sealed jobs with the ledger, submitted as an API process does: the product's own way.

Also for an older checkout (`bench/job.py --tree`), whose modules had other names.
"""

from __future__ import annotations

import itertools
import json
import sys
from typing import Any

import job_common

from sealwax.runtime import Runtime
from sealwax.settings import Settings, load_settings

try:
    from sealwax.aws.clients import Aws
    from sealwax.keys.lifecycle import init_keys
    from sealwax.producer.celery_app import make_producer
    from sealwax.producer.publish import CeleryPublisher
    from sealwax.producer.submit import Submitter
    from sealwax.provision import provision
    from sealwax.secrets.factory import make_source
    from sealwax.task_definition import discover
    from sealwax.telemetry.logs import configure_logging

    OLDER = False
except ModuleNotFoundError:  # before the rooms
    from sealwax.log import configure_logging
    from sealwax.publisher import CeleryPublisher
    from sealwax.submission import Submitter
    from sealwax.task import discover

    from sealwax.aws import Aws
    from sealwax.keys import init_keys
    from sealwax.provision import provision
    from sealwax.runtime import make_source
    from sealwax.worker.app import make_app

    OLDER = True

TASK = "bench.sealed"


def prepare(settings: Settings) -> None:
    """Make queues, tables and keys."""
    provision(settings, Aws())
    init_keys(settings, make_source(settings, Aws()))
    names = {"queue": settings.queue_name("default"), "tables": [settings.table_name("jobs")]}
    print(json.dumps(names))


def submitter(settings: Settings, definitions: Any) -> Any:
    """Return what an API process submits with."""
    runtime = Runtime(settings, "api", definitions)
    if not OLDER:
        return Submitter(runtime, CeleryPublisher(make_producer(settings), settings))
    return Submitter(
        settings=settings,
        keyring=lambda: runtime.keyring,
        digests=lambda: runtime.digests,
        ledger=runtime.ledger,
        publisher=CeleryPublisher(make_app(settings, definitions), settings),
    )


def main(command: str, *arguments: str) -> None:
    """Do what the command says."""
    configure_logging("bench", "WARNING")
    settings = load_settings()
    if command == "prepare":
        prepare(settings)
        return
    definitions = discover(settings.task_modules)
    way, numbers = submitter(settings, definitions), itertools.count()

    def submit(sent: float) -> str:
        done = way.submit(
            definitions[TASK],
            {"text": job_common.TEXT, "sent": sent},
            tenant=f"t{next(numbers) % 20}",
        )
        return str(done.entry.id)

    threads, jobs, rate, file = arguments
    job_common.send(submit, int(threads), int(jobs), float(rate), file)


if __name__ == "__main__":
    main(*sys.argv[1:])
