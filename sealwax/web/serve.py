"""gunicorn around the app: what `sealwax api` starts."""

from __future__ import annotations

import signal
from typing import Any

import structlog
from flask import Flask
from gunicorn.app.base import BaseApplication

from sealwax.producer.periodic import PeriodicEnqueuer
from sealwax.settings import Settings
from sealwax.telemetry.logs import configure_logging
from sealwax.web.app import create_app

__all__ = ["serve"]


class _Server(BaseApplication):
    def __init__(self, settings: Settings, options: dict[str, Any]) -> None:
        self._settings = settings
        self._options = options
        super().__init__()

    def load_config(self) -> None:
        for name, value in self._options.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        # Each worker process makes its own clients: nothing is shared by fork.
        configure_logging("api", self._settings.log_level)
        app = create_app(self._settings)
        runtime = app.extensions["sealwax"].runtime
        runtime.start_timer()
        if self._settings.schedules:
            PeriodicEnqueuer(runtime, app.extensions["sealwax"].submitter).start()
        return app


def _reload_secrets(worker: Any) -> None:
    """Let SIGHUP to a worker process read the secrets again."""

    def handler(_: int, __: Any) -> None:
        import threading

        app = worker.app.callable
        if app is not None:
            threading.Thread(target=app.extensions["sealwax"].runtime.refresh, daemon=True).start()

    signal.signal(signal.SIGHUP, handler)


def serve(settings: Settings, *, host: str, port: int, workers: int, threads: int) -> None:
    """Serve the API until SIGTERM.

    Parameters
    ----------
    workers
        Processes.
    threads
        Threads of each process: requests served at once.
    """
    configure_logging("api", settings.log_level)
    structlog.get_logger("sealwax.api").info("starting", host=host, port=port)
    _Server(
        settings,
        {
            "bind": f"{host}:{port}",
            "workers": workers,
            "worker_class": "gthread",
            "threads": threads,
            "timeout": 60,
            "graceful_timeout": 30,
            "keepalive": 65,  # longer than an ALB's 60 s, so that it never meets a closed socket
            "accesslog": None,
            "logger_class": "sealwax.web.gunicorn_log.Logger",
            "limit_request_line": 4_094,
            "limit_request_fields": 64,
            "post_worker_init": _reload_secrets,
            "control_socket_disable": True,
            "proc_name": "sealwax-api",
        },
    ).run()
