"""`sealwax letters`: dead letters, through the API."""

from __future__ import annotations

import json
import secrets
import time
from pathlib import Path
from typing import Any

import click

from sealwax.cli.paging import read_pages, save_body
from sealwax.cli.tables import show_document, show_table
from sealwax.client import ApiClient, client_from_environment
from sealwax.outcomes import Reason

__all__ = ["letters"]

#: States in which a replay goes on by itself no more.
_AT_REST = frozenset({"done", "stopped", "cancelled", "paused"})

_COLUMNS = ("id", "task", "reason", "cause", "attempts", "archived", "group")


def selecting(command: Any) -> Any:
    """Add the options that choose letters."""
    for name, text in (
        ("group", "A group's fingerprint; see `sealwax groups`."),
        ("queue", "Name of the queue they come from."),
        ("task", "Name of the task."),
        ("reason", "Reason of the death."),
        ("cause", "Such as http-400."),
        ("error", "Class of the exception."),
        ("since", "Archived not before: ISO 8601 with an offset, or epoch seconds."),
        ("until", "Archived not after."),
    ):
        choice = click.Choice([str(reason) for reason in Reason]) if name == "reason" else None
        command = click.option(f"--{name}", type=choice, help=text)(command)
    return command


def _filter(options: dict[str, Any]) -> dict[str, Any]:
    names = ("group", "queue", "task", "reason", "cause", "error", "since", "until")
    return {name: options[name] for name in names if options.get(name) is not None}


@click.group()
def letters() -> None:
    """List dead letters, download, replay, or discard them; changes nothing without --yes."""


