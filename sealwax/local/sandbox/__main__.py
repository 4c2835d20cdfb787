"""``python -m sealwax.local.sandbox``: serve until SIGTERM or SIGINT."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path

import click

from sealwax.local.sandbox.server import Sandbox


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=0, show_default=True, help="0 takes a free one.")
@click.option("--state-dir", type=click.Path(path_type=Path, file_okay=False), required=True)
def main(host: str, port: int, state_dir: Path) -> None:
    """Play the systems around Sealwax; print one JSON line with the port when ready.

    SEALWAX_SANDBOX_SECRET, a whsec_ secret, has signatures verified.
    """
    serve(host, port, state_dir, os.environ.get("SEALWAX_SANDBOX_SECRET") or None)


def serve(host: str, port: int, state_dir: Path, secret: str | None) -> None:
    """Serve until SIGTERM or SIGINT; exit with 1 where the address is taken."""
    done = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: done.set())
    try:
        sandbox = Sandbox(state_dir, host=host, port=port, secret=secret)
    except OSError as error:
        print(f"The sandbox cannot listen on {host}:{port}: {error.strerror}.", file=sys.stderr)
        sys.exit(1)
    with sandbox:
        print(json.dumps({"ready": True, "port": sandbox.port, "url": sandbox.url}), flush=True)
        done.wait()


if __name__ == "__main__":
    main()
