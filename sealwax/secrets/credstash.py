"""Secrets in CredStash: encrypted by KMS, kept in DynamoDB.

Of the library only `getSecret` and `putSecret` are used, with clients of ours
that have time-outs. Its other calls end the process, print, or read every
secret there is; so the newest version is found by a query of our own. The
encryption context holds the secret's name and environment: a row copied under
another name does not decrypt.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from sealwax.aws.errors import error_code
from sealwax.secrets.source import (
    SecretAccessDenied,
    SecretCorrupt,
    SecretError,
    SecretNotFound,
    SecretsUnreachable,
    SecretTooLarge,
    SecretVersionConflict,
)

__all__ = ["CredStashSource"]

#: Largest secret in bytes. A DynamoDB item has at most 400 KB = 409,600 bytes,
#: names of attributes included; base64 adds a third to the ciphertext, all else
#: together has under 3 KB: the name at most 2,048, the data key about 300.
#: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html
MAX_BYTES = 300_000

_DENIED = frozenset(
    {
        "AccessDeniedException",
        "AccessDenied",
        "UnrecognizedClientException",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "DisabledException",
        "KMSInvalidStateException",
    }
)
_CORRUPT = frozenset({"InvalidCiphertextException", "IncorrectKeyException"})
_MISSING = frozenset({"ResourceNotFoundException", "NotFoundException"})


class CredStashSource:
    """Secrets of one environment.

    Parameters
    ----------
    table
        DynamoDB table in CredStash's layout.
    environment
        Bound to each secret in its encryption context.
    kms_key_for
        Alias of the KMS key that protects a secret of this name.
    """

    def __init__(
        self,
        *,
        table: str,
        environment: str,
        kms_client: Any,
        dynamodb_resource: Any,
        dynamodb_client: Any,
        kms_key_for: Callable[[str], str],
    ) -> None:
        self._table = table
        self._environment = environment
        self._kms = kms_client
        self._resource = dynamodb_resource
        self._client = dynamodb_client
        self._kms_key_for = kms_key_for

    def get(self, name: str) -> str:
        """Return the newest version; see `SecretSource`."""
        version = self._newest(name)
        if version is None:
            raise SecretNotFound(
                f"There is no secret {name} in table {self._table}; make keys with "
                "`sealwax keys init`, put others with credstash."
            )
        library = _library()
        try:
            found = library.getSecret(
                name,
                version=version,
                table=self._table,
                context=self._context(name),
                dynamodb=self._resource,
                kms=self._kms,
            )
        except Exception as error:  # the library raises bare types
            raise self._explain(name, error, library) from error
        return str(found)

    def version(self, name: str) -> int:
        """Return the newest version's number; see `SecretSource`."""
        return int(self._newest(name) or 0)

    def put(self, name: str, value: str, *, replacing: int | None = None) -> int:
        """Write the next version; see `SecretSource`."""
        if len(value.encode()) > MAX_BYTES:
            raise SecretTooLarge(
                f"Secret {name} is larger than {MAX_BYTES} bytes; keep the data elsewhere and "
                "put its key here."
            )
        version = 1 + (self.version(name) if replacing is None else replacing)
        library = _library()
        try:
            library.putSecret(
                name,
                value,
                version=version,
                kms_key=self._kms_key_for(name),
                table=self._table,
                context=self._context(name),
                dynamodb=self._resource,
                kms=self._kms,
            )
        except Exception as error:
            if error_code(error) == "ConditionalCheckFailedException":
                # `name` exists in that version: somebody was quicker.
                raise SecretVersionConflict(
                    f"Somebody else wrote secret {name} just now; read it and decide again."
                ) from error
            raise self._explain(name, error, library) from error
        return version

    def _context(self, name: str) -> dict[str, str]:
        return {"name": name, "environment": self._environment}

    def _newest(self, name: str) -> str | None:
        try:
            answer = self._client.query(
                TableName=self._table,
                KeyConditionExpression="#name = :name",
                ExpressionAttributeNames={"#name": "name", "#version": "version"},
                ExpressionAttributeValues={":name": {"S": name}},
                ProjectionExpression="#version",
                ScanIndexForward=False,
                ConsistentRead=True,
                Limit=1,
            )
        except (ClientError, BotoCoreError) as error:
            raise self._explain(name, error, None) from error
        items = answer.get("Items", [])
        if not items:
            return None
        version = items[0].get("version", {}).get("S", "")
        if not (version.isascii() and version.isdigit()):
            raise SecretCorrupt(f"The row of secret {name} is not CredStash's.")
        return str(version)

    def _explain(self, name: str, error: Exception, library: Any) -> SecretError:
        """Return our error for whatever CredStash, KMS or DynamoDB raised."""
        text = str(error)
        code = error_code(error)
        if library is not None:
            if isinstance(error, library.ItemNotFound):
                return SecretNotFound(f"There is no secret {name} in table {self._table}.")
            if isinstance(error, library.IntegrityError):
                return SecretCorrupt(f"Secret {name} was altered: its HMAC does not fit.")
            if isinstance(error, library.KmsError):
                # CredStash keeps KMS's code only in the text.
                cause = error.__context__
                code = error_code(cause) if cause is not None else code
        for codes, kind, what in (
            (_DENIED, SecretAccessDenied, "may not be used by this role; check IAM and KMS"),
            (_CORRUPT, SecretCorrupt, "does not decrypt for this name and environment"),
            (_MISSING, SecretNotFound, "has no table or KMS key; run `sealwax check`"),
        ):
            if code in codes or any(f"({known})" in text for known in codes):
                return kind(f"Secret {name} {what} ({code}).")
        if isinstance(error, KeyError | ValueError | TypeError | IndexError):
            return SecretCorrupt(f"The row of secret {name} is not CredStash's.")
        return SecretsUnreachable(f"Secret {name} cannot be reached now ({code}); try again later.")


def _library() -> Any:
    with warnings.catch_warnings():
        # Its regular expressions are not raw strings.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", SyntaxWarning)
        import credstash
    return credstash
