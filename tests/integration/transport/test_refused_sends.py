"""What no worker would read is refused where it is sent, and nothing is queued."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery
from support.sqs_lab import VARIABLES, Lab

from sealwax.transport.bulk import send_tasks
from sealwax.transport.errors import MessageRefused


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def test_what_no_worker_reads_is_not_sent(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", lab.url)
    app = Celery("sender", broker="sealwax://", set_as_current=False)
    app.conf.task_default_queue = lab.queue
    deep: Any = app.signature("ok")
    for _ in range(300):
        deep = app.signature("ok", options={"link": [deep]})
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
        ((1,), {"serializer": "pickle"}),
        ((1,), {"serializer": "yaml"}),
        ((nested(900),), {}),
        ((nested(900),), {"compression": "bzip2"}),
        ((1,), {"link": deep}),
        ((1,), {"headers": {"x-what": object()}}),
        ((1,), {"headers": {"get": 1}}),
        ((1,), {"headers": {"x": nested(450)}}),
        ((1,), {"headers": {"x": nested(100_000)}}),
        ((1,), {"task_id": " "}),
        ((1,), {"link": "no signature"}),
        ((1,), {"headers": {"stamped_headers": 5}}),
    ]
    for args, options in calls:
        with pytest.raises(MessageRefused):
            app.send_task("ok", args, **options)
    for bad in (
        app.signature("ok", (nested(900),)),
        app.signature("ok", (1,), headers={"args": 1}),
        app.signature("ok", (1,), task_id="x" * 2_000),
    ):
        ((_, error),) = send_tasks(app, [bad])
        assert isinstance(error, MessageRefused)
    assert lab.empty()
    app.send_task("ok", (1,), compression="bzip2")
    assert lab.depth() == (1, 0)
    app.close()
