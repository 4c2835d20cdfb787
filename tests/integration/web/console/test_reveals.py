"""Pages that show a payload once, cancel a job, and hand out the audit log."""

from __future__ import annotations

import csv
import io
import json
import secrets
import time

import pytest
from flask import Flask
from flask.testing import FlaskClient
from support.console import csrf_of, sign_in
from support.revealing import archived, enrolled, request, revealing

from sealwax.ledger import JobState, NewJob
from sealwax.settings import Settings
from sealwax.worker.reveal import RevealResponder


@pytest.fixture(autouse=True)
def settings(app: Flask) -> Settings:
    """The app's own settings; each test begins in mode `console`."""
    found: Settings = app.extensions["sealwax"].settings
    found.reveal.mode = "console"
    return found


@pytest.fixture
def worker(app: Flask):
    with revealing(app) as found:
        yield found


@pytest.fixture
def letter(app: Flask) -> str:
    return archived(app, secrets.token_hex(16), {"secret": "<b>canary-41</b>"})


def signed_in(app: Flask, *scopes: str) -> FlaskClient:
    client = app.test_client()
    sign_in(client, app.extensions["sealwax"].tokens.issue(tenant="ops", scopes=scopes).token)
    return client


def test_a_payload_is_shown_once_by_a_form_to_who_asked(
    app: Flask, operator: FlaskClient, letter: str, worker: RevealResponder
) -> None:
    revealer = signed_in(app, "ops:read", "ops:reveal")
    page, ask = f"/console/letters/{letter}", f"/console/letters/{letter}/reveal"
    assert ask not in operator.get(page).text
    assert operator.get(ask).status_code == 403
    assert ask in revealer.get(page).text
    csrf = csrf_of(revealer.get(ask).text)
    for reason in ("", "  ", "x" * 201):
        assert revealer.post(ask, data={"csrf": csrf, "reason": reason}).status_code == 400
    assert revealer.post(ask, data={"reason": "ticket 71"}).status_code == 403  # no CSRF value

    where = revealer.post(ask, data={"csrf": csrf, "reason": "ticket 71"}).headers["Location"]
    assert "A worker is asked" in revealer.get(where).text
    assert revealer.post(where, data={"csrf": csrf}).status_code == 303
    assert worker.once()
    # To look uses nothing up, however often.
    for _ in range(3):
        waiting = revealer.get(where).text
        assert "Show the payload, once" in waiting
        assert "canary" not in waiting
    other = signed_in(app, "ops:read", "ops:reveal")
    assert other.get(where).status_code == 404
    shown = revealer.post(where, data={"csrf": csrf})
    assert "&lt;b&gt;canary-41&lt;/b&gt;" in shown.text
    assert "<b>canary" not in shown.text
    assert shown.headers["Cache-Control"] == "no-store"
    again = revealer.post(where, data={"csrf": csrf}, follow_redirects=True)
    assert "shown already" in again.text
    assert "canary" not in again.text
    lines, _ = app.extensions["sealwax"].letters.audit.page(limit=20)
    # Beside the lines of signing in: asked by the API, opened by the worker.
    found = [(line.verb, line.reason) for line in lines if line.target == letter]
    assert found == [("letter.reveal", "ticket 71"), ("reveal.ask", "ticket 71")]


def test_what_cannot_be_opened_says_why(app: Flask, letter: str, worker: RevealResponder) -> None:
    revealer = signed_in(app, "ops:read", "ops:reveal")
    ask = f"/console/letters/{letter}/reveal"
    form = {"csrf": csrf_of(revealer.get(ask).text), "reason": "why"}
    where = revealer.post(ask, data=form).headers["Location"]
    app.extensions["sealwax"].letters.archive.erase_body(
        app.extensions["sealwax"].letters.archive.get(letter)
    )
    assert worker.once()
    assert "could not be opened" in revealer.get(where).text
    # The letter's own page still stands, without its body.
    assert "The body was deleted" in revealer.get(f"/console/letters/{letter}").text


def test_with_operators_keys_the_page_shows_the_command_and_no_button(
    app: Flask, letter: str, settings: Settings
) -> None:
    settings.reveal.mode = "operator-key"
    revealer = signed_in(app, "ops:read", "ops:reveal")
    ask = f"/console/letters/{letter}/reveal"
    assert ask in revealer.get(f"/console/letters/{letter}").text
    page = revealer.get(ask).text
    command = f"SEALWAX_ENVIRONMENT={settings.environment} sealwax letters reveal {letter} --why"
    assert command in page
    assert '<form method="post" class="stack">' not in page
    before = app.extensions["sealwax"].letters.audit.head()
    csrf = csrf_of(revealer.get("/console/replays/").text)
    refused = revealer.post(ask, data={"csrf": csrf, "reason": "why"})
    assert refused.status_code == 409
    assert "operator-key" in refused.text
    assert app.extensions["sealwax"].letters.audit.head() == before


def test_an_answer_to_an_operators_key_is_left_for_its_command(
    app: Flask, letter: str, settings: Settings, worker: RevealResponder
) -> None:
    settings.reveal.mode = "operator-key"
    services = app.extensions["sealwax"]
    said = request(enrolled(services.runtime.stores.source), letter, now=int(time.time()))
    token = services.tokens.issue(tenant="ops", scopes=("ops:read", "ops:reveal")).token
    revealer = app.test_client()
    sign_in(revealer, token)
    headers = {"Authorization": f"Bearer {token}"}
    path = f"/v1/ops/letters/{letter}/reveal"
    assert app.test_client().post(path, json={"request": said}, headers=headers).status_code == 202
    assert worker.once()
    where = f"/console/reveals/{said['nonce']}"
    page = revealer.get(where).text
    assert "own key" in page
    assert "Show the payload" not in page
    csrf = csrf_of(revealer.get("/console/replays/").text)
    assert revealer.post(where, data={"csrf": csrf}).status_code == 303
    found = app.test_client().get(f"/v1/ops/reveals/{said['nonce']}", headers=headers)
    assert found.get_json()["sealed"].startswith("swx1.")


