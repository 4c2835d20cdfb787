"""`sealwax steward`."""

from __future__ import annotations

import signal
import threading

import click
import structlog

from sealwax.log import configure_logging
from sealwax.runtime import START_PATIENCE, Runtime
from sealwax.settings import load_settings

__all__ = ["steward"]

#: Seconds between two lines with the counters.
REPORT_SECONDS = 60.0


@click.command()
def steward() -> None:
    r"""Do what must be done once, until SIGTERM; any number may run.

    Each duty has a leader lease, so that one steward at a time does it. On
    SIGTERM the leases are given back, and another takes over at once.

    \b
    Example:
      sealwax steward
    """
    import os
    import secrets
    import socket

    from sealwax.control import ControlTable, Leases
    from sealwax.steward import Steward
    from sealwax.steward.duties import make_duties

    settings = load_settings()
    configure_logging("steward", settings.log_level)
    log = structlog.get_logger("sealwax.steward")
    runtime = Runtime(settings, "steward", {}, patience=START_PATIENCE)
    duties = make_duties(runtime)
    seconds = settings.steward.lease
    leases = Leases(
        ControlTable(runtime.aws.client("dynamodb"), settings.table_name("control")),
        owner=f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}",
        seconds=seconds,
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
    while not stop.wait(REPORT_SECONDS):
        log.info("steward counters", counters=running.counters.snapshot())
    ended = running.stop()
    runtime.close()
    log.info("steward stopped", orderly=ended, counters=running.counters.snapshot())
    if not ended:
        raise click.exceptions.Exit(1)
