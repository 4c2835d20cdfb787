"""Making and listing keys where the role's secrets are kept.

Used by `sealwax keys` and `sealwax dev`; the only code that writes key secrets.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from sealwax.errors import SealwaxError
from sealwax.keyring import KeyDocuments, Keyring
from sealwax.secrets import SecretNotFound, SecretSource
from sealwax.settings import Settings

__all__ = ["InitReport", "KeysExist", "describe_keys", "init_keys"]

#: In the order in which they are written: the public document last, so that
#: nobody seals to a key whose private half is not stored yet.
DOCUMENTS = ("worker/keys", "api/keys", "shared/hmac", "api/token-key", "shared/keyring")


class KeysExist(SealwaxError):
    """Keys exist already; use `sealwax keys rotate` to renew them."""


@dataclass(frozen=True)
class InitReport:
    """What `init_keys` wrote and what it found."""

    created: tuple[str, ...]
    existing: tuple[str, ...]


def init_keys(settings: Settings, source: SecretSource) -> InitReport:
    """Make all keys of an environment that has none; do nothing where all exist.

    Raises
    ------
    KeysExist
        Where some exist and some do not: making the missing ones could break
        what is sealed already. Names which.
    """
    existing = tuple(name for name in DOCUMENTS if _exists(source, name))
    if len(existing) == len(DOCUMENTS):
        return InitReport(created=(), existing=existing)
    if existing:
        missing = ", ".join(name for name in DOCUMENTS if name not in existing)
        raise KeysExist(
            f"{', '.join(existing)} exist but {missing} do not; restore the missing ones, or "
            "delete all of them if nothing sealed must be opened any more."
        )
    documents = KeyDocuments.create(settings.suite, int(time.time())).secrets()
    for name in DOCUMENTS:
        source.put(name, documents[name])
    return InitReport(created=DOCUMENTS, existing=())


def _exists(source: SecretSource, name: str) -> bool:
    try:
        source.get(name)
    except SecretNotFound:
        return False
    return True


def describe_keys(source: SecretSource) -> list[Any]:
    """Return the public description of all keys of both roles."""
    return list(Keyring.describe_shared(source.get("shared/keyring")))
