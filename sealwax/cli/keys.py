"""`sealwax keys`."""

from __future__ import annotations

from functools import partial

import click

from sealwax.aws.clock import AWS_CLOCK
from sealwax.cli.auditing import record_cli
from sealwax.cli.tables import show_table
from sealwax.settings import load_settings
from sealwax.stores import Stores

__all__ = ["keys"]


@click.group()
def keys() -> None:
    """Make, list, rotate and retire the keys that seal and sign."""


@keys.command("init")
def init() -> None:
    r"""Make all keys of this environment; does nothing where they exist.

    \b
    Example:
      SEALWAX_ENVIRONMENT=staging sealwax keys init
    """
    from sealwax.keys.lifecycle import init_keys, lanes_without_key

    settings = load_settings()
    stores = Stores(settings)
    record = partial(record_cli, stores, verb="key.init", target="all roles")
    report = init_keys(settings, stores.source, record=record)
    for name in report.created:
        click.echo(f"created  {name}")
    for name in report.existing:
        click.echo(f"exists   {name}")
    for lane in lanes_without_key(settings, stores.source):
        click.echo(f"lane {lane} has no key yet: run `sealwax keys rotate --lane {lane}`", err=True)


@keys.command("list")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def list_(as_json: bool) -> None:  # noqa: FBT001 - a flag of the command line
    r"""List the keys: id, role, lane, kind, suite, state, age. Shows no secret.

    \b
    Example:
      sealwax keys list
    """
    from sealwax.keys.lifecycle import describe_keys

    show_table(
        describe_keys(Stores(load_settings()).source),
        ("id", "role", "lane", "kind", "suite", "state", "created"),
        as_json=as_json,
        nothing="There are no keys; run `sealwax keys init`.",
    )


@keys.command("rotate")
@click.option(
    "--role",
    type=click.Choice(["api", "worker"]),
    default="worker",
    show_default=True,
    help="Whose keys: jobs are sealed to the worker's, results to the API's.",
)
@click.option("--lane", help="Workers of this lane alone; it gets its first key where it has none.")
@click.option(
    "--all-lanes",
    is_flag=True,
    help="Workers of each lane of the settings; a key for all lanes is used no more.",
)
def rotate(role: str, lane: str | None, all_lanes: bool) -> None:  # noqa: FBT001 - a flag
    r"""Give a role new keys; what is sealed to the old ones still opens.

    Needs no drain and no restart: roles read keys again by timer and on
    SIGHUP, and a worker that meets an unknown key reads them at once. Retire
    the old ones when nothing needs them any more. Without --lane and
    --all-lanes each lane that has keys gets new ones.

    \b
    Example:
      sealwax keys rotate --role worker
      sealwax keys rotate --lane exports
    """
    from sealwax.keys.lifecycle import rotate_keys

    if role != "worker" and (lane is not None or all_lanes):
        raise click.UsageError("Only workers have keys for each lane.")
    if lane is not None and all_lanes:
        raise click.UsageError("Name one lane with --lane, or all with --all-lanes.")
    settings = load_settings()
    stores = Stores(settings)
    target = {"role": role} | ({"lanes": "all"} if all_lanes else {"lane": lane} if lane else {})
    record = partial(record_cli, stores, verb="key.rotate", target=target)
    made = rotate_keys(
        settings,
        stores.source,
        role,  # type: ignore[arg-type]  # a choice
        lanes=None if lane is None else [lane],
        every_lane=all_lanes,
        record=record,
    )
    for key_id in made:
        click.echo(f"new key {key_id}")
    click.echo("see `sealwax keys list`; retire old ones with `sealwax keys retire ID`", err=True)


@keys.command("rotate-hmac")
@click.option(
    "--after",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="When the new key is used; default: twice secrets_refresh_seconds.",
)
def rotate_hmac(after: float | None) -> None:
    r"""Give idempotency keys and requests a new key of their keyed hashes.

    Repeats of older requests are still recognised. The new key is used only
    after every role has read it, so no repeat in between makes a second job.

    \b
    Example:
      sealwax keys rotate-hmac
    """
    from sealwax.keys.hmac import rotate_hmac

    settings = load_settings()
    stores = Stores(settings)
    source = stores.source
    after = 2 * settings.secrets_refresh_seconds if after is None else after
    version = source.version("shared/hmac")
    text = rotate_hmac(source.get("shared/hmac"), now=AWS_CLOCK(), after=after)
    target = {"name": "shared/hmac", "after": after}
    record_cli(stores, verb="key.rotate-hmac", target=target)
    source.put("shared/hmac", text, replacing=version)
    click.echo(f"the new key is used in {after:,.0f} s")


@keys.command("retire")
@click.argument("key_id", metavar="ID")
@click.option("--force", is_flag=True, help="Retire although jobs need it: they are lost.")
@click.option("--yes", is_flag=True, help="Do it; without, only say what would happen.")
def retire(key_id: str, force: bool, yes: bool) -> None:  # noqa: FBT001 - flags
    r"""Remove an old key for ever; refuses while jobs, dead letters or results need it.

    \b
    Example:
      sealwax keys retire 4f9c2a61b0de77aa --yes
    """
    from sealwax.keys.lifecycle import KeyNeeded, retire_key

    stores = Stores(load_settings())
    if not yes:
        needing = stores.ledger.needing(key_id)
        click.echo(
            f"{key_id} is needed by {needing.open} open jobs, {needing.dead} dead letters and "
            f"{needing.results} results; nothing was changed, add --yes to retire it."
        )
        if (needing.open or needing.dead or needing.results) and not force:
            raise KeyNeeded(key_id, needing)
        return
    target = {"id": key_id, "force": force}
    record = partial(record_cli, stores, verb="key.retire", target=target, count=1)
    retire_key(stores.source, stores.ledger, key_id, force=force, record=record)
    click.echo(f"retired {key_id}")
