"""Admission: a lane whose jobs wait too long takes no more."""

from __future__ import annotations

import pytest
from support.expiries import FAR

from sealwax.ledger import NewJob
from sealwax.schedules import Schedule

PAYLOAD = {"route": "plain", "event": "nightly", "body": {}}


@pytest.fixture
def services(app):
    found = app.extensions["sealwax"]
    schedule = Schedule(task="webhooks.relay", payload=PAYLOAD, every=60)
    found.runtime.settings.schedules["nightly"] = schedule
    return found


def test_a_lane_whose_jobs_wait_too_long_is_closed_for_a_while(services, client, auth):
    from sealwax.web.admission import Admission

    now = [FAR]
    lane = services.settings.lanes["default"].model_copy(update={"max_wait": 60.0})
    settings = services.settings.model_copy(update={"lanes": {"default": lane}})
    steps = [0.0]
    admission = Admission(
        settings,
        services.runtime.ledger,
        clock=lambda: now[0],
        monotonic=lambda: steps[0],
    )
    object.__setattr__(services, "admission", admission)
    body = {"task": "webhooks.relay", "payload": PAYLOAD}
    services.runtime.ledger.accept(
        NewJob(
            id="1" * 32,
            task="webhooks.relay",
            tenant="t",
            lane="default",
            contract=1,
            created=now[0] - 61,
            not_after=int(now[0] + 1_000),
            expires=int(now[0] + 2_000),
        )
    )
    answer = client.post("/v1/jobs", json=body, headers=auth)
    assert answer.status_code == 503
    assert answer.get_json()["type"] == "urn:sealwax:problem:lane-overloaded"
    assert int(answer.headers["Retry-After"]) > 0
    # Claimed, it waits no longer; the answer is believed for some seconds.
    services.runtime.ledger.claim("1" * 32, token="t", lease=30)
    assert client.post("/v1/jobs", json=body, headers=auth).status_code == 503
    # Long believed by nobody, it is asked for by the request itself.
    steps[0] += 30
    assert client.post("/v1/jobs", json=body, headers=auth).status_code == 202
