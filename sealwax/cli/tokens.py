"""`sealwax tokens`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import click

from sealwax.cli.auditing import record_cli
from sealwax.cli.tables import show_rows
from sealwax.settings import load_settings
from sealwax.stores import Stores
from sealwax.web.tokens import JOB_SCOPES, OPS_SCOPES, TOKEN_KEY, TokenStore, make_tokens

__all__ = ["tokens"]


def _store() -> TokenStore:
    stores = Stores(load_settings())
    return make_tokens(stores, stores.source.get(TOKEN_KEY))


def _recorder(verb: str, **facts: object) -> Callable[[str], None]:
    """Return what writes a token's line to the audit log, called with its id."""

    def record(token_id: str) -> None:
        target = {"id": token_id, **facts}
        record_cli(Stores(load_settings()), verb=verb, target=target, count=1)

    return record


@click.group()
def tokens() -> None:
    """Issue, list and revoke the tokens that callers of the API send."""


@tokens.command("issue")
@click.option("--tenant", required=True, help="Whom the token speaks for.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    default=JOB_SCOPES,
    show_default=True,
    help="May be given several times; `jobs:submit:webhooks.*` narrows to tasks. Operators' are "
    f"{', '.join(OPS_SCOPES)}.",
)
@click.option("--label", default="", help="What it is for; shown in the list.")
def issue(tenant: str, scopes: tuple[str, ...], label: str) -> None:
    r"""Make a token and print it; it cannot be shown again. Recorded in the audit log.

    \b
    Example:
      sealwax tokens issue --tenant acme --scope jobs:submit --label billing
    """
    try:
        record = _recorder("token.issue", tenant=tenant, scopes=scopes, label=label)
        issued = _store().issue(tenant=tenant, scopes=scopes, label=label, record=record)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    click.echo(f"id {issued.id}; shown this once:", err=True)
    click.echo(issued.token)


@tokens.command("list")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def list_(as_json: bool) -> None:  # noqa: FBT001 - a flag of the command line
    r"""List tokens by id, tenant, scopes and age; never the tokens.

    \b
    Example:
      sealwax tokens list
    """
    from operator import itemgetter

    rows = [
        {
            "id": found.id,
            "tenant": found.tenant,
            "scopes": list(found.scopes),
            "label": found.label,
            "created": datetime.fromtimestamp(found.created, UTC).isoformat(timespec="seconds"),
        }
        for found in _store().list()
    ]
    columns = {name: itemgetter(name) for name in ("id", "tenant", "label", "created")}
    show_rows(
        rows,
        columns | {"scopes": lambda row: " ".join(row["scopes"])},
        as_json=as_json,
        nothing="No token has been issued.",
    )


@tokens.command("revoke")
@click.argument("token_id", metavar="ID")
def revoke(token_id: str) -> None:
    r"""Revoke the token with this id; API processes believe it for up to 30 s more.

    \b
    Example:
      sealwax tokens revoke 4f9c2a61b0de
    """
    if not _store().revoke(token_id, record=_recorder("token.revoke")):
        raise click.ClickException(f"There is no token {token_id}; see `sealwax tokens list`.")
    click.echo(f"revoked {token_id}")
