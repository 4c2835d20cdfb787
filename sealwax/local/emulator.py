"""Embedded AWS: ministack on 127.0.0.1, in an environment and a process of its own.

`sealwax dev` and the test fixtures start it. It is a stand-in for development:
its KMS accepts what real KMS would refuse, so nothing about security may be
concluded from it.
"""

from __future__ import annotations

import http.client
import os
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from sealwax.errors import SealwaxError
from sealwax.local.environment import ensure_environment
from sealwax.local.ports import HOST, free_port, is_free
from sealwax.local.processes import end_group
from sealwax.local.state import PRIVATE_UMASK, open_private

__all__ = [
    "Emulator",
    "EmulatorFailed",
    "client_variables",
    "emulator_command",
    "emulator_variables",
    "is_ready",
]

#: Only what Sealwax uses: a smaller process, and a typo shows.
SERVICES = "sqs,dynamodb,kms,s3,sts"

#: Credentials that the emulator accepts; real ones must never be sent to it.
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
REGION = "eu-central-1"

READY_SECONDS = 30.0
#: It saves its state on the way out.
STOP_SECONDS = 15.0


class EmulatorFailed(SealwaxError):
    """The emulated AWS did not start; its log says why."""


def emulator_command(python: Path, port: int, *, alone: bool = False) -> list[str]:
    """Return the command that serves the emulated AWS on a port.

    `alone` is for containers: it does not end when its standard input closes.
    """
    # -P: its folder holds modules of ours that must not shadow anything there.
    server = Path(__file__).with_name("emulator_server.py")
    return [str(python), "-P", str(server), str(port), *(["alone"] if alone else [])]


def emulator_variables(
    port: int, state: Path | None, *, bind: str = HOST, name: str = HOST
) -> dict[str, str]:
    """Return the emulator's whole environment: nothing of the caller's leaks in.

    Parameters
    ----------
    port
        Where it will listen; it also builds queue URLs from it.
    state
        Folder to keep state in; `None` keeps nothing.
    bind
        Address to listen on.
    name
        Host name in queue URLs: how its clients reach it.
    """
    variables = {
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "GATEWAY_PORT": str(port),
        "BIND_HOST": bind,
        "MINISTACK_HOST": name,
        "MINISTACK_REGION": REGION,
        "SERVICES": SERVICES,
        "LOG_LEVEL": "WARNING",
        "SFTP_ENABLED": "0",
        "IOT_MTLS_ENABLED": "0",
        # It would look for containers of its own to end.
        "DOCKER_HOST": "unix:///nonexistent/docker.sock",
        **CREDENTIALS,
    }
    if state is not None:
        variables |= {
            "PERSIST_STATE": "1",
            "STATE_DIR": str(state / "services"),
            "S3_PERSIST": "1",
            "S3_DATA_DIR": str(state / "s3"),
        }
    return variables


def client_variables(port: int) -> dict[str, str]:
    """Return what a process needs in its environment to use the emulator on a port."""
    return {
        **CREDENTIALS,
        "AWS_ENDPOINT_URL": f"http://{HOST}:{port}",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
    }


def is_ready(port: int, host: str = HOST) -> bool:
    """Return whether an emulator answers on the port."""
    connection = http.client.HTTPConnection(host, port, timeout=2)
    try:
        connection.request("GET", "/_ministack/health")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


class Emulator:
    """A running emulated AWS; use it as a context manager or call `stop`.

    Parameters
    ----------
    port
        Where to listen on 127.0.0.1; default a free one.
    state
        Folder to keep state in; default none is kept.
    environment
        Folder of its Python environment; default see
        `sealwax.local.environment.default_folder`.
    log
        File for its output; default none.

    Raises
    ------
    EmulatorFailed
        Where it ends or does not answer in time.
    """

    def __init__(
        self,
        *,
        port: int | None = None,
        state: Path | None = None,
        environment: Path | None = None,
        log: Path | None = None,
    ) -> None:
        python = ensure_environment(environment)
        self.port = port or free_port()
        if not is_free(self.port):
            raise EmulatorFailed(f"Port {self.port} for the emulated AWS is taken; name another.")
        if state is not None:
            state.mkdir(mode=0o700, parents=True, exist_ok=True)
        output = open_private(log, append=True) if log else None
        try:
            self.process = subprocess.Popen(
                emulator_command(python, self.port),
                stdin=subprocess.PIPE,
                stdout=output or subprocess.DEVNULL,
                stderr=subprocess.STDOUT,
                env=emulator_variables(self.port, state),
                start_new_session=True,
                umask=PRIVATE_UMASK,
            )
        finally:
            if output:
                output.close()
        try:
            self._wait_ready(log)
        except BaseException:
            self.stop()
            raise

    @property
    def url(self) -> str:
        """The endpoint for all services, for `AWS_ENDPOINT_URL`."""
        return f"http://{HOST}:{self.port}"

    @property
    def client_variables(self) -> dict[str, str]:
        """What a process needs in its environment to use this emulator."""
        return client_variables(self.port)

    def _wait_ready(self, log: Path | None) -> None:
        end = time.monotonic() + READY_SECONDS
        while not is_ready(self.port):
            where = f"; see {log}" if log else ""
            code = self.process.poll()
            if code is not None:
                raise EmulatorFailed(f"The emulated AWS ended with code {code}{where}.")
            if time.monotonic() > end:
                raise EmulatorFailed(
                    f"The emulated AWS did not answer within {READY_SECONDS:.0f} s{where}."
                )
            time.sleep(0.05)

    def stop(self) -> None:
        """End it, giving it time to save its state; safe to call again."""
        end_group(self.process, grace=STOP_SECONDS)
        if self.process.stdin:
            self.process.stdin.close()

    def __enter__(self) -> Self:
        """Return itself: it runs since construction."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop it."""
        self.stop()
