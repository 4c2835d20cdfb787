"""The `sealwax` command: one module a command, loaded when it is asked for."""

from __future__ import annotations

import importlib
from typing import Any, ClassVar

import click

from sealwax.errors import SealwaxError

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
        "replays": "sealwax.cli.replays",
        "sandbox": "sealwax.cli.sandbox",
        "steward": "sealwax.cli.steward",
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
        module = importlib.import_module(self.modules[cmd_name])
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except SealwaxError as error:
            raise click.ClickException(str(error)) from error


@click.group(
    cls=_Lazy,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="sealwax")
def cli() -> None:
    """Sealed, never-lost, never-blocked Celery tasks on Amazon SQS.

    Begin on a laptop with `sealwax dev`: it starts an emulated AWS, the API, a
    worker and a sandbox, and runs a demo job. Settings come from SEALWAX_…
    variables and sealwax.toml.
    """


def main() -> None:
    """Run the command line."""
    cli(prog_name="sealwax", windows_expand_args=False)


if __name__ == "__main__":
    main()
