"""A send whose answer is lost is sent again; the ledger lets the job run once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from support.fault_proxy import Fault, FaultProxy
from support.sqs_lab import ROOT
from support.waiting import wait_for

from sealwax.aws.clients import Aws
from sealwax.keys.lifecycle import init_keys
from sealwax.secrets.factory import make_source
from sealwax.settings import Settings, load_settings
from sealwax.web.services import make_services

SUPPORT = ROOT / "tests/support"


@pytest.fixture
def sealed(
    provisioned: Settings, aws: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """An environment with keys, whose tasks note what they do."""
    monkeypatch.syspath_prepend(str(SUPPORT))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(SUPPORT), str(ROOT)]))
    monkeypatch.setenv("SEALWAX_TASK_MODULES", '["sealed_tasks"]')
    # A double that comes while the first runs waits for the first's lease.
    monkeypatch.setenv("SEALWAX_LANES", '{"default": {"lease": 5, "poll": 1}}')
    monkeypatch.setenv("LAB_NOTES", str(tmp_path / "notes.jsonl"))
    init_keys(provisioned, make_source(provisioned, aws))
    return load_settings()


@pytest.fixture
def front(sealed: Settings) -> Iterator[FaultProxy]:
    made = FaultProxy(os.environ["AWS_ENDPOINT_URL"])
    yield made
    made.close()


@pytest.mark.long
def test_a_job_whose_send_was_answered_too_late_runs_once(
    sealed: Settings, front: FaultProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", front.url)
        services = make_services(sealed)
        front.break_with(Fault("lost", operations=("SendMessageBatch",), times=1))
        job = services.submitter.submit(
            services.definitions["lab.note"], {"text": "once"}, tenant="t"
        ).entry.id
    assert front.seen["SendMessageBatch"] == 2
    sqs = Aws().client("sqs")
    url = sqs.get_queue_url(QueueName=sealed.queue_name("default"))["QueueUrl"]

    def waiting() -> int:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found: Any = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=cast("Any", names))
        found = found["Attributes"]
        return sum(int(found[name]) for name in names)

    assert waiting() == 2
    notes = tmp_path / "notes.jsonl"
    with (tmp_path / "worker.log").open("wb") as log:
        worker = subprocess.Popen(
            [sys.executable, "-m", "sealwax", "worker"], stdout=log, stderr=log, cwd=tmp_path
        )
    try:
        wait_for(lambda: notes.exists() and waiting() == 0, seconds=120)
    finally:
        worker.kill()
        worker.wait(10)
    (note,) = map(json.loads, notes.read_text().splitlines())
    assert note == {"job": job, "attempt": 1, "text": "once"}
    entry = services.runtime.ledger.get(job)
    assert entry is not None
    assert entry.state == "succeeded"
    dead = sqs.get_queue_url(QueueName=sealed.dead_letter_queue_name("default"))["QueueUrl"]
    assert not sqs.receive_message(QueueUrl=dead).get("Messages")
