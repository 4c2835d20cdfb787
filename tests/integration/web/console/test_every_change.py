"""Every way to change something, by HTTP, browser and command line: refused to readers, on record.

The lists come from the app's routes and the command line's own commands: one
that is added must be named here, with the line that it leaves in the audit log.
"""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import click
import pytest
from click.testing import CliRunner
from flask import Flask
from support.console import csrf_of, sign_in
from werkzeug.serving import make_server

from sealwax.cli import cli
from sealwax.control import ControlTable, Heartbeats, WorkerReport
from sealwax.deadletters import Filter
from sealwax.deadletters.letter import read
from sealwax.ledger import NewJob

WORKER = "w-audited"

#: Endpoints by which nothing of the operators' is changed.
NO_CHANGE = {
    "jobs.submit": "a producer's own",
    "jobs.cancel": "a producer's own, of its own job",
    "console.begin": "signing in",
    "console.sign_out": "signing out",
    "console.reveals.take": "shows what was asked for, which is on record",
}


class Scene:
    """What may be changed, made anew for each change."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        self.parts = app.extensions["sealwax"]
        self.letters = self.parts.letters
        table = self.parts.settings.table_name("control")
        self.control = ControlTable(self.parts.runtime.aws.client("dynamodb"), table)

    def lines(self) -> list[tuple[str, str | None, str]]:
        found: list[tuple[str, str | None, str]] = []
        after: str | None = None
        while True:
            page, after = self.letters.audit.page(limit=100, after=after, days=1)
            found += [(line.verb, line.reason, line.actor) for line in page]
            if after is None:
                return found

    def token(self, *scopes: str) -> str:
        return self.parts.tokens.issue(tenant="ops", scopes=scopes).token

    def worker(self) -> str:
        statuses = Heartbeats(self.control)
        now = statuses._clock()
        statuses.put(
            WorkerReport(
                id=WORKER, lane="default", host="h", pid=1, version="1", pool="prefork",
                concurrency=4, started=now, seen=now, counters={},
            )
        )  # fmt: skip
        return WORKER

    def job(self) -> str:
        job = secrets.token_hex(16)
        self.parts.runtime.ledger.accept(
            NewJob(
                id=job, task="webhooks.relay", tenant="ab" * 16, lane="default", contract=1,
                created=1_000.0, not_after=9_000_000_000, expires=9_000_000_000,
            )
        )  # fmt: skip
        return job

    def letter(self) -> str:
        job = secrets.token_hex(16)
        said = {"reason": "rejected", "cause": "http-400", "job": job, "task": "webhooks.relay"}
        message = {
            "MessageId": job,
            "Body": json.dumps({"headers": {"id": job, "task": "webhooks.relay"}, "body": "[]"}),
            "MessageAttributes": {
                "sealwax-dead-letter": {"DataType": "String", "StringValue": json.dumps(said)}
            },
        }
        letter, text = read(message, queue=self.parts.settings.queue_name("default"), now=1_000.0)
        self.letters.archive.put([(letter, text)])
        return letter.id

    def replay(self, state: str) -> str:
        replays = self.letters.replays
        made = replays.plan(actor="me", filter=Filter(task="no.such"), reason="why").id
        if state != "planned":
            replays.start(made, actor="me")
        if state == "paused":
            replays.pause(made, actor="me")
        return made


@pytest.fixture
def scene(app: Flask) -> Iterator[Scene]:
    made = Scene(app)
    yield made
    for kind in ("worker", "pause", "drain", "reveal"):
        for item in made.control.all(kind):
            made.control.delete(kind, item["id"])
    for replay_id in made.letters.replays.active():
        made.letters.replays.cancel(replay_id, actor="me")
        made.letters.table.delete("active", replay_id)


@dataclass(frozen=True)
class Change:
    """One change: the rest of its path, what is sent, and the line that it leaves."""

    path: Callable[[Scene], str]
    verb: str
    body: Callable[[Scene], dict[str, object]] = lambda _: {}
    scope: str = "ops:write"


def of_state(before: str, verb: str, prefix: str) -> Change:
    return Change(lambda scene: f"{prefix}/{scene.replay(before)}/{verb}", f"replay.{verb}")


def fleet(prefix: str) -> list[Change]:
    return [
        *(
            Change(lambda _, w=what, n=name, v=verb: f"{prefix}/{w}/{n}/{v}", f"{what[:-1]}.{verb}")
            for what, name in (("lanes", "default"), ("tasks", "webhooks.relay"))
            for verb in ("pause", "resume")
        ),
        *(
            Change(lambda scene, v=verb: f"{prefix}/workers/{scene.worker()}/{v}", f"worker.{verb}")
            for verb in ("drain", "resume")
        ),
        Change(lambda scene: f"{prefix}/jobs/{scene.job()}/cancel", "job.cancel"),
        *(
            of_state(before, verb, f"{prefix}/replays")
            for before, verb in (
                ("planned", "start"), ("running", "pause"), ("paused", "resume"),
                ("running", "cancel"),
            )
        ),
        Change(
            lambda scene: f"{prefix}/letters/{scene.letter()}/reveal", "letter.reveal",
            scope="ops:reveal",
        ),
    ]  # fmt: skip


API = [
    *fleet("/v1/ops"),
    Change(
        lambda _: "/v1/ops/replays", "replay.plan",
        lambda s: {"ids": [s.letter()], "mode": "plan"},
    ),
    Change(
        lambda _: "/v1/ops/replays", "replay.start",
        lambda s: {"ids": [s.letter()], "mode": "start"},
    ),
    Change(
        lambda _: "/v1/ops/replays", "discard.start",
        lambda s: {"ids": [s.letter()], "mode": "start", "verb": "discard", "reason": "why"},
    ),
]  # fmt: skip
CONSOLE = [
    *fleet("/console"),
    Change(lambda _: "/console/replays/new", "replay.plan", lambda s: {"letter": s.letter()}),
    Change(
        lambda _: "/console/replays/new", "discard.plan",
        lambda s: {"letter": s.letter(), "verb": "discard"},
    ),
]  # fmt: skip


def endpoints(app: Flask, prefix: str) -> set[str]:
    return {
        rule.endpoint
        for rule in app.url_map.iter_rules()
        if rule.methods & {"POST", "PUT", "PATCH", "DELETE"} and rule.rule.startswith(prefix)
    }


def reached(app: Flask, scene: Scene, changes: list[Change]) -> set[str]:
    adapter = app.url_map.bind("localhost")
    return {adapter.match(change.path(scene), method="POST")[0] for change in changes}


def test_no_way_to_change_something_is_left_out(app: Flask, scene: Scene) -> None:
    known = reached(app, scene, API) | reached(app, scene, CONSOLE) | set(NO_CHANGE)
    assert endpoints(app, "/") == known


@pytest.mark.parametrize("change", API, ids=lambda change: change.verb)
def test_by_http(app: Flask, client, scene: Scene, change: Change) -> None:
    path, body = change.path(scene), change.body(scene)
    if "reveal" in change.scope or "replays" not in path:
        body = body | {"reason": "why"}
    before = scene.lines()
    for scopes in (("ops:read",), ("ops:read", "jobs:submit")):
        headers = {"Authorization": f"Bearer {scene.token(*scopes)}"}
        assert client.post(path, headers=headers, json=body).status_code == 403
    assert scene.lines() == before
    headers = {"Authorization": f"Bearer {scene.token('ops:read', change.scope)}"}
    answer = client.post(path, headers=headers, json=body)
    assert answer.status_code < 300, answer.text
    (verb, reason, actor), *_ = scene.lines()
    assert (verb, reason) == (
        change.verb,
        "why" if "reason" in body or "replays/" in path else None,
    )
    assert actor.startswith("token:")


@pytest.mark.parametrize("change", CONSOLE, ids=lambda change: change.verb)
def test_by_browser(app: Flask, scene: Scene, change: Change) -> None:
    path, body = change.path(scene), change.body(scene)

    def post(*scopes: str) -> int:
        client = app.test_client()
        sign_in(client, scene.token(*scopes))
        csrf = csrf_of(client.get("/console/replays/").text)
        form = {"csrf": csrf, "reason": "why", "why": "why", **body}
        if path.endswith("/new"):
            del form["reason"]  # the filter's, there
        return client.post(path, data=form).status_code

    before = scene.lines()
    assert post("ops:read") == 403
    assert scene.lines() == before
    assert post("ops:read", change.scope) == 303
    (verb, reason, actor), *_ = scene.lines()
    assert (verb, reason) == (change.verb, "why")
    assert actor.startswith("token:")


# -- the command line ------------------------------------------------------------------

#: Commands that change something through the operations API, with the line left.
COMMANDS: dict[str, tuple[Callable[[Scene], list[str]], str, str]] = {
    "jobs cancel": (lambda s: [s.job(), "--operator"], "job.cancel", "ops:write"),
    "lanes pause": (lambda _: ["default", "--yes"], "lane.pause", "ops:write"),
    "lanes resume": (lambda _: ["default", "--yes"], "lane.resume", "ops:write"),
    "workers drain": (lambda s: [s.worker(), "--yes"], "worker.drain", "ops:write"),
    "workers resume": (lambda s: [s.worker(), "--yes"], "worker.resume", "ops:write"),
    "replays pause": (lambda s: [s.replay("running")], "replay.pause", "ops:write"),
    "replays resume": (lambda s: [s.replay("paused")], "replay.resume", "ops:write"),
    "replays cancel": (lambda s: [s.replay("running"), "--yes"], "replay.cancel", "ops:write"),
    "letters replay": (lambda s: [s.letter(), "--yes"], "replay.start", "ops:write"),
    "letters discard": (
        lambda s: [s.letter(), "--why", "why", "--yes"], "discard.start", "ops:write",
    ),
    "letters reveal": (
        lambda s: [s.letter(), "--why", "why", "--yes"], "letter.reveal", "ops:reveal",
    ),
}  # fmt: skip

#: Groups whose other commands only look.
LOOKING = {"list", "show", "body", "export"}


def commands_of(name: str) -> set[str]:
    group = cli.get_command(click.Context(cli), name)
    if not isinstance(group, click.Group):
        return set()  # it only looks
    return {f"{name} {each}" for each in group.commands if each not in LOOKING}


@pytest.fixture(scope="module")
def url(app: Flask) -> Iterator[str]:
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_no_command_is_left_out() -> None:
    names = ("jobs", "lanes", "workers", "replays", "letters", "groups", "audit")
    found = set().union(*map(commands_of, names))
    # These two go past the API, with AWS permissions of their own.
    assert found == {*COMMANDS, "jobs verify", "jobs erase"}


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_by_command_line(scene: Scene, url: str, monkeypatch, command: str) -> None:
    arguments, verb, scope = COMMANDS[command]
    # Nobody opens letters here; asking is what counts.
    monkeypatch.setattr("sealwax.cli.letters._REVEAL_SECONDS", 0)
    given = [*command.split(), *arguments(scene)]

    def run(*scopes: str):
        env = {"SEALWAX_API_URL": url, "SEALWAX_TOKEN": scene.token(*scopes)}
        return CliRunner().invoke(cli, given, env=env)

    before = scene.lines()
    states = {letter.id: letter.state for letter in scene.letters.archive.page().letters}
    refused = run("ops:read")
    assert refused.exit_code != 0
    assert "lacks the scope" in refused.output
    assert scene.lines() == before
    assert states == {letter.id: letter.state for letter in scene.letters.archive.page().letters}
    done = run("ops:read", scope)
    assert done.exit_code == 0 or "No worker has opened it" in done.output, done.output
    assert scene.lines()[0][0] == verb
    assert len(scene.lines()) > len(before)
