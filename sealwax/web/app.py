"""The Flask app factory."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable

import structlog
from flask import Blueprint, Flask, Response, g, request
from flask.json.provider import DefaultJSONProvider

from sealwax.settings import Settings, load_settings
from sealwax.web import catalogue, console, health, jobs, problems
from sealwax.web.ops import audit as ops_audit
from sealwax.web.ops import fleet as ops_fleet
from sealwax.web.ops import jobs as ops_jobs
from sealwax.web.ops import letters as ops_letters
from sealwax.web.ops import replays as ops_replays
from sealwax.web.ops import reveals as ops_reveals
from sealwax.web.ops import strays as ops_strays
from sealwax.web.services import Services, make_services

__all__ = ["create_app"]

log = structlog.get_logger("sealwax.api")


def create_app(
    settings: Settings | None = None,
    *,
    services: Services | None = None,
    blueprints: Iterable[Blueprint] = (),
) -> Flask:
    """Return the app; reads secrets and makes clients unless `services` are given.

    Parameters
    ----------
    blueprints
        The service's own routes, beside those of the product.

    Raises
    ------
    sealwax.errors.SealwaxError
        Where configuration or secrets are missing; says what to do.
    """
    app = Flask("api", static_folder=None)
    app.extensions["sealwax"] = services or make_services(settings or load_settings())
    if isinstance(app.json, DefaultJSONProvider):
        app.json.sort_keys = False
    app.url_map.strict_slashes = False
    problems.install(app)

    @app.before_request
    def _begin() -> None:
        structlog.contextvars.clear_contextvars()
        # Ours, not the caller's: a header of theirs would land in the logs.
        g.request_id = secrets.token_hex(8)
        g.began = time.monotonic()
        structlog.contextvars.bind_contextvars(request=g.request_id)

    # Whatever became of the request: the next large body may come.
    app.teardown_request(lambda _: g.pop("large_body", bool)())

    @app.after_request
    def _end(response: Response) -> Response:
        response.headers["X-Request-Id"] = g.get("request_id", "")
        response.headers.setdefault("Cache-Control", "no-store")
        response.headers["X-Content-Type-Options"] = "nosniff"
        if request.endpoint not in ("health.healthz", "health.readyz"):
            # The route's pattern, not the path: paths may hold anything.
            log.info(
                "request",
                method=request.method if request.url_rule else "*",
                route=request.url_rule.rule if request.url_rule else None,
                status=response.status_code,
                milliseconds=round((time.monotonic() - g.get("began", 0)) * 1000, 1),
            )
        return response

    for module in (
        jobs,
        catalogue,
        health,
        ops_audit,
        ops_fleet,
        ops_jobs,
        ops_letters,
        ops_replays,
        ops_reveals,
        ops_strays,
        console,
    ):
        app.register_blueprint(module.blueprint)
    for blueprint in blueprints:
        app.register_blueprint(blueprint)
    return app
