"""Every way to change something, by HTTP, browser and command line: refused to readers, on record.

The lists come from the app's routes and the command line's own commands: one
that is added must be named here, with the line that it leaves in the audit log.
"""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from flask import Flask
from support.console import csrf_of, sign_in
from support.letters import PUBLIC, said_by_a_worker
from werkzeug.serving import make_server

from sealwax.cli import cli
from sealwax.control import ControlTable, Heartbeats, WorkerReport
from sealwax.control.audit_log import Audit, AuditUnreachable
from sealwax.deadletters import Filter
from sealwax.deadletters.letter import read
from sealwax.keys.lifecycle import describe_keys, key_documents, rotate_keys
from sealwax.ledger import NewJob
from sealwax.secrets import SecretSource
from sealwax.secrets.factory import make_source
from sealwax.web.refused_sign_ins import RefusedSignIns

WORKER = "w-audited"

#: Who comes and goes, with the lines left: tried by a test of their own.
SESSIONS = {"console.begin": "console.sign-in", "console.sign_out": "console.sign-out"}

#: Endpoints by which nothing of the operators' is changed.
NO_CHANGE = {
    "jobs.submit": "a producer's own",
    "jobs.cancel": "a producer's own, of its own job",
    "console.reveals.take": "shows what was asked for, which is on record",
}


class Scene:
    """What may be changed, made anew for each change."""

    def __init__(self, app: Flask, folder: Path) -> None:
        self.app = app
        self.folder = folder
        self.parts = app.extensions["sealwax"]
        self.letters = self.parts.letters
        table = self.parts.settings.table_name("control")
        self.control = ControlTable(self.parts.runtime.aws.client("dynamodb"), table)

    def lines(self) -> list[tuple[str, str | None, str]]:
        """What was changed, the newest first; sign-ins have tests of their own."""
        return [line for line in self.all_lines() if not line[0].startswith("console.")]

    def sessions(self) -> list[tuple[str, str]]:
        """Who signed in and out, or tried to, the newest first."""
        return [(verb, actor) for verb, _, actor in self.all_lines() if verb.startswith("console.")]

    def all_lines(self) -> list[tuple[str, str | None, str]]:
        found: list[tuple[str, str | None, str]] = []
        after: str | None = None
        while True:
            page, after = self.letters.audit.page(limit=100, after=after, days=1)
            found += [(line.verb, line.reason, line.actor) for line in page]
            if after is None:
                return found

    def token(self, *scopes: str) -> str:
        return self.parts.tokens.issue(tenant="ops", scopes=scopes).token

    def token_id(self) -> str:
        return self.parts.tokens.issue(tenant="ops", scopes=("ops:read",)).id

    @property
    def source(self) -> SecretSource:
        return make_source(self.parts.settings, self.parts.runtime.aws)

    def old_key(self) -> str:
        rotate_keys(self.parts.settings, self.source, "worker")
        rows = describe_keys(self.source)
        return next(row["id"] for row in rows if row["state"] != "active")

    def own_file(self) -> str:
        return str(self.folder / f"{secrets.token_hex(4)}.json")

    def operator(self) -> str:
        """Enrol an operator; return the id."""
        env = {"SEALWAX_ENVIRONMENT": self.parts.settings.environment}
        given = ["operators", "add", "grace", "--key", self.own_file()]
        done = CliRunner().invoke(cli, given, env=env)
        assert done.exit_code == 0, done.output
        return done.output.split()[-2]

    def forget_keys(self) -> list[str]:
        client = self.parts.runtime.aws.client("dynamodb")
        table = self.parts.settings.table_name("secrets")
        for item in client.scan(TableName=table)["Items"]:
            if item["name"]["S"].endswith(key_documents(self.parts.settings)):
                found = {"name": item["name"], "version": item["version"]}
                client.delete_item(TableName=table, Key=found)
        return []

    def kept(self) -> tuple[object, ...]:
        """What commands of their own could change: keys, tokens and jobs."""
        client, name = self.parts.runtime.aws.client("dynamodb"), self.parts.settings.table_name
        return tuple(
            sorted(map(str, client.scan(TableName=name(table))["Items"]))
            for table in ("secrets", "tokens", "jobs")
        )

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
        return self._archive(job, own=True)

    def stray(self) -> str:
        return self._archive(secrets.token_hex(16), own=False)

    def _archive(self, job: str, *, own: bool) -> str:
        queue = self.parts.settings.queue_name("default")
        body = json.dumps({"headers": {"id": job, "task": "webhooks.relay"}, "body": "[]"})
        said = {
            "reason": "rejected" if own else "stray", "cause": "http-400", "job": job,
            "task": "webhooks.relay", "at": 1.0,
        }  # fmt: skip
        text = said_by_a_worker(said, body, queue=queue, own=own)
        message = {
            "MessageId": job,
            "Body": body,
            "MessageAttributes": {
                "sealwax-dead-letter": {"DataType": "String", "StringValue": text}
            },
        }
        made = read(message, queue=queue, lane="default", now=1_000.0, verifier=PUBLIC)
        self.letters.archive.put([made])
        return made[0].id

    def replay(self, state: str) -> str:
        replays = self.letters.replays
        made = replays.plan(actor="me", filter=Filter(task="no.such"), reason="why").id
        if state != "planned":
            replays.start(made, actor="me")
        if state == "paused":
            replays.pause(made, actor="me")
        return made


