"""Where a role's secrets come from, as the settings say.

Called by whoever reads or writes secrets: the runtime of each role, and the
commands for keys and tokens.
"""

from __future__ import annotations

from sealwax.aws.clients import Aws
from sealwax.secrets.source import FileSource, SecretSource
from sealwax.settings import Settings

__all__ = ["make_source"]


def make_source(settings: Settings, aws: Aws) -> SecretSource:
    """Return where secrets come from: CredStash, or a file where the settings name one."""
    if settings.secrets_file is not None:
        return FileSource(settings.secrets_file)

    from sealwax.secrets.credstash import CredStashSource

    def alias(name: str) -> str:
        owner = name.split("/", 1)[0]
        if owner == "app":
            return settings.kms_alias("worker")
        if owner in ("api", "worker", "steward"):
            return settings.kms_alias(owner)  # type: ignore[arg-type]
        return settings.kms_alias("shared")

    return CredStashSource(
        table=settings.table_name("secrets"),
        environment=settings.environment,
        kms_client=aws.client("kms"),
        dynamodb_resource=aws.resource("dynamodb"),
        dynamodb_client=aws.client("dynamodb"),
        kms_key_for=alias,
    )
