"""`sealwax strays`: messages that are no job's own, through the API."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any

import click

from sealwax.cli.paging import read_pages, save_body
from sealwax.cli.tables import show_document, show_table
from sealwax.client import client_from_environment

__all__ = ["strays"]

_COLUMNS = ("id", "cause", "claims", "bytes", "copies", "archived", "queue")


@click.group()
def strays() -> None:
    """List, download, or discard messages that are no job's own; they are never sent again."""


@strays.command("list")
@click.option("--queue", help="Name of the queue they come from.")
@click.option("--job", help="Those that bear this job's id, whatever their state.")
@click.option("--since", help="Archived not before: ISO 8601 with an offset, or epoch seconds.")
@click.option("--until", help="Archived not after.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000))
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def list_(limit: int, as_json: bool, **options: str | None) -> None:  # noqa: FBT001 - a flag
    r"""List open strays, the newest of each queue first.

    \b
    Examples:
      sealwax strays list
      sealwax strays list --job 7d3f0a5be9c14b6f8a2e6c1d90b4f357
    """
    wanted = {name: value for name, value in options.items() if value is not None}
    found = read_pages(client_from_environment(), "strays", wanted, limit=limit)
    show_table(found, _COLUMNS, as_json=as_json, nothing="There are no such strays.")


@strays.command("download")
@click.argument("letter_id", metavar="ID")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Into this file.")
def download(letter_id: str, out: Path | None) -> None:
    r"""Download a stray's message, byte for byte: whoever wrote it chose all that it says.

    \b
    Example:
      sealwax strays download s-7d3f0a5be9c14b6f8a2e6c1d90b4f357.0 --out stray
    """
    data = client_from_environment().download(f"/v1/ops/strays/{letter_id}/body")
    save_body(data, out)


@strays.command("discard")
@click.argument("ids", metavar="[ID]...", nargs=-1)
@click.option("--queue", help="All of a queue.")
@click.option("--all", "everything", is_flag=True, help="All open strays.")
@click.option("--why", required=True, help="Kept with the strays and in the audit log.")
@click.option("--yes", is_flag=True, help="Do it; without, only say what would happen.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def discard(
    ids: tuple[str, ...],
    queue: str | None,
    everything: bool,  # noqa: FBT001 - flags of the command line
    why: str,
    yes: bool,  # noqa: FBT001
    as_json: bool,  # noqa: FBT001
) -> None:
    r"""Give strays up: no job and no payload is touched, whatever they say of themselves.

    \b
    Example:
      sealwax strays discard --queue sealwax-prod_default --why "a scanner" --yes
    """
    if sum(map(bool, (ids, queue, everything))) != 1:
        raise click.UsageError("choose strays by IDs, with --queue, or with --all")
    choice: dict[str, Any] = {"reason": why, "mode": "start" if yes else "preview"}
    choice |= {"ids": list(ids)} if ids else {"filter": {"queue": queue} if queue else {}}
    made = client_from_environment().ops(
        "POST", "strays/discard", json=choice,
        headers={"Idempotency-Key": secrets.token_hex(16)},
    )  # fmt: skip
    if yes:
        show_document(made, as_json=as_json)
    elif as_json:
        click.echo(json.dumps(made, indent=2))
    else:
        click.echo(
            f"discard would touch {made['expected']} strays; nothing was changed, add --yes to "
            "do it."
        )
