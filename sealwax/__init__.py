"""Sealwax: sealed, never-lost, never-blocked Celery tasks on Amazon SQS."""

from __future__ import annotations

from importlib import metadata

__all__ = ["version"]


def version() -> str:
    """Return the installed version."""
    try:
        return metadata.version("sealwax")
    except metadata.PackageNotFoundError:
        return "development"