@pytest.fixture
def scene(app: Flask, tmp_path: Path) -> Iterator[Scene]:
    # As in environment `local`; requests that operators sign have tests of their own.
    app.extensions["sealwax"].settings.reveal.mode = "console"
    made = Scene(app, tmp_path)
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


def _path(path: str) -> Callable[[Scene], str]:
    return lambda _: path


def _of_worker(prefix: str, verb: str) -> Callable[[Scene], str]:
    return lambda scene: f"{prefix}/workers/{scene.worker()}/{verb}"


def fleet(prefix: str) -> list[Change]:
    return [
        *(
            Change(_path(f"{prefix}/{what}/{name}/{verb}"), f"{what[:-1]}.{verb}")
            for what, name in (("lanes", "default"), ("tasks", "webhooks.relay"))
            for verb in ("pause", "resume")
        ),
        *(
            Change(_of_worker(prefix, verb), f"worker.{verb}")
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
            lambda scene: f"{prefix}/letters/{scene.letter()}/reveal", "reveal.ask",
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
    Change(
        lambda _: "/v1/ops/strays/discard", "discard.start",
        lambda s: {"ids": [s.stray()], "mode": "start"},
    ),
]  # fmt: skip
CONSOLE = [
    *fleet("/console"),
    Change(lambda _: "/console/replays/new", "replay.plan", lambda s: {"letter": s.letter()}),
    Change(
        lambda _: "/console/replays/new", "discard.plan",
        lambda s: {"letter": s.letter(), "verb": "discard"},
    ),
    Change(
        lambda _: "/console/replays/new", "discard.plan",
        lambda s: {"letter": s.stray(), "verb": "discard"},
    ),
]  # fmt: skip


def endpoints(app: Flask, prefix: str) -> set[str]:
    return {
        rule.endpoint
        for rule in app.url_map.iter_rules()
        if rule.rule.startswith(prefix)
        and (rule.methods or set()) & {"POST", "PUT", "PATCH", "DELETE"}
    }


def reached(app: Flask, scene: Scene, changes: list[Change]) -> set[str]:
    adapter = app.url_map.bind("localhost")
    return {adapter.match(change.path(scene), method="POST")[0] for change in changes}


def test_no_way_to_change_something_is_left_out(app: Flask, scene: Scene) -> None:
    known = reached(app, scene, API) | reached(app, scene, CONSOLE) | set(NO_CHANGE)
    known |= set(SESSIONS)
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


def test_who_signs_in_and_out_is_on_record(app: Flask, scene: Scene) -> None:
    client = app.test_client()
    before = len(scene.sessions())
    assert sign_in(client, scene.token("ops:read")).status_code == 303
    csrf = csrf_of(client.get("/console/replays/").text)
    assert client.post("/console/sign-out", data={"csrf": csrf}).status_code == 303
    found = scene.sessions()
    found = found[: len(found) - before]
    assert [verb for verb, _ in reversed(found)] == list(SESSIONS.values())
    assert len({actor for _, actor in found}) == 1
    assert found[0][1].startswith("token:")


def test_nobody_is_signed_in_whose_line_cannot_be_written(
    app: Flask, scene: Scene, monkeypatch
) -> None:
    client, token = app.test_client(), scene.token("ops:read")

    def refuse(**_: object) -> None:
        raise AuditUnreachable

    monkeypatch.setattr(scene.letters.audit, "record", refuse)
    assert sign_in(client, token).status_code == 503
    assert client.get("/console/replays/").status_code == 303


def test_a_flood_of_wrong_tokens_leaves_one_line_now_and_a_count_later(
    app: Flask, scene: Scene, monkeypatch
) -> None:
    waiting: list[Callable[[], None]] = []
    counted = RefusedSignIns(scene.letters.audit, later=lambda _, call: waiting.append(call))
    monkeypatch.setitem(app.extensions, "sealwax", replace(scene.parts, refused=counted))
    client = app.test_client()
    before = len(scene.sessions())
    for _ in range(20):
        assert sign_in(client, "wrong").status_code == 401
    assert len(scene.sessions()) == before + 1
    (over,) = waiting
    over()
    found = scene.letters.audit.page(limit=2)[0]
    assert [(line.verb, line.count) for line in found] == [
        ("console.sign-in-refused", 19), ("console.sign-in-refused", 1),
    ]  # fmt: skip
    over()  # a minute without refusals leaves none
    assert len(scene.sessions()) == before + 2


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
    "strays discard": (
        lambda s: [s.stray(), "--why", "why", "--yes"], "discard.start", "ops:write",
    ),
    "letters reveal": (
        lambda s: [s.letter(), "--why", "why", "--yes"], "reveal.ask", "ops:reveal",
    ),
}  # fmt: skip