@letters.command("list")
@selecting
@click.option("--job", help="A job's letters, whatever their state.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000))
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def list_(limit: int, as_json: bool, job: str | None, **options: Any) -> None:  # noqa: FBT001
    r"""List open letters, group by group.

    \b
    Example:
      sealwax letters list --task webhooks.relay --cause http-400
    """
    wanted = _filter(options) | ({"job": job} if job else {})
    found = read_pages(client_from_environment(), "letters", wanted, limit=limit)
    show_table(found, _COLUMNS, as_json=as_json, nothing="There are no such letters.")


@letters.command("show")
@click.argument("letter_id", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def show(letter_id: str, as_json: bool) -> None:  # noqa: FBT001 - a flag of the command line
    r"""Show a letter: why it died, where, and what became of it.

    \b
    Example:
      sealwax letters show 7d3f0a5be9c14b6f8a2e6c1d90b4f357.0
    """
    document = client_from_environment().call("GET", f"/v1/ops/letters/{letter_id}")
    show_document(document, as_json=as_json)


@letters.command("body")
@click.argument("letter_id", metavar="ID")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Into this file.")
def body(letter_id: str, out: Path | None) -> None:
    r"""Download a letter's message, byte for byte; what is sealed stays sealed.

    \b
    Example:
      sealwax letters body 7d3f0a5be9c14b6f8a2e6c1d90b4f357.0 --out letter
    """
    data = client_from_environment().download(f"/v1/ops/letters/{letter_id}/body")
    save_body(data, out)


@letters.command("reveal")
@click.argument("letter_id", metavar="ID")
@click.option("--why", required=True, help="Kept in the audit log.")
@click.option(
    "--key",
    "key_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File of your operator's key; default: as `sealwax operators add` makes it.",
)
@click.option("--yes", is_flag=True, help="Do it; without, only say what would happen.")
def reveal(letter_id: str, why: str, key_file: Path | None, yes: bool) -> None:  # noqa: FBT001
    r"""Show a letter's payload in clear, once; needs the scope ops:reveal.

    The request is signed with your own key, a worker seals the payload to it, and
    it is opened here: the API sees nothing of it. Set SEALWAX_ENVIRONMENT to the
    letter's environment, and let AWS's variables name who may read its keyring.
    Where `reveal.mode` is `console`, as on a laptop, the API opens it instead.

    \b
    Example:
      sealwax letters reveal 7d3f0a5be9c14b6f8a2e6c1d90b4f357.0 --why "ticket 71" --yes
    """
    from sealwax.cli.operators import key_path
    from sealwax.cli.revealing import reveal_by_api, reveal_by_key
    from sealwax.settings import load_settings

    settings = load_settings()
    if settings.reveal_mode == "off":
        raise click.ClickException("Payloads are not revealed here: reveal.mode is off.")
    if not yes:
        click.echo("its payload would be shown in clear and the audit log would say so; add --yes.")
        return
    client = client_from_environment()
    if settings.reveal_mode == "operator-key":
        path = key_path(settings.environment, key_file)
        payload = reveal_by_key(client, settings, letter_id, why, path)
    else:
        payload = reveal_by_api(client, letter_id, why)
    click.echo(json.dumps(payload, indent=2, ensure_ascii=False))


@letters.command("replay")
@click.argument("ids", metavar="[ID]...", nargs=-1)
@selecting
@click.option("--all", "everything", is_flag=True, help="All open letters.")
@click.option("--why", help="Kept in the audit log.")
@click.option("--rate", type=click.FloatRange(0, 10_000, min_open=True), help="Letters a second.")
@click.option("--canary", help="Sizes of the steps before all the rest; default 1,10,100.")
@click.option("--yes", is_flag=True, help="Do it; without, only say what would happen.")
@click.option("--wait", is_flag=True, help="Follow it until it is at rest.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def replay(
    ids: tuple[str, ...],
    everything: bool,  # noqa: FBT001 - flags of the command line
    why: str | None,
    rate: float | None,
    canary: str | None,
    yes: bool,  # noqa: FBT001
    wait: bool,  # noqa: FBT001
    as_json: bool,  # noqa: FBT001
    **options: Any,
) -> None:
    r"""Send letters again: first one, then ten, a hundred, then the rest.

    Each step waits for its outcomes; where too many die again it stops itself.

    \b
    Example:
      sealwax letters replay --group 3f2a9c4d5e6f7081 --why "route mended" --yes --wait
    """
    choice = _choice("replay", ids, everything, why, options)
    if rate is not None:
        choice["rate"] = rate
    if canary is not None:
        try:
            choice["canary"] = [int(step) for step in canary.split(",") if step]
        except ValueError:
            raise click.UsageError("--canary is a list of numbers such as 1,10,100") from None
    _carry_out(choice, yes=yes, wait=wait, as_json=as_json)


@letters.command("discard")
@click.argument("ids", metavar="[ID]...", nargs=-1)
@selecting
@click.option("--all", "everything", is_flag=True, help="All open letters.")
@click.option("--why", required=True, help="Kept with the letters and in the audit log.")
@click.option("--yes", is_flag=True, help="Do it; without, only say what would happen.")
@click.option("--wait", is_flag=True, help="Follow it until it is at rest.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def discard(
    ids: tuple[str, ...],
    everything: bool,  # noqa: FBT001 - flags of the command line
    why: str,
    yes: bool,  # noqa: FBT001
    wait: bool,  # noqa: FBT001
    as_json: bool,  # noqa: FBT001
    **options: Any,
) -> None:
    r"""Give letters up: they are resolved, and expire with their jobs.

    \b
    Example:
      sealwax letters discard --reason malformed --why "a producer's tests" --yes
    """
    choice = _choice("discard", ids, everything, why, options)
    _carry_out(choice, yes=yes, wait=wait, as_json=as_json)


def _choice(
    verb: str,
    ids: tuple[str, ...],
    everything: bool,  # noqa: FBT001 - as the command line has it
    why: str | None,
    options: dict[str, Any],
) -> dict[str, Any]:
    wanted = _filter(options)
    if sum(map(bool, (ids, wanted, everything))) != 1:
        raise click.UsageError("choose letters by IDs, by options such as --group, or with --all")
    choice: dict[str, Any] = {"verb": verb, "reason": why}
    return choice | ({"ids": list(ids)} if ids else {"filter": wanted})


def _carry_out(choice: dict[str, Any], *, yes: bool, wait: bool, as_json: bool) -> None:
    client = client_from_environment()
    made = client.call(
        "POST",
        "/v1/ops/replays",
        json=choice | {"mode": "start" if yes else "preview"},
        headers={"Idempotency-Key": secrets.token_hex(16)},
    )
    if not yes:
        if as_json:
            click.echo(json.dumps(made, indent=2))
            return
        most = "at most " if made["at_most"] else ""
        click.echo(
            f"{choice['verb']} would touch {most}{made['expected']} letters; nothing was changed, "
            "add --yes to do it."
        )
        return
    if wait:
        made = _follow(client, made["id"], quiet=as_json)
    show_document(made, as_json=as_json)
    if made["state"] == "stopped":
        raise click.exceptions.Exit(1)


def _follow(client: ApiClient, replay_id: str, *, quiet: bool) -> dict[str, Any]:
    told = ""
    while True:
        found = client.call("GET", f"/v1/ops/replays/{replay_id}")
        line = (
            f"{found['state']}: {found['sent']} of {found['expected']} sent, "
            f"{found['succeeded']} succeeded, {found['died']} died again, "
            f"{found['waiting']} open"
        )
        if line != told and not quiet:
            click.echo(line, err=True)
        told = line
        if found["state"] in _AT_REST:
            return found
        time.sleep(0.5)
