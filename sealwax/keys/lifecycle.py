"""Making and listing keys where the role's secrets are kept.

Used by `sealwax keys` and `sealwax dev`: the only code that writes key secrets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sealwax.aws.clock import AWS_CLOCK
from sealwax.errors import SealwaxError
from sealwax.keys.documents import KeyDocuments, KeyInUse, NoSuchKey
from sealwax.keys.public import SHARED, PublicKeyring, Role, private_name
from sealwax.ledger import KeyUsage, Ledger
from sealwax.secrets import SecretNotFound, SecretSource
from sealwax.settings import Settings

__all__ = [
    "InitReport",
    "KeyNeeded",
    "KeysExist",
    "complete_lanes",
    "describe_keys",
    "init_keys",
    "key_documents",
    "lanes_without_key",
    "retire_key",
    "rotate_keys",
]

#: Secrets of every environment, besides the workers' keys.
_COMMON = ("api/keys", "shared/hmac", "api/token-key", SHARED)


def key_documents(settings: Settings) -> tuple[str, ...]:
    """Return the secrets that a new environment gets, in the order in which they are written.

    The public document comes last, so that nobody seals to a key whose private
    half is not stored yet.
    """
    lanes: list[str | None] = [None]
    if settings.keys.per_lane:
        lanes = [*sorted(settings.lanes)]
    return (*(private_name("worker", lane) for lane in lanes), *_COMMON)


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
    names = key_documents(settings)
    if _exists(source, SHARED):
        # It says which scheme is in force here, whatever the settings say of new ones.
        shared = PublicKeyring.load(source.get(SHARED))
        names = (*shared.private_names("worker"), *_COMMON)
    looked_at = dict.fromkeys((*names, private_name("worker")))
    existing = tuple(name for name in looked_at if _exists(source, name))
    missing = [name for name in names if name not in existing]
    if not missing:
        return InitReport(created=(), existing=tuple(names))
    if existing:
        raise KeysExist(
            f"{', '.join(existing)} exist but {', '.join(missing)} do not; restore the missing "
            "ones, or delete all of them if nothing sealed must be opened any more."
        )
    lanes = settings.lanes if settings.keys.per_lane else ()
    documents = KeyDocuments.create(settings.suite, int(AWS_CLOCK()), lanes).secrets()
    record()
    for name in names:
        # Of two who begin at the same time, one ends here and changes nothing.
        source.put(name, documents[name], replacing=0)
    return InitReport(created=names, existing=())


def complete_lanes(
    settings: Settings, source: SecretSource, *, record: Callable[[], None] = lambda: None
) -> list[str]:
    """Give those lanes of the settings their first keys that can have none sealed to them.

    Nothing is replaced. Used where nobody runs commands by hand: `sealwax dev`.
    Returns the lanes.

    Raises
    ------
    sealwax.secrets.SecretVersionConflict
        As in `rotate_keys`.
    """
    lanes = lanes_without_key(settings, source)
    if lanes:
        rotate_keys(settings, source, "worker", lanes=lanes, record=record)
    return lanes


def lanes_without_key(settings: Settings, source: SecretSource) -> list[str]:
    """Return those lanes of the settings for whose workers nothing can be sealed."""
    return PublicKeyring.load(source.get(SHARED)).lanes_without_key(settings.lanes)


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
    lanes: Sequence[str] | None = None,
    every_lane: bool = False,
    record: Callable[[], None] = lambda: None,
) -> list[str]:
    """Give a role new keys to seal to and sign with; return the new ids.

    Needs no drain: the old ones still open. The private halves are written
    first, so that nobody seals to a key that its owner cannot read yet.
    `record` is called before that, as in `init_keys`.

    Parameters
    ----------
    lanes
        Whose workers; a lane without keys of its own gets its first. Default:
        those that have active keys, the key for all lanes among them.
    every_lane
        All lanes of the settings; the key for all lanes stops being active.

    Raises
    ------
    sealwax.errors.ConfigurationError
        Where a lane is not configured.
    sealwax.secrets.SecretVersionConflict
        Somebody else changed the keys meanwhile; nothing of theirs was
        overwritten. Run it again.
    """
    shared_version = source.version(SHARED)
    shared_json = source.get(SHARED)
    shared = PublicKeyring.load(shared_json)
    targets: list[str | None] = [None]
    if role == "worker":
        if every_lane:
            targets = [*sorted(settings.lanes)]
        elif lanes is not None:
            for lane in lanes:
                settings.queue_name(lane)
            targets = [*lanes]
        else:
            targets = shared.worker_lanes(active=True) or [None]
    before = {row["id"] for row in shared.describe()}
    laneless = every_lane and None in shared.worker_lanes(active=True)
    names = [private_name(role, lane) for lane in [*targets, *([None] if laneless else [])]]
    # Versions first: what somebody writes after that is found when ours is written.
    versions = {name: source.version(name) for name in names} | {SHARED: shared_version}
    documents = {name: source.get(name) for name in names if versions[name] or role == "api"}
    rotated = (
        KeyDocuments({**documents, SHARED: shared_json})
        .rotate(role, settings.suite, int(AWS_CLOCK()), targets, close_laneless=laneless)
        .secrets()
    )
    record()
    for name in (*names, SHARED):
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
    names = (SHARED, private_name(row["role"], row["lane"]))
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
    return PublicKeyring.load(source.get(SHARED)).describe()
