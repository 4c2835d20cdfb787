"""Keyed hashes: what stands outside in place of tenants, idempotency keys and requests.

HMAC-SHA-256 under keys that are read at start, each use under a label of its
own. Guessing a tenant's name or an idempotency key from a queue, a table or a
log would need the key.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sealwax.aws.clock import AWS_CLOCK
from sealwax.errors import SealwaxError

__all__ = ["KeyedHashes", "KeyedHashesInvalid", "TokenDigest", "rotate_hmac"]


class KeyedHashesInvalid(SealwaxError):
    """The HMAC keys are not what `sealwax keys init` wrote; restore the secret's last version."""


class _Key(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)
    version: int = Field(ge=1)
    key: str = Field(pattern=r"^[0-9a-f]{64}$", repr=False)
    state: Literal["active", "open", "next"]
    #: Epoch seconds from which a `next` key is the active one.
    active_from: int | None = Field(default=None, ge=0)


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)
    tenant: str = Field(pattern=r"^[0-9a-f]{64}$", repr=False)
    keys: list[_Key] = Field(min_length=1)


def _parse(text: str) -> _Document:
    try:
        return _Document.model_validate_json(text)
    except ValidationError:
        raise KeyedHashesInvalid from None


def rotate_hmac(text: str, *, now: float, after: float) -> str:
    """Return the secret `shared/hmac` with a new key; older hashes stay recognised.

    The tenants' key stays. The new key is used only after a time in which every
    role reads the new text: were it used at once, one API process would make a
    job under it, and another that does not know it yet would take the request's
    repeat for a new one.

    Parameters
    ----------
    now
        Epoch seconds.
    after
        Seconds until the new key is used: more than any role's interval between
        two readings.

    Raises
    ------
    KeyedHashesInvalid
        Also where the last rotation's key is not in use yet.
    """
    document = _parse(text)
    for key in document.keys:
        if key.state == "next" and now < (key.active_from or 0):
            raise KeyedHashesInvalid("The last rotation is not over; rotate again when it is.")
    version = max(key.version for key in document.keys) + 1
    active = _active(document.keys, now)
    for key in document.keys:
        key.state = "active" if key is active else "open"
        key.active_from = None
    document.keys.append(
        _Key(
            version=version,
            key=secrets.token_hex(32),
            state="next",
            active_from=int(now + after),
        )
    )
    return document.model_dump_json(exclude_none=True)


def _active(keys: list[_Key], now: float) -> _Key:
    """Return the key that is used now.

    Raises
    ------
    KeyedHashesInvalid
    """
    begun = [key for key in keys if key.state == "next" and now >= (key.active_from or 0)]
    active = [key for key in keys if key.state == "active"]
    if len(active) != 1 or len([key for key in keys if key.state == "next"]) > 1:
        raise KeyedHashesInvalid(
            "Secret shared/hmac needs exactly one active key, and one next at most."
        )
    return begun[0] if begun else active[0]


def _mac(key: bytes, label: str, *parts: str) -> bytes:
    # Each part with its length: ("ab", "c") and ("a", "bc") differ.
    message = f"sealwax {label}\n".encode()
    for part in parts:
        raw = part.encode()
        message += len(raw).to_bytes(8, "big") + raw
    return hmac.new(key, message, hashlib.sha256).digest()


def _canonical(value: Any) -> str:
    """Return one text for one JSON value: member order and spaces do not matter.

    1 and 1.0 differ, as they do for many a contract; 1.0 and 1.00 do not.
    """
    return json.dumps(
        value, ensure_ascii=True, allow_nan=False, separators=(",", ":"), sort_keys=True
    )


@dataclass(frozen=True, kw_only=True)
class JobNames:
    """What stands for a request outside the API, none of it readable.

    Parameters
    ----------
    tenant
        As `KeyedHashes.tenant_ref`.
    group
        The tenant's group in SQS's fair queues, as `KeyedHashes.fair_group`.
    job_ids
        Under which a request with an idempotency key is known, or may be: the
        one for a new job first. Empty without a key.
    fingerprint
        As `KeyedHashes.fingerprint`; None without a key.
    """

    tenant: str
    group: str
    job_ids: list[str]
    fingerprint: str | None


