"""Where secrets come from. CredStash in AWS; a file in unit tests.

Roles read through a `SecretSource` once at start and when they refresh, never
for a job. No error of a source carries a secret.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sealwax.secrets.source import (
    FileSource,
    SecretAccessDenied,
    SecretCorrupt,
    SecretError,
    SecretNotFound,
    SecretSource,
    SecretsUnreachable,
    SecretTooLarge,
    SecretVersionConflict,
)

if TYPE_CHECKING:
    from sealwax.secrets.credstash import CredStashSource

__all__ = [
    "CredStashSource",
    "FileSource",
    "SecretAccessDenied",
    "SecretCorrupt",
    "SecretError",
    "SecretNotFound",
    "SecretSource",
    "SecretTooLarge",
    "SecretVersionConflict",
    "SecretsUnreachable",
]


def __getattr__(name: str) -> Any:
    """Load CredStash when it is asked for: it needs the extra `credstash`."""
    if name == "CredStashSource":
        from sealwax.secrets.credstash import CredStashSource

        return CredStashSource
    raise AttributeError(f"module 'sealwax.secrets' has no attribute {name!r}")
