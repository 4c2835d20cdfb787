"""Whoever takes over the API reads nothing that was sealed before.

The attacker holds what the API holds: its key document, its secrets, and its
role's rights, exactly as `ecs/api.yaml` grants them. It has the messages of jobs
that were sealed before, too, as somebody who listened at the queue would. The
stack, its worker and its steward are real; what IAM would refuse is refused.
"""

from __future__ import annotations

import json
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests
from botocore.exceptions import ClientError
from support.enforcer import Enforcer
from support.revealing import request
from support.stack import LiveStack
from support.templates import Stack, listed
from support.waiting import wait_for

from sealwax.aws.clients import Aws
from sealwax.aws.dynamodb import plain, typed
from sealwax.deadletters.reveal_request import new_fields
from sealwax.envelope import (
    Context,
    EnvelopeError,
    Expected,
    open_envelope,
    peek,
    sign_statement,
)
from sealwax.keys.keyring import Keyring
from sealwax.keys.operator import OperatorKey
from sealwax.secrets.factory import make_source
from sealwax.settings import Settings

PAGE = Path(__file__).parents[2] / "docs" / "threat-model.md"

#: Jobs that were sealed before, by what became of them.
ROUTES = ("done", "dead", "hangs", "waits", "big")

_ENVELOPE = re.compile(r"swx1\.[A-Za-z0-9_.-]+")


def canary(route: str) -> str:
    return f"canary-{route}-5f1c"


class Intruder:
    """The API's clients, keys and rights, and all that was ever answered to it."""

    def __init__(self, settings: Settings, keyring: Keyring) -> None:
        self.settings = settings
        self.keyring = keyring
        self.enforcer = Enforcer(settings)
        self.enforcer.role = "api"
        self.heard: list[str] = []
        # By boto3 alone, whose hooks hear each answer.
        aws = Aws(settings.aws.model_copy(update={"direct": False}))
        self.dynamodb, self.sqs, self.s3 = (
            self._client(aws, service) for service in ("dynamodb", "sqs", "s3")
        )

    def _client(self, aws: Aws, service: str) -> Any:
        client = aws.client(service)
        client.meta.events.register("provide-client-params", self._checked)
        client.meta.events.register("after-call", self._noted)
        return client

    def _checked(self, params: dict[str, Any], model: Any, **_: Any) -> None:
        self.enforcer._check(model.service_model.service_name, model.name, params)

    def _noted(self, parsed: dict[str, Any], **_: Any) -> None:
        self.heard.append(repr(parsed))

    def table(self, name: str) -> str:
        return self.settings.table_name(name)  # type: ignore[arg-type]  # one of the tables

    def put(self, table: str, **values: Any) -> None:
        self.dynamodb.put_item(TableName=self.table(table), Item=typed(values))

    def rows(self, table: str, key: str, value: str) -> list[dict[str, Any]]:
        answer = self.dynamodb.query(
            TableName=self.table(table),
            KeyConditionExpression="#key = :key",
            ExpressionAttributeNames={"#key": key},
            ExpressionAttributeValues=typed({":key": value}),
        )
        return [plain(item) for item in answer["Items"]]

    def mark_dead(self, job: str) -> None:
        """Make the ledger say that a job is dead: the API may write its entries."""
        self.dynamodb.update_item(
            TableName=self.table("jobs"),
            Key={"id": {"S": job}},
            UpdateExpression="SET #state = :dead",
            ExpressionAttributeNames={"#state": "state"},
            ExpressionAttributeValues=typed({":dead": "dead"}),
        )

    def ask(self, letter: str, **row: Any) -> str:
        """Ask a worker to reveal a letter, with a row of any content."""
        made = str(row.pop("id", secrets.token_hex(16)))
        values = {
            "kind": "reveal", "id": made, "letter": letter, "state": "asked", "taken": 0.0,
            "queue": self.settings.queue_name("default"), "actor": "token:0a1b2c3d",
            "expires": int(time.time() + 600),
        }  # fmt: skip
        self.put("control", **values | row)
        return made

    def answer(self, made: str) -> dict[str, Any]:
        """Return a request's row once a worker has answered it."""

        def found() -> dict[str, Any] | None:
            key = {"kind": {"S": "reveal"}, "id": {"S": made}}
            item = plain(self.dynamodb.get_item(TableName=self.table("control"), Key=key)["Item"])
            return item if item["state"] in ("done", "failed") else None

        return wait_for(found, seconds=60, what=f"an answer to {made}")

    def reads(self) -> str:
        """Return all that it has heard, and all that its key opens of it."""
        text = "\n".join(self.heard)
        opened = [self._open(envelope) for envelope in set(_ENVELOPE.findall(text))]
        return text + "\n".join(opened)

    def _open(self, envelope: str) -> str:
        """Return what an envelope holds, whatever it is bound to."""
        try:
            context = peek(envelope).context
            expect = Expected(
                purpose=context.purpose, task=context.task, job=context.job, tenant=None
            )
            opened = open_envelope(envelope, keyring=_Careless(self.keyring), expect=expect, now=0)
        except EnvelopeError:
            return ""
        return repr(opened.plaintext)