class KeyedHashes:
    """The keyed hashes of an environment.

    The tenants' key is not rotated: a tenant's jobs must be found and erased
    under the same name for as long as entries live. The others' keys carry a
    version: hashes of older versions are still recognised.
    """

    def __init__(
        self, tenant_key: bytes, keys: list[_Key], clock: Callable[[], float] = AWS_CLOCK
    ) -> None:
        self._tenant_key = tenant_key
        self._states = keys
        self._keys = {key.version: bytes.fromhex(key.key) for key in keys}
        self._clock = clock
        _active(keys, clock())

    def __repr__(self) -> str:
        return f"Digests(version {self._active})"

    @property
    def _active(self) -> int:
        return _active(self._states, self._clock()).version

    @classmethod
    def load(cls, text: str, *, clock: Callable[[], float] = AWS_CLOCK) -> KeyedHashes:
        """Read the secret `shared/hmac`.

        Raises
        ------
        KeyedHashesInvalid
        """
        document = _parse(text)
        return cls(bytes.fromhex(document.tenant), document.keys, clock)

    def names(
        self, tenant: str, task: str, payload: Any, *, idempotency_key: str | None
    ) -> JobNames:
        """Return all names of a tenant's request."""
        reference = self.tenant_ref(tenant)
        group = self.fair_group(reference)
        if idempotency_key is None:
            return JobNames(tenant=reference, group=group, job_ids=[], fingerprint=None)
        return JobNames(
            tenant=reference,
            group=group,
            job_ids=self.job_id_candidates(tenant, idempotency_key),
            fingerprint=self.fingerprint(tenant, task, payload),
        )

    def tenant_ref(self, tenant: str) -> str:
        """Return what stands for a tenant everywhere outside the API: 32 hex digits."""
        return _mac(self._tenant_key, "tenant", tenant).hex()[:32]

    def job_id(self, tenant: str, idempotency_key: str) -> str:
        """Return the job id of a tenant's key under the active version: 128 bits in hex."""
        return self.job_id_candidates(tenant, idempotency_key)[0]

    def job_id_candidates(self, tenant: str, idempotency_key: str) -> list[str]:
        """Return the job ids under every version, the active one first."""
        active = self._active
        versions = sorted(self._keys, key=lambda version: (version != active, -version))
        return [
            _mac(self._keys[version], "job id", tenant, idempotency_key).hex()[:32]
            for version in versions
        ]

    def fingerprint(self, tenant: str, task: str, payload: Any) -> str:
        """Return the hash of a request, as `v<version>:<64 hex digits>`."""
        return self._fingerprint(self._active, tenant, task, payload)

    def fingerprint_matches(self, stored: str, tenant: str, task: str, payload: Any) -> bool:
        """Return whether a stored hash, of whichever version, is of this request."""
        version = next((v for v in self._keys if stored.startswith(f"v{v}:")), None)
        if version is None:
            return False
        ours = self._fingerprint(version, tenant, task, payload)
        return hmac.compare_digest(ours.encode(), stored.encode())

    def group(self, tenant: str, ordering_key: str) -> str:
        """Return the FIFO message group of a tenant's ordering key."""
        return _mac(self._tenant_key, "group", tenant, ordering_key).hex()[:32]

    def fair_group(self, tenant: str) -> str:
        """Return the message group for SQS's fair queues: one a tenant."""
        return _mac(self._tenant_key, "fair group", tenant).hex()[:32]

    def _fingerprint(self, version: int, tenant: str, task: str, payload: Any) -> str:
        mac = _mac(self._keys[version], "fingerprint", tenant, task, _canonical(payload))
        return f"v{version}:{mac.hex()}"


class TokenDigest:
    """The keyed hash under which tokens are stored."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def __repr__(self) -> str:
        return "TokenDigest()"

    @classmethod
    def load(cls, text: str) -> TokenDigest:
        """Read the secret `api/token-key`: 64 hex digits.

        Raises
        ------
        KeyedHashesInvalid
        """
        try:
            key = bytes.fromhex(text)
        except ValueError:
            key = b""
        if len(key) != 32:
            raise KeyedHashesInvalid("Secret api/token-key is not 64 hex digits; restore it.")
        return cls(key)

    def digest(self, token: str) -> str:
        """Return a token's hash: 64 hex digits."""
        return _mac(self._key, "token", token).hex()

    def checked(self, secret: str) -> str:
        """Return a token's random part with its check behind it: 11 characters for 64 bits."""
        check = _mac(self._key, "token check", secret)[:8]
        return secret + base64.urlsafe_b64encode(check).decode("ascii").rstrip("=")

    def is_checked(self, text: str) -> bool:
        """Return whether `checked` made this text."""
        return hmac.compare_digest(self.checked(text[:-11]).encode(), text.encode())
