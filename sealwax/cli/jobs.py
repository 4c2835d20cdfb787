"""`sealwax jobs`."""

from __future__ import annotations

import json
import sys
from functools import cache

import click

from sealwax.client import client_from_environment

__all__ = ["jobs"]


@click.group()
def jobs() -> None:
    """Look at jobs, cancel them, verify that none is lost, erase what must be forgotten."""


@jobs.command("show")
@click.argument("job_id", metavar="ID")
def show(job_id: str) -> None:
    r"""Show a job: state, attempts, times, result or error, as JSON.

    \b
    Example:
      sealwax jobs show 7d3f0a5be9c14b6f8a2e6c1d90b4f357
    """
    document = client_from_environment().job(job_id)
    json.dump(document, sys.stdout, indent=2, ensure_ascii=False)
    click.echo()


@jobs.command("cancel")
@click.argument("job_id", metavar="ID")
@click.option(
    "--operator", is_flag=True, help="Of whatever tenant, on record; needs the scope ops:write."
)
@click.option("--why", help="With --operator: stands in the audit log.")
def cancel(job_id: str, *, operator: bool, why: str | None) -> None:
    r"""Cancel a job; one that runs is asked to stop, and may succeed all the same.

    \b
    Examples:
      sealwax jobs cancel 7d3f0a5be9c14b6f8a2e6c1d90b4f357
      sealwax jobs cancel 7d3f0a5be9c14b6f8a2e6c1d90b4f357 --operator --why "ticket 71"
    """
    client = client_from_environment()
    if why and not operator:
        raise click.UsageError("--why goes with --operator.")
    if operator:
        given = {"reason": why} if why else {}
        document = client.ops("POST", f"jobs/{job_id}/cancel", json=given)
    else:
        document = client.cancel(job_id)
    click.echo("asked to stop" if document["state"] == "running" else document["state"])


