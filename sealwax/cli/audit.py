"""`sealwax audit`: who changed what, through the API; `verify` reads the table itself."""

from __future__ import annotations

import json
import re
import sys
from datetime import UTC, datetime
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


@audit.command("verify")
@click.option(
    "--since",
    metavar="DAY",
    type=click.DateTime(["%Y-%m-%d"]),
    help="Begin with this day (UTC); default: the oldest line that is kept.",
)
@click.option(
    "--head",
    "kept",
    metavar="NUMBER:HASH",
    help="As an earlier `verify` or the steward's log printed it, and kept elsewhere.",
)
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def verify(since: datetime | None, kept: str | None, as_json: bool) -> None:  # noqa: FBT001 - a flag
    r"""Find a line that was changed, removed, inserted or moved; exit with 1 where there is one.

    Reads the table with AWS permissions of its own, not through the API. Keep
    the head that it prints where who writes the log cannot: given back with
    --head, it shows whether the log up to there was written anew.

    \b
    Examples:
      sealwax audit verify
      sealwax audit verify --since 2026-01-31 --json
    """
    from sealwax.settings import load_settings
    from sealwax.stores import Stores

    noted = re.fullmatch(r"([0-9]{1,12}):([0-9a-f]{64})", kept) if kept else None
    if kept and noted is None:
        raise click.UsageError("--head is a number, a colon and 64 hex digits.")
    report = Stores(load_settings()).letters.audit.verify(
        since=since.replace(tzinfo=UTC).timestamp() if since else None,
        kept=(int(noted[1]), noted[2]) if noted else None,
    )
    if as_json:
        values = {name: getattr(report, name) for name in ("lines", "unchained", "first", "bad")}
        head = {"count": report.head.count, "hash": report.head.hash}
        click.echo(json.dumps({**values, "trouble": report.trouble, "head": head}))
    else:
        click.echo(f"{report.lines} lines read, {report.unchained} from before the chain began")
        click.echo(f"head  {report.head}")
        if report.bad:
            click.echo(f"BAD   {report.bad}: {report.trouble}")
    if report.bad:
        sys.exit(1)
