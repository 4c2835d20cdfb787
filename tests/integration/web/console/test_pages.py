"""Signing in and out: what a link does, what ends a session, and for whom."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from botocore.exceptions import EndpointConnectionError
from flask import Flask
from flask.testing import FlaskClient
from support.console import csrf_of, sign_in

from sealwax.web.app import create_app
from sealwax.web.console.session import COOKIE, FORM_COOKIE

CROSS_SITE = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}


@pytest.fixture(scope="module")
def other_process(app: Flask) -> Iterator[Flask]:
    """Another API process of the same environment."""
    made = create_app(app.extensions["sealwax"].settings)
    yield made
    made.extensions["sealwax"].runtime.close()


def token_of(app: Flask) -> str:
    return app.extensions["sealwax"].tokens.issue(tenant="ops", scopes=["ops:read"]).token


def cookie_of(client: FlaskClient) -> str:
    found = client.get_cookie(COOKIE, path="/console")
    assert found is not None
    return found.value


def with_cookie(app: Flask, cookie: str) -> FlaskClient:
    client = app.test_client()
    client.set_cookie(COOKIE, cookie, path="/console")
    return client


def signs_in(client: FlaskClient) -> bool:
    return client.get("/console/jobs/").status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/console/sign-in",
        "/console/sign-in?next=/console/jobs/",
        "/console/",
        "/console/jobs/",
        "/console/no/such/page",
        "/console/sign-out",
    ],
)
def test_a_link_from_elsewhere_ends_no_session(app: Flask, reader, path: str) -> None:
    # SameSite=Strict: the browser follows it, and its redirects, without the session.
    visitor = app.test_client()
    answer = visitor.get(path, headers=CROSS_SITE)
    seen = answer.headers.getlist("Set-Cookie")
    if answer.status_code == 303:
        answer = visitor.get(answer.headers["Location"], headers=CROSS_SITE)
        seen += answer.headers.getlist("Set-Cookie")
    assert not [cookie for cookie in seen if cookie.startswith(f"{COOKIE}=")]
    assert signs_in(reader)


@pytest.mark.parametrize("path", ["/console/sign-in", "/console/sign-in?next=/console/jobs/"])
def test_whoever_is_signed_in_is_led_on_and_stays_so(reader, path: str) -> None:
    before = cookie_of(reader)
    answer = reader.get(path)
    assert answer.status_code == 303
    assert answer.headers["Location"] in ("/console/", "/console/jobs/")
    assert "Set-Cookie" not in answer.headers
    assert cookie_of(reader) == before
    assert signs_in(reader)


def test_the_sign_in_page_leads_back_whom_a_link_on_another_site_led_there(app: Flask) -> None:
    page = app.test_client().get("/console/sign-in?next=/console/jobs/", headers=CROSS_SITE).text
    assert '<a href="/console/jobs/">Continue</a>' in page
    assert "Continue</a>" not in app.test_client().get("/console/sign-in").text


def test_the_forms_cookie_is_no_session_and_no_session_is_the_forms(app: Flask, reader) -> None:
    client = app.test_client()
    csrf = csrf_of(client.get("/console/sign-in").text)
    form = client.get_cookie(FORM_COOKIE, path="/console")
    assert form is not None
    assert form is not None
    assert not signs_in(with_cookie(app, form.value))
    # The value in a page of the session, with the session in the form's place.
    swapped = app.test_client()
    swapped.set_cookie(FORM_COOKIE, cookie_of(reader), path="/console")
    page = csrf_of(reader.get("/console/jobs/").text)
    for value in (page, csrf):
        data = {"csrf": value, "token": token_of(app)}
        assert swapped.post("/console/sign-in", data=data).status_code == 403


def test_signing_out_ends_the_session_for_whoever_has_its_cookie(
    app: Flask, other_process: Flask
) -> None:
    client = app.test_client()
    sign_in(client, token_of(app))
    stolen = cookie_of(client)
    thieves = [with_cookie(each, stolen) for each in (app, other_process)]
    assert [signs_in(thief) for thief in thieves] == [True, True]
    csrf = csrf_of(thieves[1].get("/console/jobs/").text)
    out = client.post(
        "/console/sign-out", data={"csrf": csrf_of(client.get("/console/jobs/").text)}
    )
    assert out.status_code == 303
    assert [signs_in(thief) for thief in thieves] == [False, False]
    for thief in thieves:
        answer = thief.post("/console/sign-out", data={"csrf": csrf})
        assert answer.headers["Location"].startswith("/console/sign-in")
        assert thief.get("/console/sign-in").status_code == 200


def test_signing_out_ends_no_other_session_of_the_token(app: Flask) -> None:
    token = token_of(app)
    clients = [app.test_client() for _ in range(2)]
    for client in clients:
        sign_in(client, token)
    page = clients[0].get("/console/jobs/").text
    clients[0].post("/console/sign-out", data={"csrf": csrf_of(page)})
    assert [signs_in(client) for client in clients] == [False, True]


def test_signing_in_anew_ends_the_session_that_the_browser_had(app: Flask) -> None:
    client = app.test_client()
    csrf = csrf_of(client.get("/console/sign-in").text)
    form = client.get_cookie(FORM_COOKIE, path="/console")
    assert form is not None
    sign_in(client, token_of(app))
    former = cookie_of(client)
    client.set_cookie(FORM_COOKIE, form.value, path="/console")  # a second tab's form
    answer = client.post("/console/sign-in", data={"csrf": csrf, "token": token_of(app)})
    assert answer.status_code == 303
    assert signs_in(client)
    assert not signs_in(with_cookie(app, former))


def test_the_server_keeps_ended_sessions_no_longer_than_they_could_live(app: Flask) -> None:
    control = app.extensions["sealwax"].runtime.control
    before = {item["id"] for item in control.all("session")}
    client = app.test_client()
    sign_in(client, token_of(app))
    page = client.get("/console/jobs/").text
    client.post("/console/sign-out", data={"csrf": csrf_of(page)})
    (item,) = [item for item in control.all("session") if item["id"] not in before]
    now = app.extensions["sealwax"].runtime.clock()
    assert 12 * 3600 < item["expires"] - now <= 36 * 3600
    assert csrf_of(page) not in str(item)


def test_a_sign_out_that_cannot_be_kept_is_none_and_no_page_is_shown_unasked(
    app: Flask, reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    csrf = csrf_of(reader.get("/console/jobs/").text)
    table = app.extensions["sealwax"].runtime.control._table

    def away(**_: object) -> None:
        raise EndpointConnectionError(endpoint_url="http://x")

    with monkeypatch.context() as fault:
        fault.setattr(table.client, "put_item", away)
        assert reader.post("/console/sign-out", data={"csrf": csrf}).status_code == 503
    assert signs_in(reader)
    with monkeypatch.context() as fault:
        fault.setattr(table.client, "get_item", away)
        assert reader.get("/console/jobs/").status_code == 503
        assert reader.get("/console/sign-in").status_code == 503
