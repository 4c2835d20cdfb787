"""The SQS clients of one process.

They make one attempt a call: retries, back-off and deadlines are the batcher's and
the receivers', which know what the call is for. What errors mean is in
`sealwax.aws.errors`.
"""

from __future__ import annotations

from typing import Any

from sealwax.aws.clients import Aws, AwsTimeouts
from sealwax.transport.options import TransportOptions
from sealwax.transport.sqs_http import SqsHttpClient

__all__ = ["Clients"]


class Clients:
    """The clients of one process: one for long polls, one for all else."""

    def __init__(self, options: TransportOptions) -> None:
        self.aws = Aws(
            AwsTimeouts.model_validate(
                {
                    "connect": options.connect_timeout,
                    "read": options.read_timeout,
                    "attempts": 1,
                }
            ),
            region=options.region,
            endpoint_url=options.endpoint_url,
            keys=options.keys,
        )
        #: For sends, deletes and visibility changes.
        self.quick = self._wire()
        #: For receives, which may take their waiting time on top.
        self.polling = self._wire(read_timeout=options.read_timeout + options.wait_time)

    def _wire(self, **overrides: Any) -> SqsHttpClient:
        # Parameters are built by us alone: validating them again costs a third of a call.
        client = self.aws.client("sqs", parameter_validation=False, **overrides)
        return SqsHttpClient(client, self.aws.credentials)
