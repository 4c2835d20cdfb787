"""`sealwax keys`."""

from __future__ import annotations

import json

import click

from sealwax.aws import Aws
from sealwax.runtime import make_source
from sealwax.settings import load_settings

__all__ = ["keys"]


@click.group()
def keys() -> None:
    """Make and list the keys that seal and sign."""


@keys.command("init")
def init() -> None:
    r"""Make all keys of this environment; does nothing where they exist.

    \b
    Example:
      SEALWAX_ENVIRONMENT=staging sealwax keys init
    """
    from sealwax.keys import init_keys

    settings = load_settings()
    report = init_keys(settings, make_source(settings, Aws(settings.aws)))
    for name in report.created:
        click.echo(f"created  {name}")
    for name in report.existing:
        click.echo(f"exists   {name}")


@keys.command("list")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def list_(as_json: bool) -> None:  # noqa: FBT001 - a flag of the command line
    r"""List the keys: id, role, kind, suite, state, age. Shows no secret.

    \b
    Example:
      sealwax keys list
    """
    from rich.console import Console
    from rich.table import Table

    from sealwax.keys import describe_keys

    settings = load_settings()
    found = describe_keys(make_source(settings, Aws(settings.aws)))
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    table = Table("id", "role", "kind", "suite", "state", "created")
    for key in found:
        table.add_row(*(str(key.get(c.header, "")) for c in table.columns))
    Console().print(table)
