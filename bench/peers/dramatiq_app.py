"""The same job on dramatiq_sqs."""

from __future__ import annotations

import sys

import common
import dramatiq
from dramatiq_sqs import SQSBroker

broker = SQSBroker()
dramatiq.set_broker(broker)


@dramatiq.actor(queue_name=common.QUEUE)
def noop(payload: str, sent: float = 0.0) -> None:  # noqa: ARG001 - its size is measured
    common.note(sent)


if __name__ == "__main__":

    def once(sent: float) -> None:
        noop.send(common.PAYLOAD, sent)

    if sys.argv[1] == "bulk":  # no bulk path: one thread, one call a message
        common.send(once, 1, int(sys.argv[2]), 0.0)
    else:
        common.send(once, int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