@jobs.command("verify")
@click.option("--repair", is_flag=True, help="Send again what has a body; default: only tell.")
@click.option(
    "--older-than",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="How long a job may stand still; default: steward.sweep_after.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def verify(*, repair: bool, older_than: float | None, as_json: bool) -> None:
    r"""Find open jobs that stand still; exit with 1 where one is unaccounted for.

    A job is accounted for where the outbox or a dead letter has its own message:
    what only bears its id counts for nothing, and is named beside it.
    SQS cannot be asked what it holds, so an unaccounted job waits in its queue
    or is lost: compare with the lane's count of messages. Nothing is guessed
    and nothing is changed but what --repair sends again.

    \b
    Examples:
      sealwax jobs verify
      sealwax jobs verify --older-than 600 --repair
    """
    from sealwax.cli.auditing import cli_actor
    from sealwax.keys.hmac import KeyedHashes
    from sealwax.keys.provenance import Evidence, by_record
    from sealwax.keys.public import SHARED, PublicKeyring
    from sealwax.settings import load_settings
    from sealwax.steward.sweep import Sweep
    from sealwax.stores import Stores

    stores = Stores(load_settings())

    @cache
    def keyring() -> PublicKeyring:
        # Only what is kept of a job that stands still is judged by them.
        return PublicKeyring.load(stores.source.get(SHARED))

    @cache
    def hashes() -> KeyedHashes:
        # Only what is sent again to a fair queue needs them.
        return KeyedHashes.load(stores.source.get("shared/hmac"))

    def fair_group(tenant: str) -> str:
        return hashes().fair_group(tenant)

    sweep = Sweep(
        stores.settings,
        stores.ledger,
        stores.outbox,
        stores.letters,
        stores.sqs,
        evidence=by_record(
            Evidence(
                keyring=keyring,
                fetch=stores.payloads.fetch,
                refresh=lambda: False,
                entry=stores.ledger.get,
            )
        ),
        fair_group=fair_group,
        after=older_than,
    )
    if repair:
        # Before, not after: what was begun is on record whatever happens.
        stores.letters.audit.record(
            actor=cli_actor(), verb="job.repair", target={"older_than": older_than}
        )
    counts = {"outbox": 0, "letter": 0, "unaccounted": 0}
    for found in sweep.all(repair=repair):
        counts[found.where] += 1
        if as_json:
            click.echo(json.dumps({**vars(found), "age": round(found.age, 1)}))
            continue
        again = ", sent again" if found.resent else ""
        if found.strays:
            again = f", strays bear its id: {' '.join(found.strays)}"
        click.echo(
            f"{found.job}  {found.where}{again}  {found.state}  {found.age:,.0f} s  "
            f"{found.lane}  {found.task}"
        )
    if not as_json:
        click.echo(
            f"{counts['unaccounted']} unaccounted, {counts['letter']} with a letter, "
            f"{counts['outbox']} in the outbox"
        )
    if counts["unaccounted"]:
        sys.exit(1)


@jobs.command("erase")
@click.option("--job", "job_ids", multiple=True, metavar="ID", help="A job; may be repeated.")
@click.option("--tenant", metavar="NAME", help="All jobs of a tenant.")
@click.option("--why", help="Stands in the audit log; needed with --yes.")
@click.option("--yes", is_flag=True, help="Do it; without, only say what would be erased.")
def erase(
    job_ids: tuple[str, ...],
    tenant: str | None,
    why: str | None,
    yes: bool,  # noqa: FBT001 - a flag
) -> None:
    r"""Erase what is kept of jobs: results, outbox, payloads in S3, dead letters' bodies.

    Open jobs are cancelled; one that runs is left, and the exit code is 1.
    Messages in SQS cannot be searched: they are acknowledged unread when they
    arrive. A dead-letter queue that is not collected yet may bring another
    letter: collect, and run it again. Recorded in the audit log.

    \b
    Examples:
      sealwax jobs erase --tenant acme
      sealwax jobs erase --job 7d3f0a5be9c14b6f8a2e6c1d90b4f357 --why "request 17" --yes
    """
    from sealwax.cli.auditing import cli_actor
    from sealwax.keys.hmac import KeyedHashes
    from sealwax.ledger import StillRuns, is_job_id
    from sealwax.settings import load_settings
    from sealwax.steward.erasure import Erasure
    from sealwax.stores import Stores

    if bool(job_ids) == bool(tenant):
        raise click.UsageError("Give either --job or --tenant.")
    if yes and not why:
        raise click.UsageError("--yes needs --why.")
    wrong = [job_id for job_id in job_ids if not is_job_id(job_id)]
    if wrong:
        raise click.UsageError("A job's id has 32 hex digits.")
    stores = Stores(load_settings())
    erasure = Erasure(stores)
    if tenant:
        hashes = KeyedHashes.load(stores.source.get("shared/hmac"))
        target = hashes.tenant_ref(tenant)
        entries = list(erasure.of_tenant(target))
    else:
        target = " ".join(job_ids)
        entries = [entry for entry in map(erasure.job, job_ids) if entry is not None]
        for missing in sorted(set(job_ids) - {entry.id for entry in entries}):
            click.echo(f"{missing}  unknown")
    if yes and entries:
        # Before, not after: what was begun is on record whatever happens.
        stores.letters.audit.record(
            actor=cli_actor(),
            verb="tenant.erase" if tenant else "job.erase",
            target=target,
            count=len(entries),
            reason=why,
        )
    running = 0
    for entry in entries:
        try:
            kept = erasure.erase(entry) if yes else erasure.look(entry)
        except StillRuns:
            running += 1
            click.echo(f"{entry.id}  runs now; not erased, try again when it has ended")
            continue
        click.echo(
            f"{kept.job}  {kept.state}  {kept.letters} letters, {kept.objects} payloads, "
            f"{kept.outbox} in the outbox{', a result' if kept.result else ''}"
        )
    done = len(entries) - running
    click.echo(f"{done} erased" if yes else f"{done} jobs; nothing was changed, add --yes")
    if running:
        sys.exit(1)
