"""What `sealwax dev` writes down: configuration, and variables for other terminals."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from sealwax.local.ports import HOST
from sealwax.settings import Demo, is_setting

__all__ = [
    "DEMO_SECRET",
    "child_environment",
    "config_files",
    "curls",
    "defaults",
    "fixed",
    "own_file",
]

DEMO_ROUTE = "demo"
#: Name of the secret that signs deliveries of the demo route.
DEMO_SECRET = "app/webhooks/demo"  # noqa: S105 - the name of a secret

#: Variables of the caller's that would lead to another environment than this machine's.
_NOT_TAKEN = frozenset(
    {
        "SEALWAX_API_URL",
        "SEALWAX_BUCKET",
        "SEALWAX_CONFIG",
        "SEALWAX_ENVIRONMENT",
        "SEALWAX_PREFIX",
        "SEALWAX_PUBLIC_URL",
        "SEALWAX_SECRETS_FILE",
        "SEALWAX_TOKEN",
    }
)


def fixed(*, api_port: int) -> str:
    """Return the TOML that goes over the folder's own `sealwax.toml`: where this machine is."""
    return f"""\
# Written anew by each `sealwax dev` and `sealwax local-init`; goes over sealwax.toml.
environment = "local"
public_url = {json.dumps(f"http://{HOST}:{api_port}")}
"""


def defaults(
    *,
    sandbox_port: int,
    sandbox_host: str = HOST,
    networks: Sequence[str] = (f"{HOST}/32",),
) -> str:
    """Return the TOML that goes under the folder's own `sealwax.toml`: routes to the sandbox.

    Values are host names, ports and constants, so a JSON string is a TOML
    string here, and a list of them a TOML list.

    Parameters
    ----------
    sandbox_host
        The sandbox's name, as the API and the worker see it.
    networks
        Where that name may lead to.
    """
    quote = json.dumps
    sandbox = f"http://{sandbox_host}:{sandbox_port}"
    rule = f'{{cidrs = {quote(list(networks))}, schemes = ["http"], ports = [{sandbox_port}]}}'
    return f"""\
# Written anew by each `sealwax dev` and `sealwax local-init`; sealwax.toml goes over it.

# Short polls: the worker ends quickly on Ctrl-C, and nobody pays for calls here.
[lanes.default]
poll = 2

[tasks.webhooks]
default_route = {quote(DEMO_ROUTE)}

[tasks.webhooks.routes.{DEMO_ROUTE}]
url = {quote(f"{sandbox}/hooks/{DEMO_ROUTE}")}
secret = {quote(DEMO_SECRET)}

# Only this machine's sandbox may be reached, in clear.
rule = {rule}

[tasks.customers]
internal_url = {quote(f"{sandbox}/internal/customers/{{id}}")}
internal_rule = {rule}
crm_url = {quote(f"{sandbox}/crm/contacts/{{id}}")}
crm_rule = {rule}

[tasks.exports]
bucket = "sealwax-local-payloads"
"""


def own_file(former: str | None, state: Path) -> Path | None:
    """Return the caller's own configuration file: SEALWAX_CONFIG's, or `./sealwax.toml`.

    None where there is none. What `sealwax dev` wrote into its state folder, and
    somebody has taken over with `. .sealwax/env`, is not the caller's.
    """
    named = [Path(name) for name in (former or "").split(os.pathsep) if name]
    own = [path for path in named if path.absolute().parent != state]
    found = own[0] if own else Path("sealwax.toml")
    return found.absolute() if found.is_file() else None


def config_files(*files: Path | None) -> str:
    """Return SEALWAX_CONFIG for some files, those that are None left out."""
    return os.pathsep.join(str(file) for file in files if file is not None)


def child_environment(config: str, aws: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of all processes: the caller's, but no AWS account of theirs.

    Parameters
    ----------
    config
        The configuration files, the last goes over the others.
    aws
        Variables that point to the emulated AWS.
    """
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AWS_", "SEALWAX_"))
        or (is_setting(name) and name not in _NOT_TAKEN)
    }
    return inherited | emulated(config, aws) | {"PYTHONUNBUFFERED": "1"}


def emulated(config: str, aws: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that make any Sealwax or AWS command use the emulated AWS."""
    local = [HOST, "localhost"]
    proxies = {
        name: ",".join([*filter(None, [os.environ.get(name)]), *local])
        for name in ("NO_PROXY", "no_proxy")
    }
    return {
        **aws,
        # Nothing in the user's ~/.aws may lead to a real account.
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "SEALWAX_CONFIG": config,
        **proxies,
    }


def curls(*, api_url: str, token: str, demo: Demo, job_id: str | None) -> list[str]:
    """Return command lines to paste: submit the demo job, look at it."""
    body = json.dumps({"task": demo.task, "payload": demo.payload})
    bearer = f"-H 'Authorization: Bearer {token}'"
    lines = [f"curl -sS {api_url}/v1/jobs {bearer} -H 'Content-Type: application/json' -d '{body}'"]
    if job_id:
        lines.append(f"curl -sS {api_url}/v1/jobs/{job_id} {bearer}")
    return lines
