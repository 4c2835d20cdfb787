"""How commands show what they found: a table for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import click

__all__ = ["show_document", "show_rows", "show_table"]


def show_table(
    rows: Sequence[dict[str, Any]], columns: Sequence[str], *, as_json: bool, nothing: str
) -> None:
    """Print some columns of the rows as a table, or all of each row as JSON."""
    found = {column: partial(_member, column) for column in columns}
    show_rows(rows, found, as_json=as_json, nothing=nothing)


def show_rows(
    rows: Sequence[dict[str, Any]],
    columns: Mapping[str, Callable[[dict[str, Any]], Any]],
    *,
    as_json: bool,
    nothing: str,
) -> None:
    """Print a table whose columns are computed from each row, or the rows as JSON.

    Parameters
    ----------
    columns
        What stands in each column, by its heading.
    nothing
        What to say in place of an empty table.
    """
    from rich.console import Console
    from rich.table import Table

    if as_json:
        click.echo(json.dumps(list(rows), indent=2))
        return
    if not rows:
        click.echo(nothing)
        return
    table = Table(*columns)
    for row in rows:
        table.add_row(*(_text(value(row)) for value in columns.values()))
    # Into a file or a pipe it is not cut to a terminal's width: ids stay whole.
    console = Console()
    (console if console.is_terminal else Console(width=240)).print(table)


def _member(name: str, row: dict[str, Any]) -> Any:
    return row.get(name)


def show_document(document: dict[str, Any], *, as_json: bool) -> None:
    """Print what is set of a document, a line each, or all of it as JSON."""
    if as_json:
        click.echo(json.dumps(document, indent=2))
        return
    shown = {name: value for name, value in document.items() if value not in (None, [], "")}
    width = max((len(name) for name in shown), default=0)
    for name, value in shown.items():
        click.echo(f"{name:<{width}}  {_text(value)}")


def _text(value: Any) -> str:
    if value is None:
        return ""
    return json.dumps(value) if isinstance(value, dict | list) else str(value)
