"""Where queues are: their URLs by SQS name, each asked for once.

Called by whoever talks to queues with a plain client: the steward's duties and
the operators' view of lanes. The transport has its own, which also knows
queues by logical name.
"""

from __future__ import annotations

from typing import Any

__all__ = ["QueueUrls"]


class QueueUrls:
    """URLs of one client's queues.

    Parameters
    ----------
    sqs
        A boto3 SQS client with time-outs.
    """

    def __init__(self, sqs: Any) -> None:
        self._sqs = sqs
        self._known: dict[str, str] = {}

    def get(self, name: str) -> str:
        """Return a queue's URL; botocore's errors where SQS cannot say."""
        if name not in self._known:
            self._known[name] = str(self._sqs.get_queue_url(QueueName=name)["QueueUrl"])
        return self._known[name]

    def forget(self, name: str) -> None:
        """Ask again next time."""
        self._known.pop(name, None)