class _Careless:
    """Opens with the API's keys what anybody signed, for any use."""

    def __init__(self, keyring: Keyring) -> None:
        self.verifier = keyring.verifier
        self.private = keyring.private

    def check_trust(self, signer_id: str, context: Context) -> None:
        return


class Scene:
    """The stack, what was sealed in it before, an operator, and the intruder."""

    def __init__(self, stack: LiveStack, folder: Path) -> None:
        self.stack = stack
        self.folder = folder
        self.jobs: dict[str, str] = {}
        self.messages: dict[str, str] = {}

    def seal_some(self) -> None:
        """Submit jobs, and record their messages before any worker has them."""
        for route in ROUTES:
            body = {"secret": canary(route)} | ({"x": "x" * 300_000} if route == "big" else {})
            self.jobs[route] = self.stack.relay(route, body)
        names = {job: route for route, job in self.jobs.items()}
        sqs, url = self.stack.client("sqs"), self.stack.queue_url()

        def all_recorded() -> bool:
            answer = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=0)
            for message in answer.get("Messages", []):
                job = json.loads(message["Body"])["headers"]["id"]
                self.messages[names[job]] = message["Body"]
            return len(self.messages) == len(ROUTES)

        wait_for(all_recorded, seconds=30, what="all messages are recorded")
        controls = {
            "dead": {"fail": {"status": 400}},
            "hangs": {"hang": 600},
            "waits": {"fail": {"status": 503}},
            "big": {"fail": {"status": 503}},
        }
        for route, control in controls.items():
            url = f"{self.stack.sandbox_url}/control/{route}"
            assert requests.put(url, json=control, timeout=10).ok

    def settle(self) -> None:
        self.stack.start_worker()
        for route, state in (
            ("done", "succeeded"), ("dead", "dead"), ("hangs", "running"), ("waits", "retrying"),
            ("big", "retrying"),
        ):  # fmt: skip
            self.stack.wait(self.jobs[route], state)

    def letter(self, route: str) -> str:
        """Return the letter of a job, once the steward has archived it."""
        job = self.jobs[route]

        def archived() -> bool:
            return any(
                (item["id"]["S"], item["sort"]["S"]) == (job, "letter.0")
                for item in self.stack.items("letters")
            )

        wait_for(archived, seconds=60, what=f"the letter of {route} is archived")
        return f"{job}.0"

    def command(self, token: str, *arguments: str) -> str:
        variables = self.stack.variables | {"SEALWAX_TOKEN": token}
        done = subprocess.run(
            [sys.executable, "-m", "sealwax", *arguments],
            env=variables, cwd=self.stack.state, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def scene(make_stack: Callable[..., LiveStack], tmp_path_factory: pytest.TempPathFactory) -> Scene:
    stack = make_stack(
        routes={route: {} for route in ROUTES}, steward=True, worker=False, lane="lease = 3"
    )
    made = Scene(stack, tmp_path_factory.mktemp("operator"))
    made.seal_some()
    made.settle()
    return made


@pytest.fixture(scope="module")
def operator(scene: Scene) -> OperatorKey:
    """Somebody who was enrolled, by who may, before the API was taken over."""
    path = scene.folder / "ada.json"
    scene.command(scene.stack.token, "operators", "add", "ada", "--key", str(path))
    return OperatorKey.read(path)


@pytest.fixture
def intruder(scene: Scene) -> Intruder:
    with scene.stack.in_process() as settings:
        source = make_source(settings, Aws(settings.aws))
        return Intruder(settings, Keyring.read("api", source.get))


def refused(call: Callable[[], object]) -> bool:
    """Whether IAM refuses a call."""
    try:
        call()
    except ClientError as error:
        return error.response["Error"]["Code"] in ("AccessDenied", "AccessDeniedException")
    return False


def call_dead(scene: Scene, intruder: Intruder, route: str) -> str:
    """Have a job that had succeeded die; return its letter, signed by its worker.

    The ledger is the API's to write, and it may send what it has recorded.
    """
    intruder.mark_dead(scene.jobs[route])
    intruder.sqs.send_message(QueueUrl=scene.stack.queue_url(), MessageBody=scene.messages[route])
    return scene.letter(route)


@pytest.mark.long
def test_it_reads_nothing_that_was_sealed_before(
    scene: Scene, operator: OperatorKey, intruder: Intruder
) -> None:
    letter, now = scene.letter("dead"), int(time.time())

    # What lies there: entries, letters with their bodies, past answers, recorded messages.
    intruder.heard += scene.messages.values()
    for job in scene.jobs.values():
        key = {"id": {"S": job}}
        intruder.dynamodb.get_item(TableName=intruder.table("jobs"), Key=key)
        intruder.rows("letters", "id", job)
    assert refused(lambda: intruder.sqs.receive_message(QueueUrl=scene.stack.queue_url()))
    keys = [
        item["Key"]
        for item in scene.stack.client("s3").list_objects_v2(Bucket=intruder.settings.bucket_name)
        .get("Contents", [])
    ]  # fmt: skip
    assert keys
    for each in keys:
        place = {"Bucket": intruder.settings.bucket_name, "Key": each}
        assert refused(partial(intruder.s3.get_object, **place))

    # What else it might write, it may not.
    raised = call_dead(scene, intruder, "done")
    job = scene.jobs["hangs"]
    for table, values in (
        ("letters", {"id": job, "sort": "letter.0", "state": "open"}),
        ("letters", {"id": job, "sort": "body.0", "body": b"x"}),
        ("control", {"kind": "revealed", "id": "opened", "times": [], "turn": 1}),
        ("control", {"kind": "leader", "id": "collect"}),
        ("secrets", {"name": "shared/keyring", "version": "9" * 19, "contents": "x"}),
        ("audit", {"day": "head", "id": "head", "count": 0}),
        ("tokens", {"digest": "x"}),
    ):
        assert refused(partial(intruder.put, table, **values)), table

    # Requests of every kind, all at once: a worker answers each.
    eve, genuine = OperatorKey.create("eve", "x25519", now), request(operator, letter, now=now)
    signer = intruder.keyring.signer
    as_api = new_fields(letter, "why", operator=signer.id, now=now)
    in_another_s_name = new_fields(letter, "why", operator=operator.id, now=now)
    forged = [
        ("unknown-signer", request(eve, letter, now=now)),
        ("unknown-signer", sign_statement("reveal", as_api, signer)),
        ("unknown-signer", sign_statement("reveal", in_another_s_name, signer)),
        ("signature-invalid", genuine | {"letter": raised, "nonce": "1" * 32}),
        ("request-too-old", request(operator, letter, now=now, at=now - 700)),
        ("no-such-letter", request(operator, f"{scene.jobs['hangs']}.0", now=now)),
    ]
    asked = [
        (intruder.ask(each, reason="because"), "request-unsigned") for each in (letter, raised)
    ]
    asked.append((intruder.ask(letter, statement=json.dumps(genuine)), "request-mismatch"))
    for cause, said in forged:
        made = intruder.ask(letter, id=said["nonce"], statement=json.dumps(said))
        asked.append((made, cause))
    stolen = intruder.ask(raised, id=genuine["nonce"], statement=json.dumps(genuine))
    for made, cause in asked:
        found = intruder.answer(made)
        assert (found["state"], found["cause"]) == ("failed", cause)

    # An operator's own request on its way: answered once, to its operator alone.
    sealed = intruder.answer(stolen)
    assert (sealed["state"], peek(sealed["sealed"]).recipient) == ("done", operator.private.id)
    intruder.ask(letter, id=genuine["nonce"], statement=json.dumps(genuine))
    again = intruder.answer(genuine["nonce"])
    assert (again["state"], again["cause"]) == ("failed", "request-replayed")

    # Its operator reads it, by a command that goes through the API.
    token = scene.stack.token_for("operations", "ops:reveal")
    why = ("--why", "ticket 71", "--key", str(scene.folder / "ada.json"), "--yes")
    assert canary("dead") in scene.command(token, "letters", "reveal", letter, *why)

    read = intruder.reads()
    assert [route for route in ROUTES if canary(route) in read] == []
    assert canary("dead") not in scene.stack.log("api")
    # It does open what is sealed to it: results.
    assert "'status'" in read or '"status"' in read
    assert intruder.enforcer.refused


@pytest.mark.long
def test_in_mode_console_it_reads_so_much_and_on_record(scene: Scene, intruder: Intruder) -> None:
    """What that mode costs, as the threat model says: so many an hour, each with a line."""
    raised = call_dead(scene, intruder, "done")
    # The test before has used some of this hour.
    scene.stack.client("dynamodb").delete_item(
        TableName=intruder.table("control"), Key=typed({"kind": "revealed", "id": "opened"})
    )
    settings = {"SEALWAX_REVEAL__MODE": "console", "SEALWAX_REVEAL__PER_HOUR": "2"}
    scene.stack.restart("worker", **settings)
    try:
        asked = [intruder.ask(raised, reason="because") for _ in range(4)]
        found = sorted(intruder.answer(made).get("cause", "done") for made in asked)
        lost = intruder.ask(f"{scene.jobs['hangs']}.0", reason="because")
        assert intruder.answer(lost)["cause"] == "no-such-letter"
    finally:
        scene.stack.restart("worker")
    assert found == ["done", "done", "too-many-an-hour", "too-many-an-hour"]
    read = intruder.reads()
    assert [route for route in ROUTES if canary(route) in read] == ["done"]
    lines = [plain(item) for item in scene.stack.items("audit") if item["id"] != {"S": "head"}]
    assert [line["target"] for line in lines if line["verb"] == "letter.reveal"].count(raised) == 2


def rights_of_the_page() -> dict[str, set[str]]:
    """Return what the threat model says that the API's role may do."""
    section = PAGE.read_text(encoding="utf-8").partition("## A taken-over API")[2]
    rows = re.findall(r"^\| `(\w+)` \| (`[^|]+) \| [^|]+ \|$", section, re.MULTILINE)
    return {name: set(re.findall(r"`([^`]+)`", actions)) for name, actions in rows}


def test_what_it_can_do_is_what_the_threat_model_says() -> None:
    role = Stack("api", {}).resources["TaskRole"]["Properties"]
    (policy,) = role["Policies"]
    granted = {
        statement["Sid"]: set(listed(statement["Action"]))
        for statement in policy["PolicyDocument"]["Statement"]
    }
    assert rights_of_the_page() == granted
    assert "ManagedPolicyArns" not in role
