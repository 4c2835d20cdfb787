"""Sealwax: sealed, never-lost, never-blocked Celery tasks on Amazon SQS."""
