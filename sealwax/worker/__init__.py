"""The worker: Celery tasks that claim, open, run and settle sealed jobs."""
