"""`sealwax replays`: how replays and discards go, through the API."""

from __future__ import annotations

import click

from sealwax.cli.tables import show_document, show_table
from sealwax.client import client_from_environment

__all__ = ["replays"]

_COLUMNS = (
    "id", "verb", "state", "expected", "sent", "waiting", "succeeded", "died", "skipped", "actor",
)  # fmt: skip


@click.group()
def replays() -> None:
    """Look at replays and discards; pause, resume, or cancel them."""


@replays.command("list")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 100))
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def list_(limit: int, as_json: bool) -> None:  # noqa: FBT001 - a flag of the command line
    r"""List replays and discards, the newest first.

    \b
    Example:
      sealwax replays list
    """
    found = client_from_environment().call("GET", "/v1/ops/replays", params={"limit": limit})
    show_table(found["replays"], _COLUMNS, as_json=as_json, nothing="There are no replays.")


@replays.command("show")
@click.argument("replay_id", metavar="ID")
@click.option("--letters", is_flag=True, help="Its first letters, each with its outcome.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def show(replay_id: str, letters: bool, as_json: bool) -> None:  # noqa: FBT001 - flags
    r"""Show a replay: its selection, its step, and its outcomes.

    \b
    Example:
      sealwax replays show 1764100000000-1f2e3d4c --letters
    """
    client = client_from_environment()
    if letters:
        found = client.call("GET", f"/v1/ops/replays/{replay_id}/letters", params={"limit": 100})[
            "letters"
        ]
        columns = ("id", "task", "state", "outcome", "settled")
        show_table(found, columns, as_json=as_json, nothing="It has touched no letter.")
        return
    show_document(client.call("GET", f"/v1/ops/replays/{replay_id}"), as_json=as_json)


@replays.command("pause")
@click.argument("replay_id", metavar="ID")
def pause(replay_id: str) -> None:
    """Send nothing more for now; what was sent goes on."""
    _change(replay_id, "pause")


@replays.command("resume")
@click.argument("replay_id", metavar="ID")
def resume(replay_id: str) -> None:
    """Go on after a pause, or after it stopped itself."""
    _change(replay_id, "resume")


@replays.command("cancel")
@click.argument("replay_id", metavar="ID")
@click.option("--yes", is_flag=True, help="Do it; without, only say what would happen.")
def cancel(replay_id: str, yes: bool) -> None:  # noqa: FBT001 - a flag of the command line
    """End it; letters not sent yet stay open."""
    if not yes:
        found = client_from_environment().call("GET", f"/v1/ops/replays/{replay_id}")
        left = max(0, found["expected"] - found["sent"])
        click.echo(f"up to {left} letters would stay open; nothing was changed, add --yes.")
        return
    _change(replay_id, "cancel")


def _change(replay_id: str, verb: str) -> None:
    found = client_from_environment().call("POST", f"/v1/ops/replays/{replay_id}/{verb}")
    click.echo(f"{found['id']} is {found['state']}")
