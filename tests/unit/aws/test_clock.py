"""AWS's clock, from the `Date` of its answers: what is believed, and what is signed with it."""

from __future__ import annotations

import logging
import time
from email.utils import formatdate
from typing import Any

import pytest
from botocore.exceptions import ClientError
from support.botocore_http import HttpSession, make_client, session

from sealwax.aws.clock import EVERY, LONGEST, OFF, TOLERANCE, AwsClock
from sealwax.aws.direct_calls import DirectCalls

NOW = 1_800_000_000.25
ITEM = {"TableName": "jobs", "Key": {"id": {"S": "a"}}}


class Machine:
    """AWS's time, and a machine whose clock is so many seconds ahead of it."""

    def __init__(self, ahead: float = 0.0) -> None:
        self.aws, self.ahead, self.booted = NOW, ahead, NOW - 1000
        self.clock = AwsClock(lambda: self.aws + self.ahead, lambda: self.aws - self.booted)

    def call(self, *, took: float = 0.01, wrong: float = 0.0, **headers: str) -> None:
        sent = self.clock.steady()
        self.aws += took
        headers = headers or {"date": formatdate(self.aws - took / 2 + wrong, usegmt=True)}
        self.clock.answered(headers, sent)
        self.aws += EVERY


def test_before_any_answer_the_machine_counts() -> None:
    machine = Machine(600)
    assert machine.clock() == machine.aws + 600
    assert machine.clock.off == 0


@pytest.mark.parametrize("ahead", [-86_400, -600, -10, -3, 3, 10, 600])
def test_a_clock_that_is_wrong_is_put_right(ahead: float) -> None:
    machine = Machine(ahead)
    for _ in range(3):
        machine.call()

    assert machine.clock() == pytest.approx(machine.aws, abs=0.6)
    assert machine.clock.off == pytest.approx(ahead, abs=0.6)
    machine.aws += 3_600
    assert machine.clock() == pytest.approx(machine.aws, abs=0.6)


@pytest.mark.parametrize("ahead", [-1.4, 0, 1.4])
def test_a_difference_that_date_cannot_tell_is_none(ahead: float) -> None:
    machine = Machine(ahead)
    for _ in range(5):
        machine.call()
        assert machine.clock() == machine.aws + ahead
    assert machine.clock.off == 0


def test_a_real_clock_that_agrees_is_off_by_nothing() -> None:
    clock = AwsClock()
    for _ in range(3):
        clock.answered({"date": formatdate(time.time(), usegmt=True)}, clock.steady())
    assert clock.off == 0


def test_one_wrong_date_changes_nothing_at_first_or_later() -> None:
    machine = Machine()
    machine.call(wrong=-5_000)
    assert machine.clock() == machine.aws
    for _ in range(4):
        machine.call()
        assert machine.clock() == machine.aws
    machine.call(wrong=9_000)
    assert machine.clock() == machine.aws


@pytest.mark.parametrize(
    "headers",
    [{"server": "proxy"}, {"date": ""}, {"date": "yesterday"}, {"date": "Mon, 99 Foo 2026"},
     {"date": "Mon, 01 Jan 99999999999 00:00:00 GMT"}],
)  # fmt: skip
def test_an_answer_without_a_date_changes_nothing(headers: dict[str, str]) -> None:
    machine = Machine(600)
    for _ in range(3):
        machine.call()
    for _ in range(5):
        machine.call(**headers)
    assert machine.clock() == pytest.approx(machine.aws, abs=0.6)


def test_a_long_poll_tells_nothing() -> None:
    machine = Machine(600)
    for _ in range(3):
        machine.call(took=LONGEST + 0.1)
    assert machine.clock.off == 0
    for _ in range(3):
        machine.call(took=LONGEST - 0.1)
    assert machine.clock.off == pytest.approx(600, abs=0.6)


def test_between_two_answers_nobody_sets_the_clock() -> None:
    machine = Machine(600)
    for _ in range(3):
        machine.call()
    machine.ahead = -4_000  # an operator's typing error
    assert machine.clock() == pytest.approx(machine.aws, abs=0.6)
    machine.ahead = 0.0  # and time is synchronised at last
    assert machine.clock() == machine.aws


def test_aws_is_followed_where_the_steady_seconds_stood_still() -> None:
    machine = Machine()
    for _ in range(5):
        machine.call()
    machine.aws += 5_000
    machine.booted += 5_000  # the machine was paused with all its clocks
    machine.ahead = -5_000
    for _ in range(3):
        machine.call()
    assert machine.clock() == pytest.approx(machine.aws, abs=0.6)


