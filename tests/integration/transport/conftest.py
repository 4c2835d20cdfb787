"""One in-memory SQS for each test process, one queue for each test."""

from support.lab_fixtures import lab, make_lab, proxy, sqs_url

__all__ = ["lab", "make_lab", "proxy", "sqs_url"]
