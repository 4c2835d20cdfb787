"""`sealwax workers`."""

from __future__ import annotations

from typing import Any

import click

from sealwax.aws.clock import OFF
from sealwax.cli.ops import change
from sealwax.cli.tables import show_rows
from sealwax.client import client_from_environment

__all__ = ["workers"]


@click.group()
def workers() -> None:
    """See workers and drain them, through the API; needs a token with `ops:` scopes."""


@workers.command("list")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def list_(as_json: bool) -> None:  # noqa: FBT001 - a flag of the command line
    r"""List the workers that have reported within an hour.

    \b
    Example:
      sealwax workers list
    """
    rows: list[dict[str, Any]] = client_from_environment().ops("GET", "workers")["workers"]
    show_rows(
        rows,
        {
            "worker": lambda row: row["id"],
            "state": lambda row: row["state"],
            "lane": lambda row: row["lane"],
            "running": lambda row: f"{len(row['running'])}/{row['concurrency']}",
            "held": lambda row: row["held"],
            "closed routes": lambda row: ", ".join(row.get("closed_routes", ())) or "-",
            "clock off": lambda row: _clock(row.get("clock_off_seconds", 0)),
            "version": lambda row: row["version"],
            "seen": lambda row: row["seen"],
        },
        as_json=as_json,
        nothing="No worker has reported within an hour.",
    )


def _clock(off: float) -> str:
    return f"{off:+.0f} s" if abs(off) > OFF else "-"


def _verb(verb: str) -> click.Command:
    @click.argument("worker", metavar="ID")
    @click.option("--why", default="", help="Stands in the audit log.")
    @click.option("--yes", is_flag=True, help="Do it; without it only say what would be done.")
    def command(worker: str, why: str, yes: bool) -> None:  # noqa: FBT001
        client = client_from_environment()
        rows = client.ops("GET", "workers")["workers"]
        running = sum(len(row["running"]) for row in rows if row["id"] == worker)
        change(
            client,
            f"workers/{worker}/{verb}",
            f"{verb} worker {worker}: {running} jobs run in it",
            reason=why,
            yes=yes,
        )

    command.__doc__ = (
        ("Have a worker take nothing more and end what it runs."
         if verb == "drain" else "Have a drained worker take messages again.")
        + f"\n\n\b\nExample:\n  sealwax workers {verb} default-host-1 --yes\n"
    )  # fmt: skip
    return click.command(verb)(command)


for _name in ("drain", "resume"):
    workers.add_command(_verb(_name))
