"""`sealwax audit`: who changed what, through the API."""

from __future__ import annotations

import sys
from urllib.parse import urlencode

import click

from sealwax.cli.tables import show_table
from sealwax.client import client_from_environment

__all__ = ["audit"]

_COLUMNS = ("at", "actor", "verb", "target", "count", "reason")


@click.group()
def audit() -> None:
    """Read the log of what operators and the steward have changed."""


@audit.command("list")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 100))
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def list_(limit: int, as_json: bool) -> None:  # noqa: FBT001 - a flag of the command line
    r"""List the newest lines.

    \b
    Example:
      sealwax audit list
    """
    found = client_from_environment().call("GET", "/v1/ops/audit", params={"limit": limit})
    show_table(found["lines"], _COLUMNS, as_json=as_json, nothing="The log has no lines yet.")


@audit.command("export")
@click.option("--since", help="ISO 8601 with an offset, or epoch seconds; default a day ago.")
@click.option("--until", help="Default now.")
def export(since: str | None, until: str | None) -> None:
    r"""Print all lines of a span as JSON lines, the oldest first.

    \b
    Example:
      sealwax audit export --since 2026-01-01T00:00:00+00:00 > audit.jsonl
    """
    wanted = {name: value for name, value in (("since", since), ("until", until)) if value}
    query = f"?{urlencode(wanted)}" if wanted else ""
    sys.stdout.buffer.write(client_from_environment().download(f"/v1/ops/audit/export{query}"))
