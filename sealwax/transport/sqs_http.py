"""SQS's batch calls and receives by the direct way.

The interpreter lock that boto3's models hold is what the worker's event loop
waits for. Every argument, answer and exception of the four operations is what
the client would take, give and raise, but for `ResponseMetadata`. All other
operations are the client's, and so is every call while the direct way is shut.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from sealwax.aws.direct_calls import DirectCalls, NotDirect, WayTaken

__all__ = ["SqsHttpClient"]


class SqsHttpClient:
    """A boto3 SQS client whose frequent calls are cheap.

    Parameters
    ----------
    client
        Makes the first call, and all but the four operations.
    credentials
        Returns botocore's credentials of the client's session, or None.
    """

    def __init__(self, client: Any, credentials: Callable[[], Any]) -> None:
        self._client = client
        self._calls = DirectCalls(client, credentials)

    def __getattr__(self, name: str) -> Any:
        """Return the client's attribute."""
        return getattr(self._client, name)

    @property
    def direct(self) -> bool:
        """Whether calls go directly, not by the client."""
        return self._calls.ready

    @property
    def taken(self) -> WayTaken:
        """By which way calls go now."""
        return self._calls.taken

    def receive_message(self, **parameters: Any) -> dict[str, Any]:
        """Do as the client's method of this name."""
        try:
            answer = self._calls.send("ReceiveMessage", parameters)
        except NotDirect:
            return self._client.receive_message(**parameters)  # type: ignore[no-any-return]
        for message in answer.get("Messages") or ():
            for value in (message.get("MessageAttributes") or {}).values():
                # boto3 has decoded what it received.
                if isinstance(value.get("BinaryValue"), str):
                    value["BinaryValue"] = base64.b64decode(value["BinaryValue"])
        return answer

    def send_message_batch(self, **parameters: Any) -> dict[str, Any]:
        """Do as the client's method of this name."""
        try:
            return self._calls.send("SendMessageBatch", parameters)
        except NotDirect:
            return self._client.send_message_batch(**parameters)  # type: ignore[no-any-return]

    def delete_message_batch(self, **parameters: Any) -> dict[str, Any]:
        """Do as the client's method of this name."""
        try:
            return self._calls.send("DeleteMessageBatch", parameters)
        except NotDirect:
            return self._client.delete_message_batch(**parameters)  # type: ignore[no-any-return]

    def change_message_visibility_batch(self, **parameters: Any) -> dict[str, Any]:
        """Do as the client's method of this name."""
        try:
            return self._calls.send("ChangeMessageVisibilityBatch", parameters)
        except NotDirect:
            return self._client.change_message_visibility_batch(**parameters)  # type: ignore[no-any-return]
