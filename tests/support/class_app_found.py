"""Tasks that autodiscovery finds."""

from __future__ import annotations

from celery import shared_task
from class_app import Plain, decorate  # type: ignore[import-not-found]

decorate("found", lambda **options: shared_task(**options, base=Plain))
