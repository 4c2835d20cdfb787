"""`sealwax local-aws`."""

from __future__ import annotations

import os
from pathlib import Path

import click

__all__ = ["local_aws"]


@click.command("local-aws")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=4566, show_default=True, type=click.IntRange(1, 65_535))
@click.option("--name", default="127.0.0.1", show_default=True, help="How clients reach it.")
@click.option(
    "--state-dir",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Keeps queues, tables, keys and objects from run to run.",
)
def local_aws(host: str, port: int, name: str, state_dir: Path) -> None:
    r"""Serve the emulated AWS until SIGTERM; it saves its state on the way out.

    For development in containers; `sealwax dev` starts its own. It protects
    nothing: whoever reaches it may do everything.

    \b
    Example:
      sealwax local-aws --host 0.0.0.0 --name local-aws --state-dir /state
    """
    from sealwax.local.emulator import emulator_command, emulator_variables
    from sealwax.local.environment import ensure_environment
    from sealwax.local.state import PRIVATE_UMASK

    python = ensure_environment()
    os.umask(PRIVATE_UMASK)  # what it keeps holds keys, and payloads in clear
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    command = emulator_command(python, port, alone=True)
    # In place of this process, so that it is the container's first and gets its signals.
    variables = emulator_variables(port, state_dir.absolute(), bind=host, name=name)
    os.execve(command[0], command, variables)  # noqa: S606 - a list of our own, no shell
