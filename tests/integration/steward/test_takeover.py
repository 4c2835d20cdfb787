"""The leader of a shard of the outbox is killed outright: another steward sends what is due."""

from __future__ import annotations

import time

import pytest
from support.waiting import wait_for

from sealwax.aws.clients import Aws
from sealwax.aws.shards import SHARDS
from sealwax.control import ControlTable
from sealwax.outbox.store import Item, Outbox, shard_of


@pytest.mark.long
def test_another_steward_takes_over_when_the_leader_is_killed(make_roles):
    roles = make_roles(SEALWAX_STEWARD__LEASE="2")
    client = Aws().client("dynamodb")
    control = ControlTable(client, roles.settings.table_name("control"))
    outbox = Outbox(client, roles.settings.table_name("outbox"))
    stewards = {str(process.pid): process for process in (roles.steward(), roles.steward())}

    queue = roles.settings.queue_name("default")
    item = Item(id="due", due=time.time(), queue=queue, body="x")
    duty = f"outbox.{shard_of(item, SHARDS)}"

    def leader() -> str:
        item = control.get("leader", duty) or {}
        return str(item.get("owner", "-0-")).rsplit("-", 2)[1]

    first = wait_for(lambda: leader() if leader() in stewards else "", seconds=60)
    fence = (control.get("leader", duty) or {})["fence"]
    stewards[first].kill()
    stewards[first].wait()
    outbox.put(item)
    wait_for(lambda: outbox.get("due") is None, seconds=60, what="the second one to send")
    assert leader() == next(pid for pid in stewards if pid != first)
    assert (control.get("leader", duty) or {})["fence"] > fence
