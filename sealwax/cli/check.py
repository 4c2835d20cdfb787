"""`sealwax check`."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

import click

from sealwax.aws.clients import Aws
from sealwax.provision.preflight import run_checks
from sealwax.settings import load_settings

__all__ = ["check"]


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Machine-readable, one object a line.")
def check(as_json: bool) -> None:  # noqa: FBT001 - a flag of the command line
    r"""Check configuration, queues, dead-letter queues, tables, keys and secrets.

    Prints a line for each, with the remedy where something is wrong, and exits
    with 1 then. Changes nothing.

    \b
    Example:
      sealwax check
    """
    settings = load_settings()
    wrong = 0
    for found in run_checks(settings, Aws(settings.aws)):
        wrong += not found.ok
        if as_json:
            click.echo(json.dumps(asdict(found) | {"ok": found.ok}))
            continue
        mark = click.style("ok  ", fg="green") if found.ok else click.style("FAIL", fg="red")
        click.echo(f"{mark} {found.kind:<18} {found.name}")
        if not found.ok:
            click.echo(f"     {found.problem}")
            click.echo(f"     remedy: {found.remedy}")
    if wrong:
        click.echo(f"{wrong} wrong", err=True)
        sys.exit(1)
