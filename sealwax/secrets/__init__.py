"""Where secrets come from. CredStash in AWS; a file in unit tests.

Roles read through a `SecretSource` once at start and when they refresh, never
for a job. No error of a source carries a secret.
"""

from sealwax.secrets.credstash import CredStashSource
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
