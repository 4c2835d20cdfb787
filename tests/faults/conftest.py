"""Each test: an SQS server, a fault proxy before it, a queue, real workers."""

from support.lab_fixtures import lab, make_lab, proxy, sqs_url

__all__ = ["lab", "make_lab", "proxy", "sqs_url"]
