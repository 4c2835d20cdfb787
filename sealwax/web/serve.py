"""gunicorn around the app: what `sealwax api` starts."""

from __future__ import annotations

import importlib
import signal
from collections.abc import Callable
from typing import Any

import structlog
from flask import Flask
from gunicorn.app.base import BaseApplication

from sealwax.errors import ConfigurationError
from sealwax.producer.periodic import PeriodicEnqueuer
from sealwax.settings import Settings
from sealwax.telemetry.logs import configure_logging
from sealwax.telemetry.output import endure_output

__all__ = ["gunicorn_options", "load_factory", "serve", "start_background"]

#: The application where the settings name none.
_OWN = "sealwax.web:create_app"


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
        app = load_factory(self._settings)(self._settings)
        start_background(app)
        return app


def load_factory(settings: Settings) -> Callable[[Settings], Flask]:
    """Return the application factory that the setting `app` names, `module:function`.

    Raises
    ------
    ConfigurationError
        Where it cannot be imported or is no function.
    """
    name = settings.app or _OWN
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute, None)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # it is there, and imports something that is not
        raise ConfigurationError(
            f"The setting `app` names {name}, but there is no module {error.name}; start in the "
            "folder that holds it, or name that with `sealwax --app-dir`."
        ) from error
    if not callable(found):
        raise ConfigurationError(
            f"The setting `app` names {name}, but {module} has no function {attribute!r}; write it "
            "as `module:function`."
        )
    factory: Callable[[Settings], Flask] = found
    return factory


def start_background(app: Flask) -> None:
    """Start what a serving process does beside requests: log, secrets' timer, periodic jobs."""
    services = app.extensions["sealwax"]
    configure_logging("api", services.settings.log_level)
    services.runtime.start_timer()
    if services.settings.schedules:
        PeriodicEnqueuer(services.runtime, services.submitter).start()


def _reload_secrets(worker: Any) -> None:
    """Let SIGHUP to a worker process read the secrets again."""

    def handler(_: int, __: Any) -> None:
        import threading

        app = worker.app.callable
        if app is not None:
            threading.Thread(target=app.extensions["sealwax"].runtime.refresh, daemon=True).start()

    signal.signal(signal.SIGHUP, handler)


def gunicorn_options(
    *, host: str, port: int, workers: int, threads: int, health_port: int = 0
) -> dict[str, Any]:
    """Return gunicorn's settings by name.

    Parameters
    ----------
    workers
        Processes.
    threads
        Threads of each process: complete requests served at once.
    health_port
        Where probes are answered by threads of their own; 0: nowhere.
    """
    health = [f"{host}:{health_port}"] if health_port else []
    return {
        "bind": [f"{host}:{port}", *health],
        "workers": workers,
        "worker_class": "sealwax.web.edge_worker.EdgeWorker",
        "threads": threads,
        "timeout": 60,
        "graceful_timeout": 30,
        "accesslog": None,
        "logger_class": "sealwax.web.gunicorn_log.Logger",
        "post_worker_init": _reload_secrets,
        "control_socket_disable": True,
        "proc_name": "sealwax-api",
    }


def serve(
    settings: Settings,
    *,
    host: str,
    port: int,
    workers: int,
    threads: int,
    health_port: int | None = None,
) -> None:
    """Serve the API until SIGTERM; parameters as those of `gunicorn_options`.

    Without a `health_port` that of the settings is taken.
    """
    endure_output()
    configure_logging("api", settings.log_level)
    structlog.get_logger("sealwax.api").info("starting", host=host, port=port)
    # A wrong setting is told here, once, and not by each process that gunicorn starts anew.
    load_factory(settings)
    options = gunicorn_options(
        host=host,
        port=port,
        workers=workers,
        threads=threads,
        health_port=settings.web.health_port if health_port is None else health_port,
    )
    _Server(settings, options).run()
