"""What the operators' commands share: tables, and changes that are dry runs unless meant."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import click

from sealwax.client import ApiClient

__all__ = ["change", "output"]


def output(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print a table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(*names)
    for row in rows:
        table.add_row(*(str(value) for value in row))
    Console().print(table)


def change(client: ApiClient, path: str, what: str, *, reason: str, yes: bool) -> None:
    """Do something through the operations API; without `yes` only say what."""
    if not yes:
        click.echo(f"would {what}; repeat with --yes to do it")
        return
    client.ops("POST", path, json={"reason": reason} if reason else {})
    click.echo(what)
