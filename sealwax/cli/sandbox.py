"""`sealwax sandbox`."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["sandbox"]


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8090, show_default=True, type=click.IntRange(1, 65_535))
@click.option(
    "--state-dir",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Keeps what was delivered.",
)
def sandbox(host: str, port: int, state_dir: Path) -> None:
    r"""Play the systems around Sealwax until SIGTERM: webhooks, customers, a CRM.

    For development; verifies deliveries with the demo route's signing secret.

    \b
    Example:
      sealwax sandbox --host 0.0.0.0 --state-dir /state
    """
    from sealwax.local.configuration import DEMO_SECRET
    from sealwax.local.sandbox.__main__ import serve
    from sealwax.settings import load_settings
    from sealwax.stores import Stores

    serve(host, port, state_dir, Stores(load_settings()).source.get(DEMO_SECRET))
