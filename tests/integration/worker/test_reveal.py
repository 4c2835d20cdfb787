"""A worker decides alone what it reveals: by its mode, the operator's signature and its limits."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from support.job_bench import Bench
from support.revealing import archive, enrolled, message_body, request, said_of

from sealwax.control.audit_log import Audit, AuditDenied, AuditRecord, AuditUnreachable
from sealwax.deadletters.reveal import Reveals
from sealwax.deadletters.reveal_request import AGE_MAX
from sealwax.envelope import EnvelopeError, Expected, Purpose, open_envelope
from sealwax.keys.enrolment import remove_operator
from sealwax.keys.operator import OperatorKey
from sealwax.outcomes import DeadLetter, Rejected
from sealwax.settings import RevealSettings
from sealwax.worker import reveal
from sealwax.worker.reveal import RevealResponder

ACTOR = "token:0a1b2c3d"


@dataclass
class Scene:
    """A dead job's letter, an enrolled operator, and a worker."""

    bench: Bench
    letter: str
    key: OperatorKey
    worker: RevealResponder
    reveals: Reveals
    #: How many lines the audit log had before.
    before: int

    @property
    def now(self) -> int:
        return int(self.bench.clock())

    def sign(self, letter: str | None = None, **changes: Any) -> dict[str, Any]:
        changes.setdefault("at", self.now)
        key = changes.pop("key", self.key)
        return request(key, letter or self.letter, now=self.now, **changes)

    def put(self, request_id: str, **values: Any) -> str:
        """Write a row as whoever holds the API's role can, whatever it says."""
        row = {
            "letter": self.letter, "queue": self.bench.settings.queue_name("default"),
            "actor": ACTOR, "state": "asked", "taken": 0.0, "expires": self.now + 600,
        } | values  # fmt: skip
        self.bench.api.control.put("reveal", request_id, row)
        return request_id

    def ask(self, said: dict[str, Any], request_id: str | None = None) -> tuple[str, str | None]:
        """Have a request answered; return its state and its cause or sealed text."""
        made = self.put(request_id or said["nonce"], statement=json.dumps(said))
        return self.answered(made)

    def answered(self, request_id: str) -> tuple[str, str | None]:
        assert self.worker.once()
        found = self.reveals.show(request_id, actor=ACTOR)
        return found.state, found.sealed or found.cause

    def read(self, sealed: str, nonce: str, key: OperatorKey | None = None) -> Any:
        expect = Expected(purpose=Purpose.REVEAL, task="test.number", job=nonce, tenant=None)
        opener = (key or self.key).opener(self.bench.api.public_keyring)
        return json.loads(
            open_envelope(sealed, keyring=opener, expect=expect, now=self.now).plaintext
        )

    def lines(self) -> list[tuple[str, str, str | None]]:
        """Return verb, actor and reason, the oldest first."""
        return [(line.verb, line.actor, line.reason) for line in self.records()]

    def records(self) -> list[AuditRecord]:
        found = self.bench.api.letters.audit.page(limit=500)[0]
        return [line for line in reversed(found) if (line.number or 0) > self.before]


def archived(bench: Bench, job: str) -> str:
    """Archive a dead job's message as its worker signs it; return the letter's id."""
    body = message_body(job, bench.deliver(job).envelope, task="test.number")
    queue = bench.settings.queue_name("default")
    said = said_of(body, job, queue=queue, signer=bench.worker.keyring.signer)
    return archive(bench.worker.letters, job, body, said, queue=queue)


@pytest.fixture
def scene(shared_bench: Bench) -> Scene:
    bench = shared_bench
    bench.clock.now = time.time()
    bench.settings.reveal = RevealSettings.model_validate({})
    for kind in ("reveal", "revealed"):
        for item in list(bench.api.control.all(kind)):
            bench.api.control.delete(kind, item["id"])

    def reject(*_: Any) -> None:
        raise Rejected("http-400")

    bench.does[0] = reject
    job = bench.submit(41)
    assert isinstance(bench.run(job), DeadLetter)
    letter = archived(bench, job)
    reveals = Reveals(bench.api.control, clock=bench.clock)
    return Scene(
        bench=bench,
        letter=letter,
        key=enrolled(bench.api.stores.source, secrets.token_hex(4)),
        worker=RevealResponder(bench.worker, bench.worker.letters, reveals),
        reveals=reveals,
        before=bench.api.letters.audit.head().count,
    )


# -- mode operator-key ------------------------------------------------------------------


