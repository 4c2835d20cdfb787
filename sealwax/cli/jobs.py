"""`sealwax jobs`."""

from __future__ import annotations

import json
import sys

import click

from sealwax.client import client_from_environment

__all__ = ["jobs"]


@click.group()
def jobs() -> None:
    """Look at jobs, verify that none is lost, erase what must be forgotten."""


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

    A job is accounted for where the outbox or a dead letter has its message.
    SQS cannot be asked what it holds, so an unaccounted job waits in its queue
    or is lost: compare with the lane's count of messages. Nothing is guessed
    and nothing is changed but what --repair sends again.

    \b
    Examples:
      sealwax jobs verify
      sealwax jobs verify --older-than 600 --repair
    """
    from sealwax.aws import Aws
    from sealwax.ledger import Ledger
    from sealwax.letters.service import make_letters
    from sealwax.outbox import Outbox
    from sealwax.settings import load_settings
    from sealwax.steward.sweep import Sweep

    settings = load_settings()
    aws = Aws(settings.aws)
    dynamodb = aws.client("dynamodb")
    sweep = Sweep(
        settings,
        Ledger(dynamodb, settings.table_name("jobs")),
        Outbox(dynamodb, settings.table_name("outbox")),
        make_letters(settings, aws),
        aws.client("sqs"),
        after=older_than,
    )
    counts = {"outbox": 0, "letter": 0, "unaccounted": 0}
    for found in sweep.all(repair=repair):
        counts[found.where] += 1
        if as_json:
            click.echo(json.dumps({**vars(found), "age": round(found.age, 1)}))
            continue
        again = ", sent again" if found.resent else ""
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
