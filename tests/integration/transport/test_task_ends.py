"""Expiry and soft time limits end a task as they do on stock Celery."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta

from support.sqs_lab import Lab, message
from support.waiting import wait_for

PAST = (
    "2020-01-01T00:00:00+00:00", "2020-01-01T00:00:00", "0001-01-01T00:00:00",
    "1970-01-01T00:00:00Z", "2020-01-01T12:00:00+14:00",
)  # fmt: skip


def ids(lab: Lab, event: str) -> list[str]:
    return sorted(note["id"] for note in lab.notes(event))


def test_what_has_expired_is_announced_as_revoked(lab: Lab) -> None:
    bodies = [message("ok", number, headers={"expires": at}) for number, at in enumerate(PAST)]
    lab.send_all(bodies)
    lab.start_worker(variables={"LAB_APP": "ends_app"})
    wait_for(lambda: lab.has_notes("revoked", len(PAST)) and lab.empty(), seconds=60)
    assert ids(lab, "revoked") == sorted(json.loads(body)["headers"]["id"] for body in bodies)
    for note in lab.notes("revoked"):
        assert (note["name"], note["expired"]) == ("ok", True)
        assert (note["terminated"], note["signum"]) == (False, None)
    assert sorted(note["args"][0] for note in lab.notes("revoked")) == list(range(len(PAST)))
    assert not lab.notes("ok")
    assert lab.dead_count() == 0


def test_a_soft_time_limit_is_an_exception_like_any_other(lab: Lab) -> None:
    lab.start_worker(variables={"LAB_APP": "ends_app"}, concurrency=5)
    for name in ("uncaught", "retried", "auto", "caught"):
        lab.send(f"soft.{name}")
    lab.put(message("soft.message", headers={"timelimit": [None, 1]}))
    wait_for(lambda: lab.dead_count() == 4 and lab.empty(), seconds=90)
    letters = {letter["task"]: letter for letter in lab.letters()}
    assert {name: letter["reason"] for name, letter in letters.items()} == {
        "soft.uncaught": "rejected",
        "soft.message": "rejected",
        "soft.retried": "exhausted",
        "soft.auto": "exhausted",
    }
    assert {letter["error"] for letter in letters.values()} == {"SoftTimeLimitExceeded"}
    assert Counter(note["name"] for note in lab.notes("soft")) == {
        "soft.retried": 3,
        "soft.auto": 2,
        "soft.caught": 1,
    }


def test_what_expires_while_it_waits_in_the_worker_is_announced(lab: Lab) -> None:
    lab.start_worker(variables={"LAB_APP": "ends_app"}, concurrency=1)
    lab.send("sleep", 4)
    wait_for(lambda: lab.notes("start"))
    at = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
    lab.put(message("ok", headers={"expires": at}))
    wait_for(lambda: lab.notes("revoked") and lab.empty(), seconds=60)
    assert [note["expired"] for note in lab.notes("revoked")] == [True]
    assert not lab.notes("ok")