def test_an_operator_gets_the_payload_and_nobody_else_can_open_it(scene: Scene) -> None:
    said = scene.sign()
    state, sealed = scene.ask(said)
    assert (state, sealed is not None) == ("done", True)
    assert scene.read(sealed or "", said["nonce"]) == {"n": 41}
    # Not the API's key, not another operator's, not as the answer to another request.
    expect = Expected(purpose=Purpose.REVEAL, task="test.number", job=said["nonce"], tenant=None)
    with pytest.raises(EnvelopeError):
        open_envelope(sealed or "", keyring=scene.bench.api.keyring, expect=expect, now=0)
    with pytest.raises(EnvelopeError):
        scene.read(sealed or "", said["nonce"], OperatorKey.create("eve", "x25519", 1))
    with pytest.raises(EnvelopeError):
        scene.read(sealed or "", "0" * 32)
    assert scene.lines() == [("letter.reveal", f"operator:{scene.key.id}", "ticket 71")]
    (line,) = scene.records()
    assert line.target == scene.letter
    assert scene.bench.api.letters.audit.verify().bad is None


def test_the_mode_is_the_workers_own_and_no_row_changes_it(scene: Scene) -> None:
    """What the console asks for, a taken-over API asks for, too."""
    unsigned = scene.put("1" * 32, reason="because I say so")
    assert scene.answered(unsigned) == ("failed", "request-unsigned")
    assert scene.lines() == [("reveal.refuse", "unverified", None)]


def test_a_request_counts_once_however_often_it_is_put_back(scene: Scene) -> None:
    said = scene.sign()
    assert scene.ask(said)[0] == "done"
    # The row is the API's to write: again as it was, and under another name.
    assert scene.ask(said) == ("failed", "request-replayed")
    assert scene.ask(said, "f" * 32) == ("failed", "request-mismatch")
    assert [verb for verb, _, _ in scene.lines()] == [
        "letter.reveal", "reveal.refuse", "reveal.refuse",
    ]  # fmt: skip


def test_a_request_that_failed_is_used_up_too(scene: Scene) -> None:
    said = scene.sign(letter=f"{'0' * 32}.0")
    assert scene.ask(said) == ("failed", "no-such-letter")
    assert scene.ask(said) == ("failed", "request-replayed")


def test_an_old_request_is_refused(scene: Scene) -> None:
    said = scene.sign()
    scene.bench.clock.now += AGE_MAX + 2
    assert scene.ask(said) == ("failed", "request-too-old")


def test_whoever_is_not_enrolled_now_is_refused(scene: Scene) -> None:
    """The keyring is read for each request: the worker's own copy is minutes old."""
    own = OperatorKey.create("eve", "x25519", 1)
    assert scene.ask(scene.sign(key=own)) == ("failed", "unknown-signer")
    later = enrolled(scene.bench.api.stores.source, secrets.token_hex(4))
    assert scene.ask(scene.sign(key=later))[0] == "done"
    remove_operator(scene.bench.api.stores.source, later.id)
    assert scene.ask(scene.sign(key=later)) == ("failed", "key-retired")


def test_the_letter_is_the_one_that_was_signed_whatever_the_row_says(scene: Scene) -> None:
    said = scene.sign(letter=f"{'0' * 32}.0")
    made = scene.put(said["nonce"], statement=json.dumps(said), letter=scene.letter)
    assert scene.answered(made) == ("failed", "no-such-letter")


# -- the payload ---------------------------------------------------------------------------


def test_a_payload_in_the_bucket_is_revealed_and_a_lost_one_is_named(scene: Scene) -> None:
    bench = scene.bench
    job = bench.submit(42, large=True)
    assert isinstance(bench.run(job), DeadLetter)
    letter = archived(bench, job)
    said = scene.sign(letter)
    state, sealed = scene.ask(said)
    assert (state, scene.read(sealed or "", said["nonce"])) == ("done", {"n": 42})
    bench.worker.payloads.erase(job)
    assert scene.ask(scene.sign(letter)) == ("failed", "claim-missing")
    assert [verb for verb, _, _ in scene.lines()] == [
        "letter.reveal", "letter.reveal", "reveal.refuse",
    ]  # fmt: skip


