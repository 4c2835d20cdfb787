"""A running stack as acceptance tests see it."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import requests

from sealwax.client import ENDED
from sealwax.local.configuration import DEMO_SECRET
from sealwax.local.dev import DevOptions, Stack
from sealwax.local.ports import HOST
from sealwax.local.supervisor import Supervisor
from support.waiting import wait_for


def free_options(folder: Path) -> DevOptions:
    """Return options on free ports."""
    return DevOptions(state=folder, api_port=0, emulator_port=0, sandbox_port=0)


def configuration(
    *,
    api_url: str,
    sandbox_port: int,
    routes: Mapping[str, Mapping[str, Any]],
    extra: str,
    top: str = "",
    lane: str = "",
) -> str:
    """Return sealwax.toml with these routes, each to `/hooks/<name>` of the sandbox.

    `top` goes before all tables, `lane` into the default lane's, `extra` to the end.
    """
    lines = [
        'environment = "acceptance"',
        'app = "api:create_app"',
        "" if "task_modules" in top else 'task_modules = ["tasks"]',
        f'public_url = "{api_url}"',
        top,
        "[lanes.default]",
        # A poll outlives its worker on the emulator: short ones give messages back soon.
        "poll = 1",
        lane,
        "[tasks.webhooks]",
        f'default_route = "{next(iter(routes))}"',
    ]
    for name, options in routes.items():
        route = {
            "url": f"http://{HOST}:{sandbox_port}/hooks/{name}",
            "secret": DEMO_SECRET,
            **{key: value for key, value in options.items() if key != "rule"},
        }
        rule = {
            "cidrs": [f"{HOST}/32"],
            "schemes": ["http"],
            "ports": [sandbox_port],
            **options.get("rule", {}),
        }
        # JSON's strings, numbers, booleans and lists of them are TOML's too.
        lines.append(f"[tasks.webhooks.routes.{name}]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in route.items()]
        lines.append(f"[tasks.webhooks.routes.{name}.rule]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in rule.items()]
    return "\n".join([*lines, extra, ""])


class LiveStack:
    """Handles of one running stack.

    `api_url`, `sandbox_url`, `token`; `token_for` makes others; `submit`, `job`,
    `wait`; `kill_worker`, `restart`; `client` gives boto3 clients of its AWS;
    `log` and `logs` read what the processes wrote.
    """

    def __init__(self, stack: Stack, supervisor: Supervisor) -> None:
        self._stack = stack
        self._supervisor = supervisor
        self.environment_name = "acceptance"

    # -- life ---------------------------------------------------------------------

    def start(
        self,
        *,
        routes: Mapping[str, Mapping[str, Any]],
        environment: Path,
        sections: Callable[[int], str] = lambda _: "",
        steward: bool = False,
        worker: bool = True,
        **more: str,
    ) -> None:
        """Start everything; `sections` gives more configuration for the sandbox's port.

        Without a steward dead letters stay in their queue, where tests look at them;
        without a worker messages stay in theirs until `start_worker`.
        """
        more["extra"] = sections(self._stack.sandbox_port) + more.get("extra", "")
        self._stack.start_emulator(environment)
        self._stack.prepare(
            configuration(
                api_url=self.api_url,
                sandbox_port=self._stack.sandbox_port,
                routes=routes,
                **more,
            )
        )
        self._stack.start_sandbox()
        wanted = {"steward": steward, "worker": worker}
        self._stack.start_roles(without=frozenset(name for name in wanted if not wanted[name]))

    def close(self) -> None:
        """End everything at once: nobody needs what it would still finish."""
        self._supervisor.kill()
        self._supervisor.close()

    def check(self) -> None:
        """Fail where a process died."""
        self._supervisor.check()

    # -- where things are -----------------------------------------------------------

    @property
    def api_url(self) -> str:
        """Where the API answers."""
        return self._stack.api_url

    @property
    def sandbox_url(self) -> str:
        """Where the sandbox answers."""
        return self._stack.sandbox_url

    @property
    def emulator_port(self) -> int:
        """Where the emulated AWS listens."""
        return self._stack.emulator_port

    @property
    def token(self) -> str:
        """A token of tenant `local` with both scopes."""
        return self._stack.token

    @property
    def state(self) -> Path:
        """The stack's state folder."""
        return self._stack.state

    @property
    def variables(self) -> dict[str, str]:
        """The whole environment for other processes of this stack, such as the CLI."""
        return self._stack.environment | {
            "SEALWAX_API_URL": self.api_url,
            "SEALWAX_TOKEN": self.token,
        }

    def log_path(self, name: str) -> Path:
        """Return the log file of `api`, `worker`, `sandbox` or `aws`; restarts begin it anew."""
        return self.state / "logs" / f"{name}.log"

    def log(self, name: str) -> str:
        """Return what a process wrote since it was last started."""
        return self.log_path(name).read_text(errors="replace")

    # -- commands -------------------------------------------------------------------

    def cli(self, *arguments: str, check: bool = True, **more: Any) -> subprocess.CompletedProcess:
        """Run `sealwax …` against this stack."""
        options = {"capture_output": True, "text": True, "timeout": 120} | more
        done = subprocess.run(
            [sys.executable, "-m", "sealwax", *arguments],
            env=self.variables,
            cwd=self.state,
            **options,
        )
        if check and done.returncode != 0:
            raise AssertionError(f"sealwax {arguments} -> {done.returncode}\n{done.stderr}")
        return done

    def token_for(self, tenant: str, *scopes: str, label: str = "test") -> str:
        """Issue a token, as an operator does."""
        from sealwax.aws.clients import Aws
        from sealwax.keys.hmac import TokenDigest
        from sealwax.secrets.factory import make_source
        from sealwax.web.tokens import TokenStore

        with self.in_process() as settings:
            aws = Aws(settings.aws)
            store = TokenStore(
                aws.client("dynamodb"),
                settings.table_name("tokens"),
                TokenDigest.load(make_source(settings, aws).get("api/token-key")),
            )
            scopes = scopes or ("jobs:submit", "jobs:read")
            return store.issue(tenant=tenant, scopes=scopes, label=label).token

    @contextmanager
    def in_process(self) -> Iterator[Any]:
        """Point this process to the stack's AWS and configuration meanwhile; yields settings."""
        from sealwax.settings import load_settings

        kept = dict(os.environ)
        for name in list(os.environ):
            # What a fixture of other tests has set would go before the stack's file.
            if name.startswith(("AWS_", "SEALWAX_")):
                del os.environ[name]
        os.environ.update(self._stack.variables)
        try:
            yield load_settings()
        finally:
            os.environ.clear()
            os.environ.update(kept)

    # -- jobs -----------------------------------------------------------------------

    def request(
        self, method: str, path: str, *, token: str | None = None, **more: Any
    ) -> requests.Response:
        """Send one HTTP request to the API; `token=""` sends none."""
        headers = dict(more.pop("headers", {}))
        bearer = self.token if token is None else token
        if bearer:
            headers.setdefault("Authorization", f"Bearer {bearer}")
        return requests.request(method, self.api_url + path, headers=headers, timeout=30, **more)

    def submit(
        self, task: str, payload: Any, *, key: str | None = None, token: str | None = None
    ) -> str:
        """Submit a job; return its id."""
        headers = {"Idempotency-Key": key or secrets.token_hex(8)}
        answer = self.request(
            "POST",
            "/v1/jobs",
            token=token,
            json={"task": task, "payload": payload},
            headers=headers,
        )
        assert answer.status_code == 202, answer.text
        return answer.json()["id"]

    def relay(self, route: str, body: Any, *, event: str = "test", **more: Any) -> str:
        """Submit `webhooks.relay`; return the job's id."""
        return self.submit("webhooks.relay", {"route": route, "event": event, "body": body}, **more)

    def job(self, job_id: str, *, token: str | None = None) -> dict[str, Any]:
        """Return a job's document."""
        answer = self.request("GET", f"/v1/jobs/{job_id}", token=token)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def wait(
        self, job_id: str, *states: str, seconds: float = 60, token: str | None = None
    ) -> dict[str, Any]:
        """Return the job's document once it is in one of `states` (default: ended)."""
        wanted = set(states) or ENDED

        def reached() -> dict[str, Any] | None:
            self.check()
            document = self.job(job_id, token=token)
            return document if document["state"] in wanted else None

        return wait_for(reached, seconds=seconds, what=f"job {job_id} in {sorted(wanted)}")

    # -- faults -----------------------------------------------------------------------

    def kill_worker(self) -> None:
        """SIGKILL the worker with all its children; `start_worker` starts another."""
        running = self._supervisor["worker"]
        self._supervisor.kill_one("worker")
        running.process.wait()
        self._supervisor.end("worker")

    def stop_worker(self) -> int:
        """SIGTERM the worker and wait; return its exit code."""
        return self._supervisor.end("worker")

    def start_worker(self) -> None:
        """Start a worker and wait until it is ready."""
        self._supervisor.start(self._role("worker"))

    def restart(self, name: str, **variables: str) -> None:
        """End `api` or `worker` and start it again, `variables` added to its environment."""
        self._supervisor.end(name)
        program = self._role(name)
        self._supervisor.start(replace(program, environment={**program.environment, **variables}))

    def kill(self, name: str) -> None:
        """SIGKILL a role with all its children; `revive` starts it again as it was."""
        self._supervisor.kill_one(name)

    def revive(self, name: str) -> None:
        """Start a role that was killed again, with the same environment."""
        program = self._supervisor[name].program
        self._supervisor.end(name)
        self._supervisor.start(program)

    def pid(self, name: str) -> int:
        """Return the id of a role's main process."""
        return self._supervisor[name].process.pid

    def signal(self, name: str, number: int) -> None:
        """Send a signal to the main process of `api` or `worker`."""
        self._supervisor[name].process.send_signal(number)

    def _role(self, name: str) -> Any:
        return next(program for program in self._stack.roles() if program.name == name)

    # -- AWS --------------------------------------------------------------------------

    def client(self, service: str) -> Any:
        """Return a boto3 client of this stack's AWS."""
        variables = self._stack.variables
        return boto3.client(
            service,
            endpoint_url=variables["AWS_ENDPOINT_URL"],
            region_name=variables["AWS_REGION"],
            aws_access_key_id=variables["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
        )

    def queue_url(self, lane: str = "default", *, dead: bool = False, suffix: str = "") -> str:
        """Return the URL of a lane's queue or dead-letter queue; `suffix`: `.fifo` of such ones."""
        name = f"sealwax-{self.environment_name}_{lane}{'-dlq' if dead else ''}{suffix}"
        return self.client("sqs").get_queue_url(QueueName=name)["QueueUrl"]

    def dead_letters(self, *, seconds: float = 0) -> list[dict[str, Any]]:
        """Return the messages of the dead-letter queue, left in it, and the archive's."""
        sqs, url = self.client("sqs"), self.queue_url(dead=True)
        found: dict[str, dict[str, Any]] = {}
        end = time.monotonic() + seconds
        while True:
            # Out of sight until all are seen: a receive prefers the same ones.
            messages = sqs.receive_message(
                QueueUrl=url,
                MaxNumberOfMessages=10,
                VisibilityTimeout=60,
                MessageAttributeNames=["All"],
                MessageSystemAttributeNames=["All"],
            ).get("Messages", [])
            found |= {message["MessageId"]: message for message in messages}
            if not messages and time.monotonic() >= end:
                break
        for message in found.values():
            sqs.change_message_visibility(
                QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0
            )
        bodies = {message["Body"] for message in found.values()}
        archived = [letter for letter in self._archived() if letter["Body"] not in bodies]
        return [*found.values(), *archived]

    def _archived(self) -> list[dict[str, Any]]:
        """Return the archive's letters in the form of messages; big ones are left out."""
        return [
            {
                "Body": item["body"]["B"].decode(),
                "MessageAttributes": {"sealwax-dead-letter": {"StringValue": item["said"]["S"]}},
            }
            for item in self.items("letters")
            if "body" in item and "said" in item
        ]

    def dead_letter_of(self, job_id: str, *, seconds: float = 30) -> dict[str, Any]:
        """Return the reason document of a job's dead letter once it is there."""

        def found() -> dict[str, Any] | None:
            for message in self.dead_letters():
                attribute = message.get("MessageAttributes", {}).get("sealwax-dead-letter")
                reason = json.loads(attribute["StringValue"]) if attribute else {}
                if reason.get("job") == job_id:
                    return reason
            return None

        return wait_for(found, seconds=seconds, what=f"a dead letter of job {job_id}")

    def ledger_item(self, job_id: str) -> dict[str, Any]:
        """Return a job's item in DynamoDB's form."""
        return self.client("dynamodb").get_item(
            TableName=f"sealwax-{self.environment_name}-jobs", Key={"id": {"S": job_id}}
        )["Item"]

    def items(self, table: str) -> list[dict[str, Any]]:
        """Return all items of a table in DynamoDB's form."""
        pages = self.client("dynamodb").get_paginator("scan")
        name = f"sealwax-{self.environment_name}-{table}"
        return [item for page in pages.paginate(TableName=name) for item in page["Items"]]
