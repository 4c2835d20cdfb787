"""`sealwax lanes`."""

from __future__ import annotations

import json
from typing import Any

import click

from sealwax.cli.ops import change, output
from sealwax.client import client_from_environment

__all__ = ["lanes"]


@click.group()
def lanes() -> None:
    """See lanes and pause them, or tasks, through the API; needs a token with `ops:` scopes."""


@lanes.command("list")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def list_(as_json: bool) -> None:  # noqa: FBT001 - a flag of the command line
    r"""List lanes: messages waiting and in flight, oldest job, rates, pauses.

    \b
    Example:
      sealwax lanes list --json
    """
    rows: list[dict[str, Any]] = client_from_environment().ops("GET", "lanes")["lanes"]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    output(
        ("lane", "state", "waiting", "in flight", "running", "workers", "oldest", "finished/s"),
        [
            (
                row["name"],
                "paused" if row["paused"] else "runs" if row["workers"] else "no worker",
                "?" if row["backlog"] is None else row["backlog"],
                "?" if row["in_flight"] is None else row["in_flight"],
                f"{row['running']}/{row['slots']}",
                row["workers"],
                row["oldest"] or "",
                row["finished_per_second"],
            )
            for row in rows
        ],
    )


def _verb(verb: str) -> click.Command:
    @click.argument("name")
    @click.option("--task", is_flag=True, help="NAME is a task, in whatever lane.")
    @click.option("--reason", default="", help="For the audit log.")
    @click.option("--yes", is_flag=True, help="Do it; without it only say what would be done.")
    def command(name: str, task: bool, reason: str, yes: bool) -> None:  # noqa: FBT001
        client = client_from_environment()
        what = "task" if task else "lane"
        rows = client.ops("GET", "lanes")["lanes"]
        told = rows if task else [row for row in rows if row["name"] == name]
        waiting = sum(row["backlog"] or 0 for row in told)
        workers = sum(row["workers"] for row in told)
        change(
            client,
            f"{what}s/{name}/{verb}",
            f"{verb} {what} {name}: {workers} workers are told, {waiting} messages wait",
            reason=reason,
            yes=yes,
        )

    command.__doc__ = (
        f"{verb.capitalize()} a lane, or a task; a pause costs no attempt.\n\n"
        f"\b\nExample:\n  sealwax lanes {verb} default --reason 'the customer moves' --yes\n"
    )
    return click.command(verb)(command)


for _name in ("pause", "resume"):
    lanes.add_command(_verb(_name))
