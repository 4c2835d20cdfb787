"""The `sealwax` command: one module a command, loaded when it is asked for."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any, ClassVar

import click

from sealwax.errors import MissingExtra, SealwaxError
from sealwax.telemetry.logs import configure_command_logging

__all__ = ["cli", "main"]


class _Lazy(click.Group):
    """A group whose commands are imported on use, so that `--help` is quick."""

    #: Command name to module; each module holds a click command of that name,
    #: with an underscore for a hyphen.
    modules: ClassVar[dict[str, str]] = {
        "api": "sealwax.cli.api",
        "audit": "sealwax.cli.audit",
        "check": "sealwax.cli.check",
        "dev": "sealwax.cli.dev",
        "groups": "sealwax.cli.groups",
        "health": "sealwax.cli.health",
        "jobs": "sealwax.cli.jobs",
        "keys": "sealwax.cli.keys",
        "lanes": "sealwax.cli.lanes",
        "letters": "sealwax.cli.letters",
        "local-aws": "sealwax.cli.local_aws",
        "local-init": "sealwax.cli.local_init",
        "new": "sealwax.cli.new",
        "operators": "sealwax.cli.operators",
        "replays": "sealwax.cli.replays",
        "sandbox": "sealwax.cli.sandbox",
        "steward": "sealwax.cli.steward",
        "strays": "sealwax.cli.strays",
        "submit": "sealwax.cli.submit",
        "tokens": "sealwax.cli.tokens",
        "worker": "sealwax.cli.worker",
        "workers": "sealwax.cli.workers",
    }

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return sorted(self.modules)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in self.modules:
            return None
        try:
            module = importlib.import_module(self.modules[cmd_name])
        except ModuleNotFoundError as error:
            raise _missing(error) from error
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        _mark_paragraphs(command)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except SealwaxError as error:
            raise click.ClickException(str(error)) from error
        except ModuleNotFoundError as error:
            raise _missing(error) from error


def _mark_paragraphs(command: click.Command) -> None:
    r"""Turn each `\b` of a raw docstring into the character by which click keeps lines apart."""
    if command.help:
        command.help = command.help.replace("\\b\n", "\b\n")
    for each in getattr(command, "commands", {}).values():
        _mark_paragraphs(each)


def _missing(error: ModuleNotFoundError) -> Exception:
    """Return what names the extra to install, or the error itself where none is missing."""
    missing = MissingExtra.of(error)
    return error if missing is None else click.ClickException(str(missing))


@click.group(
    cls=_Lazy,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="sealwax")
@click.option(
    "--app-dir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=Path(),
    help="Folder whose modules can be imported, such as your tasks.  [default: the current one]",
)
def cli(app_dir: Path) -> None:
    """Sealed, never-lost, never-blocked Celery tasks on Amazon SQS.

    Begin on a laptop with `sealwax dev`: it starts an emulated AWS, the API, a
    worker and a sandbox, and runs a demo job. Settings come from SEALWAX_…
    variables and sealwax.toml.
    """
    configure_command_logging()
    # As Celery, Flask and uvicorn do; a console script has its own folder there only.
    folder = str(app_dir.absolute())
    if folder not in sys.path:
        sys.path.insert(0, folder)


def main() -> None:
    """Run the command line."""
    cli(prog_name="sealwax", windows_expand_args=False)


if __name__ == "__main__":
    main()
