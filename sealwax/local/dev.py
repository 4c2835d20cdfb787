"""The whole of Sealwax on one machine, for `sealwax dev` and the acceptance tests.

In order: the emulated AWS and its environment, queues, tables and keys, the
sandbox, the API, a worker, a steward, one demo job. Everything listens on 127.0.0.1 and
ends with the process that holds it.
"""

from __future__ import annotations

import http.client
import os
import re
import secrets
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sealwax.client import ApiClient
from sealwax.errors import SealwaxError
from sealwax.local import configuration
from sealwax.local.emulator import (
    client_variables,
    emulator_command,
    emulator_variables,
    is_ready,
)
from sealwax.local.environment import ensure_environment
from sealwax.local.ports import HOST, choose_port
from sealwax.local.preparation import ensure_demo_secret, ensure_token
from sealwax.local.state import exports, write_private
from sealwax.local.supervisor import Program, Stop, Supervisor
from sealwax.settings import Demo
from sealwax.task_definition import NoTaskModules

__all__ = ["API_PORT", "EMULATOR_PORT", "SANDBOX_PORT", "DemoFailed", "DevOptions", "Stack"]

API_PORT = 8080
EMULATOR_PORT = 4566
SANDBOX_PORT = 8090

#: The demo job takes well under a second where all is well.
DEMO_SECONDS = 30.0

_READY_LINE = re.compile(r"\bready\b")


class DemoFailed(SealwaxError):
    """The demo job did not succeed; the logs in the state folder say why."""


@dataclass(frozen=True, kw_only=True)
class DevOptions:
    """What the user chose; ports are `None` where they did not.

    Parameters
    ----------
    app_dir
        Folder whose modules the roles can import; None: the one they start in.
    """

    state: Path
    api_port: int | None = None
    emulator_port: int | None = None
    sandbox_port: int | None = None
    app_dir: Path | None = None


