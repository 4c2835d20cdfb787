"""What `sealwax dev` writes down: configuration, and variables for other terminals."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from sealwax.local.ports import HOST

__all__ = [
    "DEMO_PAYLOAD",
    "DEMO_SECRET",
    "DEMO_TASK",
    "child_environment",
    "configuration",
    "curls",
]

DEMO_TASK = "webhooks.relay"
DEMO_ROUTE = "demo"
#: Name of the secret that signs deliveries of the demo route.
DEMO_SECRET = "app/webhooks/demo"  # noqa: S105 - the name of a secret
DEMO_PAYLOAD = {
    "route": DEMO_ROUTE,
    "event": "greeting.sent",
    "body": {"greeting": "Hello from a sealed job", "sealed": True},
}


def configuration(
    *,
    api_port: int,
    sandbox_port: int,
    sandbox_host: str = HOST,
    networks: Sequence[str] = (f"{HOST}/32",),
) -> str:
    """Return `sealwax.toml` for this machine: one lane, one route to the sandbox.

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
# Written anew by each `sealwax dev` and `sealwax local-init`.
environment = "local"
public_url = {quote(f"http://{HOST}:{api_port}")}

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


def child_environment(config: Path, aws: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of all processes: the caller's, but no AWS account of theirs.

    Parameters
    ----------
    config
        The configuration file.
    aws
        Variables that point to the emulated AWS.
    """
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AWS_", "SEALWAX_"))
    }
    return inherited | emulated(config, aws) | {"PYTHONUNBUFFERED": "1"}


def emulated(config: Path, aws: Mapping[str, str]) -> dict[str, str]:
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
        "SEALWAX_CONFIG": str(config),
        **proxies,
    }


def curls(*, api_url: str, token: str, job_id: str | None) -> list[str]:
    """Return command lines to paste: submit a job, look at a job."""
    body = json.dumps({"task": DEMO_TASK, "payload": DEMO_PAYLOAD})
    bearer = f"-H 'Authorization: Bearer {token}'"
    lines = [f"curl -sS {api_url}/v1/jobs {bearer} -H 'Content-Type: application/json' -d '{body}'"]
    if job_id:
        lines.append(f"curl -sS {api_url}/v1/jobs/{job_id} {bearer}")
    return lines
