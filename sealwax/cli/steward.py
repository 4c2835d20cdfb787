"""`sealwax steward`."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path

import click
import structlog

from sealwax.runtime import START_PATIENCE, Runtime
from sealwax.settings import load_settings
from sealwax.telemetry.logs import configure_logging
from sealwax.telemetry.output import endure_output

__all__ = ["steward"]

#: Seconds between two lines with the counters.
REPORT_SECONDS = 60.0

#: Seconds between two looks at the duties' threads.
LOOK_SECONDS = 2.0


def write_status(path: Path, *, live: bool) -> None:
    """Write what `sealwax health steward` reads; failing to costs the check, not the work."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        draft.write_text(json.dumps({"at": time.time(), "live": live, "ready": live}))
        draft.replace(path)
    except OSError as error:
        structlog.get_logger("sealwax.steward").warning(
            "status not written", error=type(error).__name__
        )


@click.command()
def steward() -> None:
    r"""Do what must be done once, until SIGTERM; any number may run.

    Each duty has a leader lease, so that one steward at a time does it; the
    outbox has one for each of its shards, which the stewards divide. On
    SIGTERM the leases are given back, and another takes over at once.

    \b
    Example:
      sealwax steward
    """
    import secrets
    import socket

    from sealwax.provision.preflight import configuration_checks, log_warnings
    from sealwax.steward import Steward
    from sealwax.steward.duties import make_duties
    from sealwax.steward.leadership import LeaderLeases

    endure_output()
    settings = load_settings()
    configure_logging("steward", settings.log_level)
    log = structlog.get_logger("sealwax.steward")
    log_warnings(configuration_checks(settings, {}))
    runtime = Runtime(settings, "steward", {}, patience=START_PATIENCE)
    duties = make_duties(runtime)
    seconds = settings.steward.lease
    leases = LeaderLeases(
        runtime.control,
        owner=f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}",
        seconds=seconds,
        clock=runtime.clock,
    )
    running = Steward(duties, leases, lease=seconds)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())

    def reload(*_: object) -> None:
        threading.Thread(target=runtime.refresh, name="sealwax-reload", daemon=True).start()

    signal.signal(signal.SIGHUP, reload)
    runtime.start_timer()
    running.start()
    log.info("steward ready", duties=[duty.name for duty in duties])
    reported = time.monotonic()
    sound = True
    while sound and not stop.wait(LOOK_SECONDS):
        ended, stuck = running.ended(), running.stuck()
        if ended or stuck:
            # Whoever started us starts another; the leases end by themselves.
            log.error("duty lost", ended=ended, stuck=stuck)
        sound = not ended and not stuck
        if settings.liveness_file is not None:
            write_status(settings.liveness_file, live=sound)
        if time.monotonic() - reported >= REPORT_SECONDS:
            reported = time.monotonic()
            log.info("steward counters", counters=running.counters.snapshot())
    orderly = running.stop() and sound
    runtime.close()
    log.info("steward stopped", orderly=orderly, counters=running.counters.snapshot())
    if not orderly:
        raise click.exceptions.Exit(1)