def test_it_is_said_once_a_change(caplog: Any) -> None:
    machine = Machine(OFF + 1)
    with caplog.at_level(logging.WARNING):
        for _ in range(8):
            machine.call()
        assert [record.getMessage()[:30] for record in caplog.records] == [
            "This machine's clock is +6 s o"
        ]
        machine.ahead = 600
        for _ in range(8):
            machine.call()
        assert "+600 s" in caplog.records[1].getMessage()
        machine.ahead = 0
        for _ in range(8):
            machine.call()
        assert "agrees" in caplog.records[2].getMessage()
    assert len(caplog.records) == 3


def test_under_the_limit_nothing_is_said(caplog: Any) -> None:
    machine = Machine(OFF - 1)
    with caplog.at_level(logging.WARNING):
        for _ in range(8):
            machine.call()
    assert machine.clock.off > TOLERANCE
    assert not caplog.records


class Aws(HttpSession):
    """Takes signatures within five minutes of its time, as AWS does."""

    def __init__(self, machine: Machine, code: str) -> None:
        super().__init__()
        self.machine, self.code, self.broken = machine, code, False

    def send(self, request: Any) -> Any:
        stamp = request.headers["x-amz-date"]
        stamp = stamp.decode() if isinstance(stamp, bytes) else stamp
        signed = _seconds(stamp)
        right = abs(signed - self.machine.aws) < 300 and not self.broken
        self.status = 200 if right else 400
        self.body = (
            b"{}" if right else b'{"__type": "com.amazon.coral.service#%s"}' % (self.code.encode())
        )
        self.headers["date"] = formatdate(self.machine.aws, usegmt=True)
        return super().send(request)


def _seconds(stamp: str) -> float:
    from datetime import UTC, datetime

    return datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()


def lab(
    monkeypatch: Any, ahead: float, code: str = "InvalidSignatureException"
) -> tuple[Machine, Any, Aws]:
    """Return a machine, a client on it, and the AWS that it calls."""
    from datetime import UTC, datetime

    from botocore import auth

    machine = Machine(ahead)
    monkeypatch.setattr(
        auth,
        "get_current_datetime",
        lambda **_: datetime.fromtimestamp(machine.aws + machine.ahead, UTC).replace(tzinfo=None),
    )
    client, _, _ = make_client("dynamodb")
    machine.clock.register(client.meta.events)
    http = Aws(machine, code)
    client._endpoint.http_session = http
    return machine, client, http


@pytest.mark.parametrize("ahead", [-600, 600, 90_000])
@pytest.mark.parametrize(
    "code", ["InvalidSignatureException", "RequestTimeTooSkewed", "SignatureDoesNotMatch"]
)
def test_boto3_signs_anew_with_the_time_of_the_refusal(
    monkeypatch: Any, ahead: float, code: str
) -> None:
    _, client, http = lab(monkeypatch, ahead, code)
    client.get_item(**ITEM)
    assert len(http.requests) == 2
    client.get_item(**ITEM)
    assert len(http.requests) == 3


@pytest.mark.parametrize("ahead", [-600, 600])
def test_the_direct_way_signs_anew_with_the_time_of_the_refusal(
    monkeypatch: Any, ahead: float
) -> None:
    machine, client, http = lab(monkeypatch, 0)
    calls = DirectCalls(client, session().get_credentials, machine.clock)
    client.get_item(**ITEM)
    assert calls.ready
    machine.ahead = ahead

    assert calls.send("GetItem", ITEM) == {}
    assert len(http.requests) == 3
    assert calls.send("GetItem", ITEM) == {}
    assert len(http.requests) == 4


@pytest.mark.parametrize("ahead", [0, 600])
def test_a_signature_that_is_wrong_for_another_reason_stays_so(
    monkeypatch: Any, ahead: float
) -> None:
    machine, client, http = lab(monkeypatch, ahead)
    calls = DirectCalls(client, session().get_credentials, machine.clock)
    client.get_item(**ITEM)
    http.broken, http.requests = True, []
    machine.ahead -= 3_000 if ahead else 0
    for call in (lambda: calls.send("GetItem", ITEM), lambda: client.get_item(**ITEM)):
        with pytest.raises(ClientError, match="InvalidSignature"):
            call()
    assert len(http.requests) == 2


def test_where_botocore_keeps_the_time_elsewhere_it_signs_as_ever(monkeypatch: Any) -> None:
    _, client, http = lab(monkeypatch, -600)
    client.meta.events.register_last(
        "before-sign", lambda request, **_: setattr(request, "context", dict(request.context))
    )
    with pytest.raises(ClientError, match="InvalidSignature"):
        client.get_item(**ITEM)
    assert len(http.requests) == 2
