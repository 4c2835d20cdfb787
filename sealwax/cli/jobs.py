"""`sealwax jobs`."""

from __future__ import annotations

import json
import sys

import click

from sealwax.client import client_from_environment

__all__ = ["jobs"]


@click.group()
def jobs() -> None:
    """Look at jobs through the API."""


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
