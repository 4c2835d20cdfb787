"""`sealwax operators`."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import click

from sealwax.aws.clock import AWS_CLOCK
from sealwax.cli.auditing import record_cli
from sealwax.cli.tables import show_table
from sealwax.errors import SealwaxError
from sealwax.settings import load_settings
from sealwax.stores import Stores

__all__ = ["operators"]

_KEY = click.option(
    "--key",
    "key_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File of the private key; default: one for each environment in your settings' folder.",
)


@click.group()
def operators() -> None:
    """Say whose requests to reveal a payload workers believe."""


def key_path(environment: str, given: Path | None) -> Path:
    """Return the file of this machine's operator key of an environment."""
    return given or Path(click.get_app_dir("sealwax")) / f"operator-{environment}.json"


@operators.command("add")
@click.argument("name")
@_KEY
@click.option(
    "--public",
    "public_file",
    type=click.File("r", encoding="utf-8"),
    help="Enrol somebody else: the file that `sealwax operators public` made on their machine.",
)
def add(name: str, key_file: Path | None, public_file: Any) -> None:
    r"""Make an operator's key on this machine and enrol its public half.

    The private key stays in its file, which only you can read and which is
    never overwritten: where it holds your key already, that one is enrolled.
    With --public no key is made: somebody else's public
    half is enrolled. Compare the id that is printed with theirs by another way
    than the one by which the file came.

    \b
    Example:
      sealwax operators add ada
      sealwax operators add grace --public grace.json
    """
    from sealwax.keys.enrolment import enrol_operator
    from sealwax.keys.operator import OperatorKey, read_public

    if public_file is not None and key_file is not None:
        raise click.UsageError("Make a key with --key, or enrol another's with --public.")
    settings = load_settings()
    stores = Stores(settings)
    made: Path | None = None
    if public_file is not None:
        public = read_public(public_file.read())
        if public["name"] != name:
            raise click.UsageError(f"This is the public half of {public['name']}, not of {name}.")
    else:
        made = key_path(settings.environment, key_file)
        key = OperatorKey.ensure(made, name, settings.suite, int(AWS_CLOCK()))
        click.echo(f"private key {made}")
        public = read_public(json.dumps(key.public()))
    target = {"id": public["id"], "name": name}
    record = partial(record_cli, stores, verb="operator.add", target=target, count=1)
    try:
        enrol_operator(stores.source, public, record=record)
    except SealwaxError:
        if made is not None:
            click.echo(
                f"{made} was made but not enrolled: give the output of `sealwax operators public "
                f"--key {made}` to somebody who may, for `sealwax operators add {name} --public`.",
                err=True,
            )
        raise
    click.echo(f"enrolled {public['id']} {name}")


@operators.command("public")
@_KEY
def public(key_file: Path | None) -> None:
    r"""Print the public half of this machine's key, for somebody who enrols it.

    \b
    Example:
      sealwax operators public > ada.json
    """
    from sealwax.keys.operator import OperatorKey

    key = OperatorKey.read(key_path(load_settings().environment, key_file))
    click.echo(json.dumps(key.public()))
    click.echo(f"id {key.id}", err=True)


@operators.command("list")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def list_(as_json: bool) -> None:  # noqa: FBT001 - a flag of the command line
    r"""List the operators: id, name, suite, state, age; the removed too.

    \b
    Example:
      sealwax operators list
    """
    from sealwax.keys.enrolment import describe_operators

    show_table(
        describe_operators(Stores(load_settings()).source),
        ("id", "name", "suite", "state", "created"),
        as_json=as_json,
        nothing="There are no operators; run `sealwax operators add NAME`.",
    )


@operators.command("remove")
@click.argument("operator_id", metavar="ID")
@click.option("--yes", is_flag=True, help="Do it; without, only say what would happen.")
def remove(operator_id: str, yes: bool) -> None:  # noqa: FBT001 - a flag of the command line
    r"""Believe an operator's requests no more; the name stays for the audit log.

    \b
    Example:
      sealwax operators remove 4f9c2a61b0de77aa --yes
    """
    from sealwax.keys.documents import NoSuchOperator
    from sealwax.keys.enrolment import describe_operators, remove_operator

    stores = Stores(load_settings())
    row = next(
        (
            row
            for row in describe_operators(stores.source)
            if row["id"] == operator_id and row["state"] == "active"
        ),
        None,
    )
    if row is None:
        raise NoSuchOperator
    if not yes:
        click.echo(f"{operator_id} is {row['name']}; nothing was changed, add --yes to remove it.")
        return
    target = {"id": operator_id, "name": row["name"]}
    record = partial(record_cli, stores, verb="operator.remove", target=target, count=1)
    remove_operator(stores.source, operator_id, record=record)
    click.echo(f"removed {operator_id} {row['name']}")
