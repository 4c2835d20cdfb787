"""An internal system that hangs, and a tenant that asks for nothing else.

Sixteen threads serve the app, as in production; what they wait for is a real
server on 127.0.0.1 that takes requests and does not answer.
"""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from flask import Flask
from support.problems import problem
from support.waiting import wait_for
from support.web_app import ROUTES, serving

from sealwax.settings import Settings, load_settings

THREADS = 16


@dataclass
class Hanging:
    """Takes requests and keeps them; `answer` ends them with what it is given."""

    listener: socket.socket
    taken: list[socket.socket] = field(default_factory=list)
    drip: bool = False
    gone: bool = False

    def run(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.taken.append(connection)
            if self.gone:
                connection.close()
            elif self.drip:
                threading.Thread(target=self._drip, args=(connection,), daemon=True).start()

    @staticmethod
    def _drip(connection: socket.socket) -> None:
        try:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
            while True:
                connection.sendall(b" ")
                time.sleep(0.05)
        except OSError:
            return

    @property
    def port(self) -> int:
        return int(self.listener.getsockname()[1])

    def __enter__(self) -> None:
        """Hold until the end of the block, so that threads which wait end before their pool."""

    def __exit__(self, *_: object) -> None:
        self.let_go()

    def let_go(self) -> None:
        """Close what is held, and what comes."""
        self.gone = True
        for each in self.taken:
            each.close()


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        system = Hanging(listener)
        thread = threading.Thread(target=system.run, daemon=True)
        thread.start()
        yield system
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        system.let_go()


@contextmanager
def edge(provisioned: Settings, hanging: Hanging, **limits: Any) -> Iterator[Flask]:
    base = f"http://127.0.0.1:{hanging.port}"
    rule = {"cidrs": ["127.0.0.1/32"], "schemes": ["http"], "ports": [hanging.port], "total": 60,
            "read": 60}  # fmt: skip
    customers = {"internal_url": f"{base}/customers/{{id}}", "internal_rule": rule,
                 "crm_url": f"{base}/crm/{{id}}", "crm_rule": rule}  # fmt: skip
    settings = load_settings(
        environment=provisioned.environment,
        tasks={**ROUTES, "customers": customers},
        limits={"enrich_seconds": 60, **limits},
    )
    with serving(settings) as app:
        yield app


def token_of(app: Flask, tenant: str) -> dict[str, str]:
    tokens = app.extensions["sealwax"].tokens
    scopes = ["jobs:submit", "jobs:read"]
    return {"Authorization": f"Bearer {tokens.issue(tenant=tenant, scopes=scopes).token}"}


def sync(app: Flask, auth: dict[str, str], number: int = 1) -> Any:
    body = {"task": "customers.sync", "payload": {"customer_id": str(number)}}
    return app.test_client().post("/v1/jobs", json=body, headers=auth)


def relay(app: Flask, auth: dict[str, str]) -> Any:
    body = {"task": "webhooks.relay", "payload": {"event": "ping", "body": {"a": 1}}}
    return app.test_client().post("/v1/jobs", json=body, headers=auth)


def ended(answers: list[Future[Any]]) -> Counter[int]:
    return Counter(each.result().status_code for each in answers if each.done())


def test_a_system_that_hangs_holds_its_share_of_threads_and_no_more(
    provisioned: Settings, hanging: Hanging
) -> None:
    with (
        edge(provisioned, hanging, system_requests=4) as app,
        ThreadPoolExecutor(THREADS) as pool,
        hanging,
    ):
        slow, other, third = (token_of(app, name) for name in ("slow", "other", "third"))
        answers = [pool.submit(sync, app, slow, n) for n in range(THREADS)]
        wait_for(lambda: len(hanging.taken) == 2 and ended(answers)[503] == THREADS - 2)
        refused = next(each.result() for each in answers if each.done())
        problem(refused, 503, "system-unavailable")
        assert int(refused.headers["Retry-After"]) >= 1
        # The others' jobs are taken while it hangs, by threads of the same pool.
        accepted = [pool.submit(relay, app, other) for _ in range(8)]
        assert Counter(each.result(timeout=60).status_code for each in accepted) == {202: 8}
        # And the system is not closed to them: they have the other half of its share.
        more = [pool.submit(sync, app, third, n) for n in range(4)]
        wait_for(lambda: len(hanging.taken) == 4 and ended(more)[503] == 2)


def test_a_tenant_never_has_all_threads(provisioned: Settings, hanging: Hanging) -> None:
    limits = {"tenant_requests": 3, "system_requests": 100}
    with (
        edge(provisioned, hanging, **limits) as app,
        ThreadPoolExecutor(THREADS) as pool,
        hanging,
    ):
        slow, other = token_of(app, "slow"), token_of(app, "other")
        assert relay(app, other).status_code == 202
        answers = [pool.submit(sync, app, slow, n) for n in range(THREADS)]
        wait_for(lambda: len(hanging.taken) == 3 and ended(answers)[429] == THREADS - 3)
        problem(next(each.result() for each in answers if each.done()), 429, "rate-limited")
        assert pool.submit(relay, app, slow).result(timeout=60).status_code == 429
        assert pool.submit(relay, app, other).result(timeout=60).status_code == 202
        hanging.let_go()
        wait_for(lambda: all(each.done() for each in answers))
        assert relay(app, slow).status_code == 202


def test_an_enrichment_ends_in_its_time_however_slow_its_answers_drip(
    provisioned: Settings, hanging: Hanging
) -> None:
    hanging.drip = True
    with edge(provisioned, hanging, enrich_seconds=0.5) as app:
        problem(sync(app, token_of(app, "acme")), 503, "system-unavailable")
        assert len(hanging.taken) == 1
