"""The interface of secret sources, their errors, and the file source."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any, Protocol

from sealwax.errors import SealwaxError

__all__ = [
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


class SecretError(SealwaxError):
    """A secret cannot be read or written; see the chained cause."""


class SecretNotFound(SecretError):
    """There is no such secret; make keys with `sealwax keys init`, put others with credstash."""


class SecretAccessDenied(SecretError):
    """The role may not read or write this secret; check its IAM policy and its KMS key's."""


class SecretCorrupt(SecretError):
    """The secret does not decrypt: it was altered, or written for another name or environment."""


class SecretsUnreachable(SecretError):
    """The secret store does not answer; try again later."""


class SecretVersionConflict(SecretError):
    """Somebody else wrote this secret just now; read it and decide again."""


class SecretTooLarge(SecretError):
    """The secret is larger than 300,000 bytes, about what one DynamoDB item holds encrypted."""


class SecretSource(Protocol):
    """Reads and writes named secrets."""

    def get(self, name: str) -> str:
        """Return the newest version of a secret.

        Raises
        ------
        SecretNotFound, SecretAccessDenied, SecretCorrupt, SecretsUnreachable
        """

    def version(self, name: str) -> int:
        """Return the number of the newest version, 0 where there is no such secret.

        Raises
        ------
        SecretAccessDenied, SecretCorrupt, SecretsUnreachable
        """

    def put(self, name: str, value: str, *, replacing: int | None = None) -> int:
        """Write a new version and return its number; versions are never overwritten.

        Parameters
        ----------
        replacing
            The version, asked for before reading, that `value` was made from
            (0: there was none): what somebody else wrote since is not lost.

        Raises
        ------
        SecretVersionConflict, SecretTooLarge, SecretAccessDenied, SecretsUnreachable
        """


class FileSource:
    """Secrets in a JSON object in a file: for unit tests, never for production."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def get(self, name: str) -> str:
        """Return the secret; see `SecretSource`."""
        try:
            return str(self._read()[name][-1])
        except (KeyError, IndexError):
            raise SecretNotFound(f"There is no secret {name} in {self._path.name}.") from None

    def version(self, name: str) -> int:
        """Return the newest version's number; see `SecretSource`."""
        return len(self._read().get(name, []))

    def put(self, name: str, value: str, *, replacing: int | None = None) -> int:
        """Append a version; see `SecretSource`."""
        found = self._read()
        versions = found.setdefault(name, [])
        if replacing is not None and replacing != len(versions):
            raise SecretVersionConflict(
                f"Somebody else wrote secret {name} just now; read it and decide again."
            )
        versions.append(value)
        with tempfile.NamedTemporaryFile(
            "w", dir=self._path.parent, delete=False, encoding="utf-8"
        ) as file:
            json.dump(found, file)
        Path(file.name).replace(self._path)
        return len(versions)

    def _read(self) -> dict[str, list[str]]:
        if not self._path.exists():
            return {}
        try:
            found: Any = json.loads(self._path.read_text(encoding="utf-8"))
        except ValueError:
            raise SecretCorrupt(f"{self._path.name} is not JSON.") from None
        if not isinstance(found, dict) or not all(
            isinstance(versions, list) and all(isinstance(value, str) for value in versions)
            for versions in found.values()
        ):
            raise SecretCorrupt(f"{self._path.name} is not an object of lists of texts.")
        return found
