"""`sealwax local-init`."""

from __future__ import annotations

import os
import time
from pathlib import Path
from urllib.parse import urlsplit

import click

from sealwax.errors import ConfigurationError

__all__ = ["local_init"]

#: How long the emulated AWS may take to answer, in seconds.
READY_SECONDS = 60.0

#: Networks that container engines give addresses from (RFC 1918).
PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")


@click.command("local-init")
@click.option(
    "--config-dir",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Folder to write: defaults.toml goes under your sealwax.toml, sealwax.toml over it, "
    "env has the token.",
)
@click.option("--sandbox-host", default="sandbox", show_default=True)
@click.option("--sandbox-port", default=8090, show_default=True, type=click.IntRange(1, 65_535))
@click.option(
    "--api-port",
    default=8080,
    show_default=True,
    type=click.IntRange(1, 65_535),
    help="Port under which this machine's users reach the API.",
)
def local_init(config_dir: Path, sandbox_host: str, sandbox_port: int, api_port: int) -> None:
    r"""Prepare an emulated AWS: configuration, queues, tables, keys, secrets and a token.

    Waits for the emulated AWS that AWS_ENDPOINT_URL names, and refuses to run
    without one, so that it can never touch a real account. What exists is kept.

    \b
    Example:
      AWS_ENDPOINT_URL=http://local-aws:4566 sealwax local-init --config-dir /config
    """
    from sealwax.keys.lifecycle import complete_lanes, init_keys
    from sealwax.local import configuration
    from sealwax.local.preparation import ensure_demo_secret, ensure_token
    from sealwax.local.state import exports, write_private
    from sealwax.provision import provision
    from sealwax.settings import load_settings
    from sealwax.stores import Stores

    _wait(os.environ.get("AWS_ENDPOINT_URL", ""))
    config_dir.mkdir(parents=True, exist_ok=True)
    under, over = config_dir / "defaults.toml", config_dir / "sealwax.toml"
    # Whole or not at all: engines run it again while other services read the files.
    write_private(
        under,
        configuration.defaults(
            sandbox_port=sandbox_port, sandbox_host=sandbox_host, networks=PRIVATE
        ),
    )
    write_private(over, configuration.fixed(api_port=api_port))
    if "SEALWAX_CONFIG" not in os.environ:
        own = configuration.own_file(None, config_dir)
        os.environ["SEALWAX_CONFIG"] = configuration.config_files(under, own, over)
    settings = load_settings()
    stores = Stores(settings)
    provision(settings, stores.aws)
    init_keys(settings, stores.source)
    complete_lanes(settings, stores.source)
    ensure_demo_secret(stores.source)
    env = config_dir / "env"
    token = ensure_token(stores, former=env)
    api_url = f"http://127.0.0.1:{api_port}"
    write_private(env, exports({"SEALWAX_API_URL": api_url, "SEALWAX_TOKEN": token}))
    click.echo(f"API    {api_url}")
    click.echo(f"token  {token}")
    if settings.demo is not None:
        for line in configuration.curls(
            api_url=api_url, token=token, demo=settings.demo, job_id=None
        ):
            click.echo(line)


def _wait(endpoint: str) -> None:
    from sealwax.local.emulator import EmulatorFailed, is_ready

    address = urlsplit(endpoint)
    if not address.hostname or not address.port:
        raise ConfigurationError(
            "Set AWS_ENDPOINT_URL to the emulated AWS, such as http://local-aws:4566; "
            "real accounts are prepared with the templates in ecs/."
        )
    end = time.monotonic() + READY_SECONDS
    while not is_ready(address.port, address.hostname):
        if time.monotonic() > end:
            raise EmulatorFailed(
                f"No emulated AWS answered at {endpoint} within {READY_SECONDS:.0f} s; see its log."
            )
        time.sleep(0.2)
