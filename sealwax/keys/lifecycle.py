"""Making and listing keys where the role's secrets are kept.

Used by `sealwax keys` and `sealwax dev`: the only code that writes key secrets.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sealwax.errors import SealwaxError
from sealwax.keys.documents import KeyDocuments, KeyInUse, NoSuchKey
from sealwax.keys.public import PublicKeyring, Role
from sealwax.ledger import KeyUsage, Ledger
from sealwax.secrets import SecretNotFound, SecretSource
from sealwax.settings import Settings

__all__ = [
    "InitReport",
    "KeyNeeded",
    "KeysExist",
    "describe_keys",
    "init_keys",
    "retire_key",
    "rotate_keys",
]

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


def init_keys(
    settings: Settings, source: SecretSource, *, record: Callable[[], None] = lambda: None
) -> InitReport:
    """Make all keys of an environment that has none; do nothing where all exist.

    Parameters
    ----------
    record
        Called before anything is written; what it raises ends the work.

    Raises
    ------
    KeysExist
        Where some exist and some do not: making the missing ones could break
        what is sealed already. Names which.
    sealwax.secrets.SecretVersionConflict
        Somebody else makes keys at this moment.
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
    record()
    documents = KeyDocuments.create(settings.suite, int(time.time())).secrets()
    for name in DOCUMENTS:
        # Of two who begin at the same time, one ends here and changes nothing.
        source.put(name, documents[name], replacing=0)
    return InitReport(created=DOCUMENTS, existing=())


def _exists(source: SecretSource, name: str) -> bool:
    try:
        source.get(name)
    except SecretNotFound:
        return False
    return True


class KeyNeeded(SealwaxError):
    """Jobs still need this key; wait until they have ended, or use --force and lose them.

    Parameters
    ----------
    needing
        How many.
    """

    def __init__(self, key_id: str, needing: KeyUsage) -> None:
        self.needing = needing
        super().__init__(
            f"Key {key_id} is needed by {needing.open} open jobs, {needing.dead} dead letters and "
            f"{needing.results} results. Wait until the jobs have ended and the letters are "
            "resolved, or use --force: what is sealed to the key can then never be opened again."
        )


def rotate_keys(
    settings: Settings,
    source: SecretSource,
    role: Role,
    *,
    record: Callable[[], None] = lambda: None,
) -> list[str]:
    """Give a role new keys to seal to and sign with; return the new ids.

    Needs no drain: the old ones still open. The private half is written
    first, so that nobody seals to a key that its owner cannot read yet.
    `record` is called before that, as in `init_keys`.

    Raises
    ------
    sealwax.secrets.SecretVersionConflict
        Somebody else changed the keys meanwhile; nothing of theirs was
        overwritten. Run it again.
    """
    before = {row["id"] for row in describe_keys(source)}
    names = (f"{role}/keys", "shared/keyring")
    versions = {name: source.version(name) for name in names}
    documents = KeyDocuments({name: source.get(name) for name in names})
    rotated = documents.rotate(role, settings.suite, int(time.time())).secrets()
    record()
    for name in names:
        source.put(name, rotated[name], replacing=versions[name])
    return sorted({row["id"] for row in describe_keys(source)} - before)


def retire_key(
    source: SecretSource,
    ledger: Ledger,
    key_id: str,
    *,
    force: bool = False,
    record: Callable[[], None] = lambda: None,
) -> KeyUsage:
    """Remove a key that is no longer active; refuse while jobs need it.

    The shared document is written first: from then on everybody tells the key
    as retired, whoever still holds its private half. `record` is called before
    that, as in `init_keys`, and not where the key is kept.

    Raises
    ------
    KeyNeeded
        Unless `force`.
    sealwax.secrets.SecretVersionConflict
        As in `rotate_keys`.
    sealwax.keys.documents.KeyInUse, sealwax.keys.documents.NoSuchKey
    """
    row = next((row for row in describe_keys(source) if row["id"] == key_id), None)
    if row is None:
        raise NoSuchKey
    if row["state"] == "active":
        raise KeyInUse
    needing = ledger.needing(key_id)
    if not force and (needing.open or needing.dead or needing.results):
        raise KeyNeeded(key_id, needing)
    names = ("shared/keyring", f"{row['role']}/keys")
    versions = {name: source.version(name) for name in names}
    before = {name: source.get(name) for name in names}
    after = KeyDocuments(before).retire(key_id).secrets()
    record()
    for name in names:
        if after[name] != before[name]:
            source.put(name, after[name], replacing=versions[name])
    return needing


def describe_keys(source: SecretSource) -> list[Any]:
    """Return the public description of all keys of both roles."""
    return PublicKeyring.load(source.get("shared/keyring")).describe()
