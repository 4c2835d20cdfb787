"""`sealwax groups`: groups of dead letters, through the API."""

from __future__ import annotations

import click

from sealwax.cli.tables import show_table
from sealwax.client import client_from_environment

__all__ = ["groups"]

_COLUMNS = ("group", "task", "reason", "cause", "error", "open", "replaying", "last", "sample")


@click.command()
@click.option("--closed", is_flag=True, help="Also those that are resolved.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def groups(closed: bool, as_json: bool) -> None:  # noqa: FBT001 - flags of the command line
    r"""List groups of letters that died alike, the newest death first.

    \b
    Example:
      sealwax groups
    """
    found = client_from_environment().call(
        "GET", "/v1/ops/groups", params={"closed": "1"} if closed else {}
    )["groups"]
    show_table(found, _COLUMNS, as_json=as_json, nothing="There are no open dead letters.")
