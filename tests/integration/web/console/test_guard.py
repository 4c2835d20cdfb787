"""The console's frame: who gets in, what leaves, and what a forged form does."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from flask import Flask
from flask.testing import FlaskClient
from support.console import csrf_of, sign_in

from sealwax.ledger import NewJob

JOB = "7d3f0a5be9c14b6f8a2e6c1d90b4f357"


class Inline(HTMLParser):
    """Finds what the policy would not let run, and what leads elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._script = False

    def handle_starttag(self, tag, attrs):
        self._script = tag == "script"
        for name, value in attrs:
            if name == "style" or name.startswith("on"):
                self.found.append(f"{tag} {name}")
            if name in ("src", "href", "action") and re.match(r"(?i)\w+:|//", value or ""):
                self.found.append(f"{tag} {name}={value}")
        if tag == "style":
            self.found.append("style element")

    def handle_data(self, data):
        if self._script and data.strip():
            self.found.append("inline script")
            self._script = False


def console_rules(app: Flask):
    return [rule for rule in app.url_map.iter_rules() if rule.endpoint.startswith("console.")]


def filled(rule: str) -> str:
    # Of a choice its first, of anything else an id.
    return re.sub(r"<[^>]+>", "0" * 32, re.sub(r"<any\((\w+)[^>]*>", r"\1", rule))


def test_every_page_but_the_gate_needs_a_session(app: Flask, client: FlaskClient) -> None:
    open_to_all = {"console.sign_in", "console.begin", "console.static"}
    for rule in console_rules(app):
        if rule.endpoint in open_to_all:
            continue
        view = app.view_functions[rule.endpoint]
        assert hasattr(view, "sealwax_scope"), f"{rule.rule} has no @page"
        changes = "POST" in rule.methods
        if changes and rule.endpoint != "console.sign_out":
            assert view.sealwax_scope != "ops:read", f"{rule.rule} lets readers change something"
        answer = client.open(filled(rule.rule), method="POST" if changes else "GET")
        assert answer.status_code == 303, rule.rule
        assert answer.headers["Location"].startswith("/console/sign-in")


def test_a_token_becomes_a_session_that_no_script_and_no_other_site_gets(app, client) -> None:
    token = app.extensions["sealwax"].tokens.issue(tenant="ops", scopes=["ops:read"]).token
    answer = sign_in(client, token, next="/console/jobs/?q=1")
    assert answer.headers["Location"] == "/console/jobs/?q=1"
    cookie = answer.headers["Set-Cookie"]
    for part in ("HttpOnly", "SameSite=Strict", "Path=/console"):
        assert part in cookie
    assert "Secure" not in cookie
    assert token not in cookie
    assert client.get("/console/jobs/").status_code == 200
    # The same by TLS, at a load balancer.
    page = app.test_client().get("/console/sign-in", headers={"X-Forwarded-Proto": "https"})
    assert "Secure" in page.headers["Set-Cookie"]


@pytest.mark.parametrize(
    "next_", ["https://evil.example/", "//evil.example", "/console//evil.example", "/v1/jobs", ""]
)
def test_signing_in_leads_nowhere_else(app, client, next_) -> None:
    token = app.extensions["sealwax"].tokens.issue(tenant="ops", scopes=["ops:read"]).token
    assert sign_in(client, token, next=next_).headers["Location"] == "/console/"


def test_producers_tokens_and_unknown_ones_do_not_get_in(app, client) -> None:
    token = app.extensions["sealwax"].tokens.issue(tenant="a", scopes=["jobs:read"]).token
    for wrong in (token, "swx_" + "a" * 43, "", "nonsense"):
        answer = sign_in(client, wrong)
        assert answer.status_code == 401
        if wrong:
            assert wrong not in answer.text
    assert client.get("/console/jobs/").status_code == 303


def test_a_revoked_token_ends_its_session(app, client) -> None:
    tokens = app.extensions["sealwax"].tokens
    issued = tokens.issue(tenant="ops", scopes=["ops:read"])
    sign_in(client, issued.token)
    assert client.get("/console/jobs/").status_code == 200
    tokens.revoke(issued.id)
    tokens._cache.clear()
    assert client.get("/console/jobs/").status_code == 303


def test_forged_forms_are_refused(app, client, reader) -> None:
    token = app.extensions["sealwax"].tokens.issue(tenant="ops", scopes=["ops:read"]).token
    # Signing somebody in to another's session, without or with a foreign page's help.
    assert client.post("/console/sign-in", data={"token": token}).status_code == 403
    csrf = csrf_of(client.get("/console/sign-in").text)
    for headers in (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ):
        answer = client.post(
            "/console/sign-in", data={"csrf": csrf, "token": token}, headers=headers
        )
        assert answer.status_code == 403, headers
    page = reader.get("/console/jobs/").text
    assert reader.post("/console/sign-out").status_code == 403
    assert reader.post("/console/sign-out", data={"csrf": csrf}).status_code == 403
    assert reader.get("/console/jobs/").status_code == 200
    assert reader.post("/console/sign-out", data={"csrf": csrf_of(page)}).status_code == 303
    assert reader.get("/console/jobs/").status_code == 303


def test_pages_hold_nothing_that_the_policy_forbids_and_lead_nowhere_else(app, reader) -> None:
    for rule in console_rules(app):
        if "GET" not in rule.methods or rule.endpoint == "console.static":
            continue
        answer = reader.get(filled(rule.rule))
        assert answer.status_code < 500, f"{rule.rule}: {answer.text}"
        policy = answer.headers["Content-Security-Policy"]
        assert "unsafe" not in policy
        assert "default-src 'none'" in policy
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert answer.headers["Cache-Control"] == "no-store"
        seen = Inline()
        seen.feed(answer.text)
        assert seen.found == [], rule.rule


def test_errors_are_pages_and_echo_nothing(client, reader) -> None:
    answer = reader.get("/console/no/such/page-canary")
    assert answer.status_code == 404
    assert answer.content_type.startswith("text/html")
    assert "canary" not in answer.text
    assert reader.get(f"/console/jobs/{JOB}").status_code == 404
    assert reader.put("/console/jobs/").status_code == 405
    with client.get("/console/static/console.css") as answer:
        assert answer.status_code == 200
    assert client.get("/console/static/../session.py").status_code in (303, 404)


def test_a_job_is_found_by_its_id_and_has_a_timeline(app, reader) -> None:
    ledger = app.extensions["sealwax"].runtime.ledger
    job = NewJob(
        id=JOB, task="webhooks.relay", tenant="ab" * 16, lane="default", contract=1,
        created=1_000.0, not_after=9_000_000_000, expires=9_000_000_000,
    )  # fmt: skip
    ledger.accept(job)
    found = reader.get("/console/jobs/", query_string={"q": f" {JOB.upper()} "})
    assert found.headers["Location"] == f"/console/jobs/{JOB}"
    page = reader.get(f"/console/jobs/{JOB}").text
    assert "Accepted" in page
    assert "webhooks.relay" in page
    assert "ab" * 16 not in re.sub(r'title="[^"]*"', "", page)
    ledger.claim(JOB, token="t", lease=30)
    ledger.retry(JOB, token="t", due=9_000_000_000, cause="http-503", error="Transient")
    page = reader.get(f"/console/jobs/{JOB}").text
    for text in ("Attempt 1 failed", "http-503", "Next attempt", "retrying"):
        assert text in page
    wrong = reader.get("/console/jobs/", query_string={"q": "<script>"})
    assert wrong.status_code == 200
    assert "<script>" not in wrong.text.replace("<script src=", "")