def test_where_reveals_are_off_the_pages_say_so(
    app: Flask, letter: str, settings: Settings
) -> None:
    settings.reveal.mode = "off"
    revealer = signed_in(app, "ops:read", "ops:reveal")
    ask = f"/console/letters/{letter}/reveal"
    page = revealer.get(f"/console/letters/{letter}").text
    assert ask not in page
    assert "nobody may reveal it" in page
    page = revealer.get(ask).text
    assert "Payloads are not revealed here" in page
    assert '<form method="post" class="stack">' not in page
    csrf = csrf_of(revealer.get("/console/replays/").text)
    assert revealer.post(ask, data={"csrf": csrf, "reason": "why"}).status_code == 409


def accept(app: Flask, job: str) -> None:
    app.extensions["sealwax"].runtime.ledger.accept(
        NewJob(
            id=job, task="webhooks.relay", tenant="ab" * 16, lane="default", contract=1,
            created=1_000.0, not_after=9_000_000_000, expires=9_000_000_000,
        )
    )  # fmt: skip


def test_a_job_is_cancelled_from_its_page_and_by_http(
    app: Flask, client: FlaskClient, operator: FlaskClient, reader: FlaskClient
) -> None:
    parts = app.extensions["sealwax"]
    one, two, three = ("c0" * 16, "c1" * 16, "c2" * 16)
    for job in (one, two, three):
        accept(app, job)
    path = f"/console/jobs/{one}/cancel"
    assert path in operator.get(f"/console/jobs/{one}").text
    assert path not in reader.get(f"/console/jobs/{one}").text
    assert reader.get(path).status_code == 403
    asked = operator.get(path).text
    assert "acknowledged without running" in asked
    done = operator.post(path, data={"csrf": csrf_of(asked), "reason": "obsolete"})
    assert done.headers["Location"] == f"/console/jobs/{one}"
    assert parts.runtime.ledger.get(one).state is JobState.CANCELLED
    assert path not in operator.get(f"/console/jobs/{one}").text
    (line,), _ = parts.letters.audit.page(limit=1)
    assert (line.verb, line.target, line.reason) == ("job.cancel", one, "obsolete")

    # One that runs is asked to stop.
    parts.runtime.ledger.claim(two, token="t", lease=30)
    assert "asked to stop" in operator.get(f"/console/jobs/{two}/cancel").text
    token = parts.tokens.issue(tenant="ops", scopes=["ops:write"]).token
    headers = {"Authorization": f"Bearer {token}"}
    answer = client.post(f"/v1/ops/jobs/{two}/cancel", headers=headers)
    assert (answer.status_code, answer.get_json()["state"]) == (202, "running")
    assert "was asked to stop" in reader.get(f"/console/jobs/{two}").text

    # One that has ended is left, without a line.
    parts.runtime.ledger.claim(three, token="t", lease=30)
    parts.runtime.ledger.succeed(three, token="t", result=None)
    lines = len(parts.letters.audit.page(limit=100)[0])
    assert client.post(f"/v1/ops/jobs/{three}/cancel", headers=headers).status_code == 409
    assert operator.get(f"/console/jobs/{three}/cancel").status_code == 409
    for unknown in ("f" * 32, "x"):
        path = f"/v1/ops/jobs/{unknown}/cancel"
        assert client.post(path, headers=headers).status_code == 404
    assert len(parts.letters.audit.page(limit=100)[0]) == lines


def test_the_audit_log_is_handed_out_by_days(app: Flask, reader: FlaskClient) -> None:
    audit = app.extensions["sealwax"].letters.audit
    audit.record(actor="token:x", verb="lane.pause", target='="evil"', reason='said "no",\nso')
    today = time.strftime("%Y-%m-%d", time.gmtime())
    days = {"since": today, "until": today}
    page = reader.get("/console/audit/").text
    assert f'value="{today}"' in page
    as_csv = reader.get("/console/audit/export", query_string={**days, "format": "csv"})
    assert as_csv.content_type.startswith("text/csv")
    assert "audit.csv" in as_csv.headers["Content-Disposition"]
    rows = list(csv.DictReader(io.StringIO(as_csv.text)))
    (row,) = [row for row in rows if row["target"].endswith('="evil"')]
    assert row["target"] == '\'="evil"'  # no formula to a spreadsheet
    assert (row["verb"], row["reason"]) == ("lane.pause", 'said "no",\nso')
    as_lines = reader.get("/console/audit/export", query_string={**days, "format": "jsonl"})
    found = [json.loads(line) for line in as_lines.text.splitlines()]
    assert [line["id"] for line in found] == [row["id"] for row in rows]
    for wrong in (
        {}, {"since": today}, {**days, "format": "xml"}, {"since": "today", "until": today},
        {"since": "2026-02-01", "until": "2026-01-01"},
    ):  # fmt: skip
        answer = reader.get("/console/audit/export", query_string=wrong)
        assert answer.status_code == 400, wrong
