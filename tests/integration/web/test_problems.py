"""Problem documents of errors that no view answers itself."""

from __future__ import annotations

from support.problems import CANARY, problem

GOOD = {"task": "webhooks.relay", "payload": {"event": "ping", "body": {"a": 1}}}


def test_a_wrong_method_is_405_and_names_the_right_ones(client, auth) -> None:
    answer = client.delete("/v1/jobs", headers=auth)
    problem(answer, 405, "method-not-allowed")
    assert "POST" in answer.headers["Allow"]


def test_an_unexpected_error_tells_nothing(client, app, auth, monkeypatch, capsys) -> None:
    services = app.extensions["sealwax"]

    def boom(*_: object, **__: object) -> None:
        raise RuntimeError(CANARY)

    monkeypatch.setattr(services.submitter, "submit", boom)
    problem(client.post("/v1/jobs", json=GOOD, headers=auth), 500, "internal-error")
