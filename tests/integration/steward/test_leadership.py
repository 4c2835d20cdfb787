from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from support.waiting import wait_for

from sealwax.aws.clients import Aws
from sealwax.control import ConditionFailed, ControlDenied, ControlTable
from sealwax.keys.lifecycle import init_keys
from sealwax.secrets.factory import make_source
from sealwax.steward.leadership import LeaderLeases


@pytest.fixture
def table(provisioned, aws):
    return ControlTable(aws.client("dynamodb"), provisioned.table_name("control"))


def leases(table, owner, now):
    return LeaderLeases(table, owner=owner, seconds=10, clock=lambda: now[0])


def test_one_leads_until_its_lease_ends_and_the_fence_rises(table):
    now = [1000.5]
    one, two = leases(table, "one", now), leases(table, "two", now)
    first = one.take("sweep")
    assert first is not None
    assert two.take("sweep") is None
    now[0] += 9
    assert one.renew(first) is not None
    now[0] += 9
    assert two.take("sweep") is None
    now[0] += 4
    second = two.take("sweep")
    assert second is not None
    assert second.fence == first.fence + 1
    assert one.renew(first) is None
    one.give_back(first)  # no longer its own: nothing happens
    assert one.take("sweep") is None
    two.give_back(second)
    assert one.take("sweep") is not None


def test_items_are_kept_by_kind_and_id(table):
    table.put("pause", "lane#a", {"by": "x", "at": 1.5, "tags": ["a"]}, new=True)
    with pytest.raises(ConditionFailed):
        table.put("pause", "lane#a", {}, new=True)
    assert list(table.all("pause")) == [
        {"kind": "pause", "id": "lane#a", "by": "x", "at": 1.5, "tags": ["a"]}
    ]
    table.delete("pause", "lane#a")
    assert table.get("pause", "lane#a") is None


def test_a_missing_table_says_what_to_check(aws_env, aws):
    missing = ControlTable(aws.client("dynamodb"), "nowhere")
    with pytest.raises(ControlDenied, match="nowhere"):
        missing.get("pause", "x")


def test_the_command_reads_secrets_again_on_sighup_and_ends_in_order_on_sigterm(
    provisioned, tmp_path
):
    init_keys(provisioned, make_source(provisioned, Aws()))
    log = tmp_path / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "sealwax", "steward"],
            stdout=out,
            stderr=subprocess.STDOUT,
            env=dict(os.environ),
        )
    try:
        wait_for(lambda: "steward ready" in log.read_text(), seconds=60, what="the steward")
        process.send_signal(signal.SIGHUP)
        wait_for(lambda: "secrets refreshed" in log.read_text(), seconds=60, what="a refresh")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    assert "steward stopped" in log.read_text()
