"""`sealwax letters reveal`: signed and opened on the operator's machine, past the API."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from flask import Flask
from support.revealing import archived, revealing
from werkzeug.serving import make_server

from sealwax.cli import cli
from sealwax.cli import revealing as command
from sealwax.client import ApiClient
from sealwax.keys.operator import OperatorKey
from sealwax.worker import reveal

PAYLOAD = {"secret": "canary-23"}

#: What stands between the API and the network: the answer's document, changed.
Change = Callable[[dict[str, Any]], dict[str, Any]]


class Scene:
    """An API whose answers a test may change, a worker, and an operator's machine."""

    def __init__(self, app: Flask, url: str, folder: Path) -> None:
        self.app, self.url, self.folder = app, url, folder
        self.services = app.extensions["sealwax"]
        self.key = folder / "operator.json"

    def run(
        self, *arguments: str, mode: str = "operator-key", api_mode: str | None = None
    ) -> Result:
        """Run `sealwax` with its own setting; the API's may be another."""
        self.services.settings.reveal.mode = api_mode or mode
        tokens = self.services.tokens
        env = {
            "SEALWAX_API_URL": self.url,
            "SEALWAX_TOKEN": tokens.issue(tenant="ops", scopes=("ops:reveal",)).token,
            "SEALWAX_ENVIRONMENT": self.services.settings.environment,
            "SEALWAX_REVEAL__MODE": mode,
        }
        return CliRunner().invoke(cli, arguments, env=env)

    def reveal(self, letter: str, *more: str, **modes: str) -> Result:
        given = ("letters", "reveal", letter, "--why", "ticket 71", "--key", str(self.key))
        return self.run(*given, *(more or ("--yes",)), **modes)

    def enrol(self) -> str:
        done = self.run("operators", "add", secrets.token_hex(4), "--key", str(self.key))
        assert done.exit_code == 0, done.output
        return OperatorKey.read(self.key).id

    def lines(self, count: int) -> list[tuple[str, str]]:
        found = self.services.letters.audit.page(limit=count)[0]
        return [(line.verb, line.actor.partition(":")[0]) for line in found]


@pytest.fixture
def scene(
    shared_app: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seen: list[bytes]
) -> Iterator[Scene]:
    monkeypatch.setattr(reveal, "EVERY", 0.05)
    monkeypatch.setattr(command, "_EVERY", 0.05)
    shared_app.after_request_funcs[None] = [lambda answer: _noted(answer, seen)]
    server = make_server("127.0.0.1", 0, shared_app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    with revealing(shared_app) as worker:
        worker.start()
        yield Scene(shared_app, f"http://127.0.0.1:{server.server_port}", tmp_path)
        worker.stop()
    server.shutdown()
    thread.join()
    server.server_close()
    del shared_app.after_request_funcs[None]


@pytest.fixture
def seen() -> list[bytes]:
    """What the API answered, byte for byte."""
    return []


def _noted(answer: Any, seen: list[bytes]) -> Any:
    seen.append(answer.get_data())
    return answer


def test_the_payload_is_opened_here_and_the_api_never_has_it(
    scene: Scene, seen: list[bytes]
) -> None:
    scene.enrol()
    letter = archived(scene.app, secrets.token_hex(16), PAYLOAD)
    done = scene.reveal(letter)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == PAYLOAD
    assert "asked" in done.stderr
    assert any(b'"sealed"' in body for body in seen)
    assert not any(b"canary-23" in body for body in seen)
    assert scene.lines(2) == [("letter.reveal", "operator"), ("reveal.ask", "token")]


def test_nothing_is_asked_without_yes(scene: Scene, seen: list[bytes]) -> None:
    done = scene.reveal(f"{'0' * 32}.0", "--key", str(scene.key))
    assert (done.exit_code, "add --yes" in done.output) == (0, True)
    assert seen == []


def test_whoever_is_not_enrolled_is_told_so_before_anything_is_asked(
    scene: Scene, seen: list[bytes]
) -> None:
    missing = scene.reveal(f"{'0' * 32}.0")
    assert "cannot be read" in missing.output
    OperatorKey.create("eve", "x25519", 1).write(scene.key)
    refused = scene.reveal(f"{'0' * 32}.0")
    assert refused.exit_code == 1
    assert "No worker believes the key" in refused.output
    assert seen == []


def test_an_answer_that_no_worker_sealed_for_this_request_is_not_shown(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The API may answer what it likes."""
    scene.enrol()
    first, second = (archived(scene.app, secrets.token_hex(16), {"n": n}) for n in (1, 2))
    answers: list[dict[str, Any]] = []
    original = command._answer

    def kept(*arguments: Any) -> dict[str, Any]:
        answers.append(original(*arguments))
        # The first one's answer, for all that is asked later.
        return answers[0]

    monkeypatch.setattr(command, "_answer", kept)
    assert json.loads(scene.reveal(first).stdout) == {"n": 1}
    swapped = scene.reveal(second)
    assert (swapped.exit_code, swapped.stdout) == (1, "")
    assert "context-mismatch" in swapped.output
    for made_up, cause in (
        ({"state": "done", "payload": {"forged": True}}, "no-answer"),
        ({"state": "done", "sealed": "swx1.a.b.c"}, "envelope-malformed"),
    ):
        monkeypatch.setattr(command, "_answer", lambda *_, said=made_up: said)
        forged = scene.reveal(second)
        assert (forged.exit_code, forged.stdout) == (1, "")
        assert cause in forged.output


def test_a_refusal_is_shown_with_its_cause(scene: Scene) -> None:
    scene.enrol()
    job = secrets.token_hex(16)
    letter = archived(scene.app, job, PAYLOAD)
    scene.services.runtime.ledger.replay(job, generation=0)
    done = scene.reveal(letter)
    assert (done.exit_code, done.stdout) == (1, "")
    assert "could not open it: job-not-dead" in done.output


def test_no_text_of_the_apis_writes_into_the_terminal(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.enrol()
    answers = iter([{"id": "\x1b[2J"}, {"state": "failed", "cause": "\x1b]0;owned\x07"}])
    monkeypatch.setattr(ApiClient, "call", lambda *_, **__: next(answers))
    done = scene.reveal(f"{'0' * 32}.0")
    assert done.exit_code == 1
    assert "unknown cause" in done.output
    assert "\x1b" not in done.output


def test_where_the_api_opens_it_no_key_is_needed(scene: Scene) -> None:
    letter = archived(scene.app, secrets.token_hex(16), PAYLOAD)
    done = scene.reveal(letter, mode="console")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == PAYLOAD


def test_what_the_api_does_not_allow_is_said(scene: Scene) -> None:
    letter = archived(scene.app, secrets.token_hex(16), PAYLOAD)
    done = scene.reveal(letter, mode="console", api_mode="operator-key")
    assert done.exit_code == 1
    assert "SEALWAX_ENVIRONMENT=" in done.output
    off = scene.reveal(letter, mode="off")
    assert "reveal.mode is off" in off.output
    scene.enrol()
    mixed = scene.reveal(letter, mode="operator-key", api_mode="off")
    assert "reveal.mode is off" in mixed.output
