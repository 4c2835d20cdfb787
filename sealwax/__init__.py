"""Sealwax: sealed, never-lost, never-blocked Celery tasks on Amazon SQS.

What stands here is the public API, loaded when it is first asked for. The
modules directly under `sealwax` are public too; packages under it are rooms of
the engine and may change without notice, but for `sealwax.testing`,
`sealwax.transport` and `sealwax.web`'s `create_app`.
"""

from __future__ import annotations

import importlib
from importlib import metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sealwax.enrichment import EnrichmentContext
    from sealwax.errors import ConfigurationError, SealwaxError
    from sealwax.job import Cancelled, Job, LeaseLost
    from sealwax.outcomes import Rejected, Transient
    from sealwax.retry import RetryPolicy
    from sealwax.settings import Settings, load_settings
    from sealwax.task_definition import InvalidPayload, TaskDefinition, task
    from sealwax.testing import run_task

__all__ = [
    "Cancelled",
    "ConfigurationError",
    "EnrichmentContext",
    "InvalidPayload",
    "Job",
    "LeaseLost",
    "Rejected",
    "RetryPolicy",
    "SealwaxError",
    "Settings",
    "TaskDefinition",
    "Transient",
    "load_settings",
    "run_task",
    "task",
    "version",
]

_HOMES = {
    "Cancelled": "job",
    "ConfigurationError": "errors",
    "EnrichmentContext": "enrichment",
    "InvalidPayload": "task_definition",
    "Job": "job",
    "LeaseLost": "job",
    "Rejected": "outcomes",
    "RetryPolicy": "retry",
    "SealwaxError": "errors",
    "Settings": "settings",
    "TaskDefinition": "task_definition",
    "Transient": "outcomes",
    "load_settings": "settings",
    "run_task": "testing",
    "task": "task_definition",
}


def __getattr__(name: str) -> Any:
    """Load a public name when it is asked for: `sealwax.transport` must stay light."""
    if name not in _HOMES:
        raise AttributeError(f"module 'sealwax' has no attribute {name!r}")
    return getattr(importlib.import_module(f"sealwax.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)


def version() -> str:
    """Return the installed version."""
    try:
        return metadata.version("sealwax")
    except metadata.PackageNotFoundError:
        return "development"
