"""`sealwax worker`."""

from __future__ import annotations

import signal
from typing import Any

import click

from sealwax.runtime import START_PATIENCE, Runtime
from sealwax.settings import load_settings
from sealwax.task_definition import discover
from sealwax.telemetry.logs import configure_logging

__all__ = ["worker"]


@click.command()
@click.option("--lane", default="default", show_default=True, help="Lane to serve.")
@click.option("--concurrency", type=click.IntRange(1, 256), help="Default: the lane's setting.")
def worker(lane: str, concurrency: int | None) -> None:
    r"""Run the tasks of one lane until SIGTERM.

    On SIGTERM the worker takes no more messages, releases at once those it
    has not started, and ends when the running ones have finished.

    \b
    Example:
      sealwax worker --lane default --concurrency 4
    """
    from celery import signals

    from sealwax import version
    from sealwax.deadletters.reveal import Reveals
    from sealwax.ledger import is_job_id
    from sealwax.provision.preflight import configuration_checks, log_warnings
    from sealwax.telemetry.output import endure_output, withhold_output
    from sealwax.transport.pauses import ConsumerPauses
    from sealwax.worker.app import make_app, worker_arguments
    from sealwax.worker.heartbeat import WorkerHeartbeat
    from sealwax.worker.ledger_watch import LedgerWatch
    from sealwax.worker.reveal import RevealResponder
    from sealwax.worker.routes import RouteBreakers
    from sealwax.worker.shutdown import GracefulShutdown

    endure_output()
    settings = load_settings()
    settings.queue_name(lane)
    configure_logging("worker", settings.log_level)
    withhold_output()
    definitions = discover(settings.task_modules)
    log_warnings(configuration_checks(settings, definitions))
    runtime = Runtime(settings, "worker", definitions, lane=lane, patience=START_PATIENCE)
    pauses = ConsumerPauses()
    routes = RouteBreakers.make(settings)
    app = make_app(settings, definitions, runtime, lane=lane, pauses=pauses, routes=routes)
    revealing = RevealResponder(
        runtime, runtime.letters, Reveals(runtime.control, clock=runtime.clock)
    )
    heartbeat = WorkerHeartbeat(
        runtime.control,
        settings,
        lane,
        pauses,
        concurrency=concurrency or settings.lanes[lane].concurrency,
        version=version(),
        routes=routes,
    )
    ledger_watch = LedgerWatch(runtime, pauses, settings.queue_name(lane))

    def release(job_id: str, token: str) -> None:
        if is_job_id(job_id):
            runtime.ledger.release(job_id, token=token)

    shutdown = GracefulShutdown(pauses, settings.limits.stop_seconds, release=release)
    # Before anything is received: a worker that starts into a pause runs nothing.
    heartbeat.apply_pauses()

    def own_logging(**_: Any) -> None:
        """Keep Celery from putting its own handlers in place of ours."""

    def reload_on_hangup(**_: Any) -> None:
        # Celery restarts the whole program on SIGHUP; ours reads the secrets again.
        signal.signal(signal.SIGHUP, lambda *_: _in_thread(runtime))
        heartbeat.start()
        ledger_watch.start()
        revealing.start()

    def stopping(**_: Any) -> None:
        shutdown.start()

    def last_word(**_: Any) -> None:
        shutdown.cancel()
        revealing.stop()
        heartbeat.stop()
        ledger_watch.stop()

    signals.setup_logging.connect(own_logging, weak=False)
    signals.worker_ready.connect(reload_on_hangup, weak=False)
    signals.worker_shutting_down.connect(stopping, weak=False)
    signals.worker_shutdown.connect(last_word, weak=False)
    app.worker_main(worker_arguments(settings, lane, concurrency=concurrency))


def _in_thread(runtime: Runtime) -> None:
    import threading

    threading.Thread(target=runtime.ask_all, name="sealwax-reload", daemon=True).start()