class Stack:
    """Starts the parts one after the other, timing each.

    Parameters
    ----------
    options
        Folder and ports.
    supervisor
        Holds the processes.
    stop
        Noticed while waiting.
    say
        Called with each line of progress.
    """

    def __init__(
        self,
        options: DevOptions,
        supervisor: Supervisor,
        *,
        stop: Stop,
        say: Callable[[str], None],
    ) -> None:
        self._supervisor = supervisor
        self._stop = stop
        self._say = say
        self.state = options.state
        self._app_dir = options.app_dir
        # All are chosen before anything listens.
        self.emulator_port = choose_port(
            EMULATOR_PORT, options.emulator_port, what="the emulated AWS (--emulator-port)"
        )
        self.sandbox_port = choose_port(
            SANDBOX_PORT,
            options.sandbox_port,
            what="the sandbox (--sandbox-port)",
            taken=frozenset({self.emulator_port}),
        )
        self.api_port = choose_port(
            API_PORT,
            options.api_port,
            what="the API (--port)",
            taken=frozenset({self.emulator_port, self.sandbox_port}),
        )
        self.token = ""
        self._own = configuration.own_file(os.environ.get("SEALWAX_CONFIG"), self.state)
        self.demo: Demo | None = None
        self._demo_secret = ""

    @property
    def api_url(self) -> str:
        """Where the API answers."""
        return f"http://{HOST}:{self.api_port}"

    @property
    def sandbox_url(self) -> str:
        """Where the sandbox answers."""
        return f"http://{HOST}:{self.sandbox_port}"

    @property
    def config(self) -> str:
        """The configuration files of all processes, as SEALWAX_CONFIG names them."""
        return configuration.config_files(
            self.state / "defaults.toml", self._own, self.state / "sealwax.toml"
        )

    @property
    def variables(self) -> dict[str, str]:
        """What another process needs to use this stack's AWS and configuration."""
        return configuration.emulated(self.config, client_variables(self.emulator_port))

    @property
    def environment(self) -> dict[str, str]:
        """The whole environment of the stack's processes."""
        return configuration.child_environment(self.config, client_variables(self.emulator_port))

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Time one step and say so."""
        began = time.monotonic()
        yield
        self._say(f"  {what:<48} {time.monotonic() - began:5.1f} s")

    def start_emulator(self, environment: Path | None = None) -> None:
        """Start the emulated AWS, its state in the state folder."""
        with self.step("emulated AWS: environment"):
            python = ensure_environment(environment)
        with self.step(f"emulated AWS on port {self.emulator_port}"):
            self._supervisor.start(
                Program(
                    name="aws",
                    command=emulator_command(python, self.emulator_port),
                    environment=emulator_variables(self.emulator_port, self.state / "aws"),
                    ready=lambda _: is_ready(self.emulator_port),
                )
            )

    def prepare(self, text: str | None = None) -> None:
        """Write the configuration; make queues, tables, keys, token.

        Parameters
        ----------
        text
            All of the configuration, in place of the folder's own `sealwax.toml`
            and what is put around it; tests pass theirs.


        This process's own environment points to the emulated AWS from here on.
        """
        from sealwax.keys.lifecycle import complete_lanes, init_keys
        from sealwax.provision import provision
        from sealwax.settings import load_settings, refuse_unknown_variables
        from sealwax.stores import Stores

        if text is None:
            under = configuration.defaults(sandbox_port=self.sandbox_port)
            over = configuration.fixed(api_port=self.api_port)
            refuse_unknown_variables()
            self._say(f"  configuration: {self._own or 'no sealwax.toml in this folder'}")
        else:
            under, over = "", text
            self._own = None
        write_private(self.state / "defaults.toml", under)
        write_private(self.state / "sealwax.toml", over)
        kept = configuration.child_environment(self.config, {})
        for name in [name for name in os.environ if name.startswith(("AWS_", "SEALWAX_"))]:
            if name not in kept:
                del os.environ[name]
        os.environ.update(self.variables)
        settings = load_settings()
        if not settings.task_modules:
            raise NoTaskModules(
                "No task is served here: set `task_modules` in this folder's sealwax.toml, or let "
                "`sealwax new DIR` write a project."
            )
        self.demo = settings.demo
        stores = Stores(settings)
        with self.step("queues, tables and KMS keys"):
            provision(settings, stores.aws)
        with self.step("keys and secrets"):
            init_keys(settings, stores.source)
            complete_lanes(settings, stores.source)
            self._demo_secret = ensure_demo_secret(stores.source)
        with self.step("token"):
            self.token = ensure_token(stores, former=self.state / "env")
        write_private(
            self.state / "env",
            exports(
                {**self.variables, "SEALWAX_API_URL": self.api_url, "SEALWAX_TOKEN": self.token}
            ),
        )

    def start_sandbox(self) -> None:
        """Start the service that plays the downstream."""
        command = [
            sys.executable, "-m", "sealwax.local.sandbox",
            "--port", str(self.sandbox_port), "--state-dir", str(self.state / "sandbox"),
        ]  # fmt: skip
        with self.step(f"sandbox on port {self.sandbox_port}"):
            self._supervisor.start(
                Program(
                    name="sandbox",
                    command=command,
                    # With it the sandbox verifies signatures, as a downstream would.
                    environment=self.environment | {"SEALWAX_SANDBOX_SECRET": self._demo_secret},
                    ready=lambda _: _listens(self.sandbox_port),
                )
            )

    def start_roles(self, *, without: frozenset[str] = frozenset()) -> None:
        """Start API, worker and steward side by side; return when all are ready."""
        with self.step(f"API on port {self.api_port}, worker, steward"):
            started = [
                self._supervisor.start(program, wait=False)
                for program in self.roles()
                if program.name not in without
            ]
            for running in started:
                self._supervisor.wait_ready(running)

    def roles(self) -> list[Program]:
        """Return API, worker and steward as programs."""
        return [
            Program(
                name="api",
                command=self._role("api", "--port", str(self.api_port), "--health-port", "0"),
                environment=self.environment,
                ready=lambda _: _answers(self.api_port, "/readyz"),
            ),
            Program(
                name="worker",
                command=self._role("worker"),
                environment=self.environment,
                ready=_says_ready,
            ),
            Program(
                name="steward",
                command=self._role("steward"),
                environment=self.environment,
                ready=_says_ready,
            ),
        ]

    def _role(self, *arguments: str) -> list[str]:
        chosen = [] if self._app_dir is None else ["--app-dir", str(self._app_dir)]
        return [sys.executable, "-m", "sealwax", *chosen, *arguments]

    def run_demo(self) -> str | None:
        """Submit the demo job over HTTP, follow it to its end, return its id.

        None where the setting `demo` names none.

        Raises
        ------
        DemoFailed
            With its state and reason, and the end of the worker's log.
        """
        if self.demo is None:
            return None
        client = ApiClient(self.api_url, self.token, sleep=self._pause)
        try:
            with self.step("demo job"):
                accepted = client.submit(
                    self.demo.task,
                    self.demo.payload,
                    idempotency_key=secrets.token_hex(8),
                )
                document = client.wait(accepted["id"], timeout=DEMO_SECONDS, interval=0.05)
        finally:
            client.close()
        if document["state"] != "succeeded":
            raise DemoFailed(self._demo_failure(document))
        return str(document["id"])

    def curls(self, job_id: str | None) -> list[str]:
        """Return command lines to paste; none where there is no demo job."""
        if self.demo is None:
            return []
        return configuration.curls(
            api_url=self.api_url, token=self.token, demo=self.demo, job_id=job_id
        )

    def _pause(self, seconds: float) -> None:
        self._supervisor.check()
        self._stop.pause(seconds)

    def _demo_failure(self, document: dict[str, Any]) -> str:
        worker = self._supervisor["worker"]
        error = document.get("error") or {}
        reason = error.get("reason") if isinstance(error, dict) else None
        lines = "\n".join(f"  worker | {line}" for line in worker.tail())
        return (
            f"The demo job {document.get('id')} is {document['state']} after "
            f"{document.get('attempts', '?')} attempts"
            + (f" ({reason})" if reason else "")
            + f"; the end of {worker.log}:\n{lines}"
        )


def _says_ready(log: Path) -> bool:
    return bool(_READY_LINE.search(log.read_text(errors="replace")))


def _listens(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True


def _answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
