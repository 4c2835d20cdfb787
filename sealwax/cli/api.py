"""`sealwax api`."""

from __future__ import annotations

import click

from sealwax.settings import load_settings

__all__ = ["api"]


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address; 0.0.0.0 in ECS.")
@click.option("--port", default=8080, show_default=True, type=click.IntRange(1, 65_535))
@click.option(
    "--health-port",
    type=click.IntRange(0, 65_535),
    help="Port of /healthz, /readyz and /metrics; 0: none.  [default: the setting web.health_port]",
)
@click.option(
    "--workers", default=1, show_default=True, type=click.IntRange(1, 64), help="Processes."
)
@click.option(
    "--threads",
    default=16,
    show_default=True,
    type=click.IntRange(1, 512),
    help="Requests that a process serves at once.",
)
@click.option(
    "--app",
    metavar="MODULE:FUNCTION",
    help="Application factory.  [default: the setting `app`, else the product's own]",
)
def api(
    *, host: str, port: int, health_port: int | None, workers: int, threads: int, app: str | None
) -> None:
    r"""Serve the HTTP API until SIGTERM.

    \b
    Example:
      sealwax api --host 0.0.0.0 --port 8080 --workers 2 --app api:create_app
    """
    from sealwax.web.serve import serve

    settings = load_settings() if app is None else load_settings(app=app)
    serve(
        settings,
        host=host,
        port=port,
        workers=workers,
        threads=threads,
        health_port=health_port,
    )
