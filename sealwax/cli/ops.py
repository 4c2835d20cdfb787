"""Changes through the operations API: dry runs unless `--yes` says that they are meant."""

from __future__ import annotations

import click

from sealwax.client import ApiClient

__all__ = ["change"]


def change(client: ApiClient, path: str, what: str, *, reason: str, yes: bool) -> None:
    """Do something through the operations API; without `yes` only say what."""
    if not yes:
        click.echo(f"would {what}; repeat with --yes to do it")
        return
    client.ops("POST", path, json={"reason": reason} if reason else {})
    click.echo(what)
