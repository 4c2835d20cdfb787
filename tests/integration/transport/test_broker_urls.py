"""Workers that are told by URLs where SQS is, and URLs of queues that lead nowhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from kombu import Connection
from support.fault_proxy import Fault, FaultProxy
from support.sqs_lab import VARIABLES, Lab
from support.waiting import wait_for

import sealwax.transport  # noqa: F401 - makes "sealwax://" known
from sealwax.transport.checks import check_queue
from sealwax.transport.errors import (
    PermissionMissing,
    QueueMisconfigured,
    QueueNotFound,
    TransportOptionInvalid,
)

#: Fails within its own patience where nobody asks for more.
SHORT = {"wait_time": 1, "connect_timeout": 1, "read_timeout": 1}


def test_a_worker_uses_host_and_keys_of_its_url_and_prints_no_secret(lab: Lab) -> None:
    host = lab.url.partition("://")[2]
    lab.start_worker(
        broker=f"sealwax://AKIDEXAMPLE:wJalr%2FXUt%2BnFEMI@{host}",
        region="us-east-1",
        visibility_timeout=3600,
        variables=dict.fromkeys([*VARIABLES, "AWS_ENDPOINT_URL"], ""),
        **SHORT,
    )
    lab.send("ok", 1)
    wait_for(lambda: lab.has_notes("ok", 1) and lab.empty(), seconds=60)
    log = lab.log()
    assert f"sealwax://AKIDEXAMPLE:**@{host}" in log
    assert "XUt" not in log
    assert "nFEMI" not in log
    assert log.count("'visibility_timeout' is 3600") == 1


#: A queue's options, from the server's URL and the real queue's name; and what is said.
NOWHERE = {
    "a queue that is not there": (
        lambda url, name: {"url": f"{url}/000000000000/gone-{name}"},
        QueueNotFound,
        "does not exist at http.*gone-",
    ),
    "another region": (
        lambda url, name: {"url": f"https://sqs.eu-west-1.amazonaws.com/000000000000/{name}"},
        QueueMisconfigured,
        "region eu-west-1.*us-east-1",
    ),
    "another region, by an old form": (
        lambda url, name: {"url": f"https://eu-west-1.queue.amazonaws.com/000000000000/{name}"},
        QueueMisconfigured,
        "region eu-west-1.*us-east-1",
    ),
    "a URL without a queue": (lambda url, name: {"url": url}, TransportOptionInvalid, "url of"),
    "a name instead of a URL": (lambda url, name: {"url": name}, TransportOptionInvalid, "url of"),
    "a name that is not there": (
        lambda url, name: {"queue": f"gone-{name}"},
        QueueNotFound,
        "no SQS queue named 'gone-",
    ),
}


@pytest.mark.parametrize("case", NOWHERE)
def test_a_url_that_leads_nowhere_is_named_before_a_queue_is_consumed(
    lab: Lab, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    make, error, says = NOWHERE[case]
    queues: dict[str, Any] = {"orders": make(lab.url, lab.queue)}
    options = {"queues": queues, "endpoint_url": lab.url, "region": "us-east-1", **SHORT}
    with (
        pytest.raises(error, match=says),
        Connection("sealwax://", transport_options=options) as connection,
    ):
        check_queue(connection.transport.engine, "orders")


#: Checks a queue: calls that are refused, how it is named, the error's code.
Refusing = Callable[[tuple[str, ...], str, str], None]

#: What the owner of a queue refuses, by the calls; how the queue is named; and what is said.
REFUSED = {
    "all, by url": ((), "url", "sqs:DeleteMessage"),
    "all, by name": ((), "queue", "sqs:GetQueueUrl"),
    "the look-up by name": (("GetQueueUrl",), "queue", "sqs:GetQueueUrl.*url"),
    "attributes and deletes": (
        ("GetQueueAttributes", "DeleteMessageBatch"),
        "url",
        "sqs:DeleteMessage",
    ),
    "attributes and leases": (
        ("GetQueueAttributes", "ChangeMessageVisibilityBatch"),
        "url",
        "sqs:ChangeMessageVisibility",
    ),
}


@pytest.fixture
def refusing(lab: Lab, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> Refusing:
    """Check a queue of which an owner refuses some calls."""
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)

    def check(operations: tuple[str, ...], named: str, code: str) -> None:
        proxy.break_with(Fault("error", 403, code, operations=operations))
        place = f"{lab.url}/000000000000/{lab.queue}" if named == "url" else lab.queue
        options = {
            "queues": {"orders": {named: place}}, "endpoint_url": proxy.url, "region": "us-east-1",
            **SHORT,
        }  # fmt: skip
        with Connection("sealwax://", transport_options=options) as connection:
            check_queue(connection.transport.engine, "orders")

    return check


@pytest.mark.parametrize("code", ["AccessDenied", "AccessDeniedException"])
@pytest.mark.parametrize("case", REFUSED)
def test_a_queue_that_refuses_us_is_named_before_it_is_consumed(
    refusing: Refusing, case: str, code: str
) -> None:
    operations, named, says = REFUSED[case]
    with pytest.raises(PermissionMissing, match=says):
        refusing(operations, named, code)


def test_a_queue_whose_attributes_alone_are_refused_is_consumed(
    refusing: Refusing, caplog: pytest.LogCaptureFixture
) -> None:
    refusing(("GetQueueAttributes",), "url", "AccessDenied")
    assert "sqs:GetQueueAttributes" in caplog.text


@pytest.mark.parametrize("case", ["a queue that is not there", "another region"])
def test_a_worker_of_such_a_url_does_not_say_ready(lab: Lab, case: str) -> None:
    make, error, says = NOWHERE[case]
    with pytest.raises(AssertionError, match=f"(?s){error.__name__}.*{says}"):
        lab.start_worker(queues={lab.queue: make(lab.url, lab.queue)}, **SHORT)
    assert " ready." not in lab.log()
    assert not lab.status().get("ready")


def test_a_prefix_stands_before_the_names_of_queues(lab: Lab) -> None:
    prefix, rest = lab.queue[:4], lab.queue[4:]
    lab.queue = rest
    lab.start_worker(queue_name_prefix=prefix, **SHORT)
    lab.queue = prefix + rest
    lab.send("ok", 1)
    wait_for(lambda: lab.has_notes("ok", 1) and lab.empty(), seconds=60)
