"""Celery task, request and consumer classes for the transport; they know no ledger."""
