"""The same troubles on stock Celery and kombu 5.7.0, to show the difference.

Run with SEALWAX_STOCK_PYTHON naming a Python that has `celery[sqs]==5.7.0`.
Each test asserts the fault; its counterpart beside asserts that ours has none.
"""

from __future__ import annotations

import pytest
from proxy import Fault, FaultProxy
from support.sqs_lab import Lab, message
from support.waiting import wait_for

pytestmark = [pytest.mark.comparison, pytest.mark.slow]


def test_a_malformed_message_ends_the_stock_worker(lab: Lab) -> None:
    worker = lab.start_stock_worker()
    lab.put(message("ok", headers={"id": None}))
    wait_for(lambda: worker.poll() is not None, seconds=20)


@pytest.mark.parametrize(
    "fault", [Fault("error", 503), Fault("error", 403, "AccessDenied")], ids=["503", "403"]
)
def test_an_error_of_receive_ends_the_stock_worker(
    lab: Lab, proxy: FaultProxy, fault: Fault
) -> None:
    worker = lab.start_stock_worker(endpoint=proxy.url)
    fault.operations = ("ReceiveMessage", "")
    proxy.break_with(fault)
    wait_for(lambda: worker.poll() is not None, seconds=30)


def test_a_failed_task_is_deleted_by_the_stock_worker(lab: Lab) -> None:
    lab.start_stock_worker()
    lab.send("boom", "x")
    wait_for(lambda: lab.notes("boom") and lab.empty())
    assert lab.dead_count() == 0


def test_out_of_memory_ends_the_stock_worker(lab: Lab) -> None:
    worker = lab.start_stock_worker()
    lab.send("memory")
    wait_for(lambda: worker.poll() is not None, seconds=20)


def test_used_up_retries_are_deleted_by_the_stock_worker(lab: Lab) -> None:
    lab.start_stock_worker()
    lab.send("again", 99)
    wait_for(lambda: len(lab.notes("again")) == 4 and lab.empty(), seconds=40)
    assert lab.dead_count() == 0


def test_a_stock_retry_is_a_copy_with_a_fresh_receive_count(lab: Lab) -> None:
    lab.start_stock_worker()
    lab.send("again", 1)
    wait_for(lambda: len(lab.notes("again")) == 2, seconds=20)
    assert "SendMessage" in str(_calls(lab))


def _calls(lab: Lab) -> dict[str, int]:
    from support.sqs_lab import server_state

    found: dict[str, int] = server_state(lab.url)["calls"]
    return found
