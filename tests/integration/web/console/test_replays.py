"""Planning by form: what is chosen, why, and that a repeated click is one plan."""

from __future__ import annotations

from flask import Flask
from flask.testing import FlaskClient
from support.console import csrf_of


def test_a_plan_keeps_its_selection_and_its_reason_apart(app: Flask, operator: FlaskClient) -> None:
    chosen = {"reason": "rejected", "task": "webhooks.relay"}
    page = operator.get("/console/replays/new", query_string=chosen)
    assert page.status_code == 200
    form = {"csrf": csrf_of(page.text), "once": "click", "why": "mended", **chosen}
    answers = [operator.post("/console/replays/new", data=form) for _ in range(2)]
    assert {answer.status_code for answer in answers} == {303}
    places = {answer.headers["Location"] for answer in answers}
    assert len(places) == 1
    replay = app.extensions["sealwax"].letters.replays.get(places.pop().rpartition("/")[2])
    assert replay.reason == "mended"
    assert replay.filter is not None
    assert replay.filter.document() == chosen
    assert replay.state == "planned"


def test_nothing_chosen_is_no_plan(operator: FlaskClient) -> None:
    for query in ({}, {"letter": "nonsense"}, {"letter": f"{'a' * 32}.0", "task": "x"}):
        assert operator.get("/console/replays/new", query_string=query).status_code == 400
