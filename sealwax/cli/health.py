"""`sealwax health`: what a container's health check runs."""

from __future__ import annotations

import http.client
import json
import os
import time
from pathlib import Path

import click

from sealwax.errors import SealwaxError

__all__ = ["NotHealthy", "health"]

#: Role to port and path; the worker has neither, it writes a file.
_PLACES = {
    "api": (8081, "/healthz"),  # the setting web.health_port's default
    "local-aws": (4566, "/_ministack/health"),
    "sandbox": (8090, "/healthz"),
}

#: The API's own port.
_API = 8080

#: A worker or steward writes its status every few seconds; this old, it does not any more.
_STALE = 60.0

#: A healthy process answers at once.
_TIMEOUT = 4.0


class NotHealthy(SealwaxError):
    """The process does not answer as a live one would; its log says more."""


@click.command()
@click.argument("role", type=click.Choice([*_PLACES, "worker", "steward"]))
@click.option("--port", type=click.IntRange(1, 65_535), help="Default: the role's usual one.")
@click.option("--ready", is_flag=True, help="Ask whether it can work, not only whether it lives.")
def health(role: str, port: int | None, *, ready: bool) -> None:
    r"""Exit with 0 where the ROLE that runs in this container lives, else with 1.

    A worker lives while its loop turns and its receives end, even badly: a
    broken SQS is no reason to restart it. A steward lives while its duties come
    back from their turns. Both must run with SEALWAX_LIVENESS_FILE set, as it is
    in the image.

    \b
    Examples:
      sealwax health api
      sealwax health worker --ready
    """
    if role in ("worker", "steward"):
        _written(role, ready=ready)
        return
    usual, path = _PLACES[role]
    if ready and role == "api":
        path = "/readyz"
    if role == "api":
        # 0: there is no such port, and the API's own answers.
        usual = int(os.environ.get("SEALWAX_WEB__HEALTH_PORT") or usual) or _API
    connection = http.client.HTTPConnection("127.0.0.1", port or usual, timeout=_TIMEOUT)
    try:
        connection.request("GET", path)
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        raise NotHealthy(f"The {role} does not answer ({type(error).__name__}).") from None
    finally:
        connection.close()
    if status != http.HTTPStatus.OK:
        raise NotHealthy(f"The {role} answered {status}.")


def _written(role: str, *, ready: bool) -> None:
    # Read as JSON: importing the transport for it would cost more than the check.
    path = os.environ.get("SEALWAX_LIVENESS_FILE", "")
    try:
        status = json.loads(Path(path).read_text())
        age = time.time() - float(status["at"])
        live, able = bool(status["live"]), bool(status["ready"])
    except (OSError, ValueError, KeyError, TypeError):
        raise NotHealthy(f"There is no status in {path or 'SEALWAX_LIVENESS_FILE'}.") from None
    if age > _STALE:
        raise NotHealthy(f"The {role} wrote its status {age:.0f} s ago, the last time.")
    if not live:
        raise NotHealthy(f"The {role} hangs: its loop or a call has not ended in time.")
    if ready and not able:
        raise NotHealthy(f"The {role} cannot receive: see its log.")
