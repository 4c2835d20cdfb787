"""`sealwax new`."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["new"]


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
def new(folder: Path) -> None:
    r"""Write a project: a task with its test, an HTTP application, Makefile, Dockerfile.

    FOLDER must be empty or not there yet; its name becomes the project's.

    \b
    Example:
      sealwax new orders && cd orders && make run
    """
    from sealwax.scaffold import write_project

    for path in write_project(folder):
        click.echo(f"  {folder / path}")
    click.echo(f"\nNext:  cd {folder}")
    click.echo("       make run      # everything on this machine, with a demo job")
    click.echo("       make test     # the task's tests, without AWS")
    click.echo("Then change tasks/greetings.py: a contract, a function, a decorator.")
