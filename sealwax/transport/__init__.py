"""A kombu transport for Amazon SQS: batched, leased, unbreakable.

Serves Sealwax's own workers and any Celery app: `docs/transport.md`. boto3
only; a worker is never ended by a message, by AWS or by the network.
"""

from sealwax.transport.transport import Transport

__all__ = ["Transport"]