#: Commands that go past the API, with AWS permissions of their own, and the line left.
OWN: dict[str, tuple[Callable[[Scene], list[str]], str]] = {
    "jobs verify": (lambda _: ["--repair"], "job.repair"),
    "jobs erase": (lambda s: ["--job", s.job(), "--why", "why", "--yes"], "job.erase"),
    "keys rotate": (lambda _: ["--role", "worker"], "key.rotate"),
    "keys rotate-hmac": (lambda _: ["--after", "0"], "key.rotate-hmac"),
    "keys retire": (lambda s: [s.old_key(), "--yes"], "key.retire"),
    "keys init": (lambda s: s.forget_keys(), "key.init"),
    "operators add": (lambda s: ["ada", "--key", s.own_file()], "operator.add"),
    "operators remove": (lambda s: [s.operator(), "--yes"], "operator.remove"),
    "tokens issue": (lambda _: ["--tenant", "acme"], "token.issue"),
    "tokens revoke": (lambda s: [s.token_id()], "token.revoke"),
}

#: Commands that change nothing of an environment's, or are a role's or a producer's own.
LOOKING = {
    *("list", "show", "body", "download", "export", "groups", "check", "health", "audit verify"),
    "operators public",
    *("api", "worker", "steward", "submit"),
    # A developer's own machine, with an emulator beside it.
    *("dev", "local-aws", "local-init", "new", "sandbox"),
}


def commands_of(group: click.Group, before: str = "") -> set[str]:
    context, found = click.Context(group), set[str]()
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            found |= commands_of(command, f"{name} ")
        elif not {name, f"{before}{name}"} & LOOKING:
            found.add(f"{before}{name}")
    return found


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
    assert commands_of(cli) == {*COMMANDS, *OWN}


@pytest.mark.parametrize("command", sorted(OWN))
def test_by_a_command_of_its_own(scene: Scene, monkeypatch, command: str) -> None:
    arguments, verb = OWN[command]
    given = [*command.split(), *arguments(scene)]
    env = {"SEALWAX_ENVIRONMENT": scene.parts.settings.environment}
    before = scene.lines()

    # Without its line, nothing is done.
    def refuse(*_: object, **__: object) -> None:
        raise AuditUnreachable

    with monkeypatch.context() as patch:
        patch.setattr(Audit, "record", refuse)
        state = scene.kept()
        assert CliRunner().invoke(cli, given, env=env).exit_code != 0
        assert scene.kept() == state
    assert scene.lines() == before
    done = CliRunner().invoke(cli, given, env=env)
    # Jobs of other tests may stand still: `verify` says so by its exit code.
    assert done.exit_code == 0 or command == "jobs verify", done.output
    found, _, actor = scene.lines()[0]
    assert found == verb
    assert actor.startswith("cli:")


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_by_command_line(scene: Scene, url: str, monkeypatch, command: str) -> None:
    arguments, verb, scope = COMMANDS[command]
    # Nobody opens letters here; asking is what counts.
    monkeypatch.setattr("sealwax.cli.revealing.WAIT", 0)
    given = [*command.split(), *arguments(scene)]

    def run(*scopes: str):
        env = {
            "SEALWAX_API_URL": url,
            "SEALWAX_TOKEN": scene.token(*scopes),
            "SEALWAX_REVEAL__MODE": "console",
        }
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