def test_an_answer_that_no_item_holds_is_refused(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = scene.sign()
    sealed = scene.ask(said)[1] or ""
    monkeypatch.setattr(reveal, "REVEAL_MAX", len(sealed))
    assert scene.ask(scene.sign())[0] == "done"
    monkeypatch.setattr(reveal, "REVEAL_MAX", len(sealed) - 1)
    assert scene.ask(scene.sign()) == ("failed", "too-large")


# -- the audit log ------------------------------------------------------------------------


@pytest.mark.parametrize("error", [AuditUnreachable, AuditDenied])
def test_nothing_is_opened_whose_line_cannot_be_written(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    opened: list[str] = []

    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(Audit, "record", refuse)
    monkeypatch.setattr(reveal, "open_envelope", lambda text, **_: opened.append(text))
    assert scene.ask(scene.sign()) == ("failed", "audit-unavailable")
    assert opened == []


def test_the_line_is_there_before_the_envelope_is_opened(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    before: list[int] = []
    original = reveal.open_envelope

    def noted(text: str, **more: Any) -> Any:
        before.append(len(scene.lines()))
        return original(text, **more)

    monkeypatch.setattr(reveal, "open_envelope", noted)
    assert scene.ask(scene.sign())[0] == "done"
    assert before == [1]


def test_a_flood_of_refused_requests_leaves_so_many_lines_and_an_answer_each(
    scene: Scene,
) -> None:
    scene.bench.settings.reveal.per_hour = 3
    for number in range(6):
        assert scene.answered(scene.put(f"{number:032x}")) == ("failed", "request-unsigned")
    assert [verb for verb, _, _ in scene.lines()] == ["reveal.refuse"] * 3
    # They use up none of what operators may see.
    assert scene.ask(scene.sign())[0] == "done"


def test_so_many_payloads_an_hour_are_revealed_and_not_one_more(scene: Scene) -> None:
    scene.bench.settings.reveal.per_hour = 2
    assert [scene.ask(scene.sign())[0] for _ in range(2)] == ["done", "done"]
    assert scene.ask(scene.sign()) == ("failed", "too-many-an-hour")
    scene.bench.clock.now += 3_601
    assert scene.ask(scene.sign())[0] == "done"


# -- modes console and off ----------------------------------------------------------------


def test_in_mode_console_the_answer_is_sealed_to_the_apis_key(scene: Scene) -> None:
    scene.bench.settings.reveal.mode = "console"
    made = scene.put("1" * 32, reason="ticket 72")
    state, sealed = scene.answered(made)
    assert state == "done"
    expect = Expected(purpose=Purpose.REVEAL, task="test.number", job=made, tenant=None)
    opened = open_envelope(sealed or "", keyring=scene.bench.api.keyring, expect=expect, now=0)
    assert json.loads(opened.plaintext) == {"n": 41}
    assert scene.lines() == [("letter.reveal", ACTOR, "ticket 72")]


@pytest.mark.parametrize(
    "row", [{"reason": ""}, {}, {"reason": "x", "actor": "root"}, {"reason": "x", "letter": "y"}]
)
def test_in_mode_console_a_row_must_say_who_asks_for_what_and_why(
    scene: Scene, row: dict[str, Any]
) -> None:
    scene.bench.settings.reveal.mode = "console"
    made = scene.put("1" * 32, **row)
    assert scene.worker.once()
    found = scene.bench.api.control.get("reveal", made) or {}
    assert (found["state"], found["cause"]) == ("failed", "request-malformed")
    assert [verb for verb, _, _ in scene.lines()] == ["reveal.refuse"]


def test_in_mode_console_a_signed_request_is_refused(scene: Scene) -> None:
    """Its operator meant that the API should not see the answer."""
    scene.bench.settings.reveal.mode = "console"
    assert scene.ask(scene.sign()) == ("failed", "reveal-mode")


def test_in_mode_off_nothing_is_revealed(scene: Scene) -> None:
    scene.bench.settings.reveal.mode = "off"
    assert scene.ask(scene.sign()) == ("failed", "reveal-off")
    assert scene.answered(scene.put("1" * 32, reason="x")) == ("failed", "reveal-off")


def test_a_flood_of_requests_leaves_the_worker_time_for_its_work(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = iter([False, False, True])
    answered: list[None] = []
    monkeypatch.setattr(scene.worker, "_stop", SimpleNamespace(wait=lambda _: next(turns)))
    monkeypatch.setattr(scene.worker, "once", lambda: answered.append(None) or True)
    scene.worker._run()
    assert len(answered) == 2 * reveal.AT_ONCE


# -- the rows ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "row",
    [
        {"state": 7}, {"taken": "never"}, {"expires": "never"}, {"state": "taken", "taken": None},
        {"statement": ["x"]}, {"statement": "{"}, {"letter": {"a": 1}, "queue": 1},
    ],
)  # fmt: skip
def test_a_row_of_another_form_does_not_stop_the_others(
    scene: Scene, row: dict[str, Any], make_row: Callable[[dict[str, Any]], None]
) -> None:
    make_row(row)
    said = scene.sign()
    made = scene.put(said["nonce"], statement=json.dumps(said))
    while scene.worker.once():
        pass
    assert scene.reveals.show(made, actor=ACTOR).state == "done"


@pytest.fixture
def make_row(scene: Scene) -> Callable[[dict[str, Any]], None]:
    # First in the order of ids: it is met first.
    def made(row: dict[str, Any]) -> None:
        scene.put("0" * 32, **row)

    return made
