"""`sealwax lanes`."""

from __future__ import annotations

from typing import Any

import click

from sealwax.cli.ops import change
from sealwax.cli.tables import show_rows
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
    show_rows(
        rows,
        {
            "lane": lambda row: row["name"],
            "state": lambda row: (
                "paused" if row["paused"] else "runs" if row["workers"] else "no worker"
            ),
            "waiting": lambda row: "?" if row["backlog"] is None else row["backlog"],
            "in flight": lambda row: "?" if row["in_flight"] is None else row["in_flight"],
            "running": lambda row: f"{row['running']}/{row['slots']}",
            "workers": lambda row: row["workers"],
            "oldest": lambda row: row["oldest"],
            "finished/s": lambda row: row["finished_per_second"],
        },
        as_json=as_json,
        nothing="No lane is configured.",
    )


def _verb(verb: str) -> click.Command:
    @click.argument("name")
    @click.option("--task", is_flag=True, help="NAME is a task, in whatever lane.")
    @click.option("--why", default="", help="Stands in the audit log.")
    @click.option("--yes", is_flag=True, help="Do it; without it only say what would be done.")
    def command(name: str, task: bool, why: str, yes: bool) -> None:  # noqa: FBT001
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
            reason=why,
            yes=yes,
        )

    command.__doc__ = (
        f"{verb.capitalize()} a lane, or a task; a pause costs no attempt.\n\n"
        f"\b\nExample:\n  sealwax lanes {verb} default --why 'the customer moves' --yes\n"
    )
    return click.command(verb)(command)


for _name in ("pause", "resume"):
    lanes.add_command(_verb(_name))
