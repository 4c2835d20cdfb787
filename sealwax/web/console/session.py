"""The console's session: one encrypted cookie, and on the server which ones have ended.

The cookie holds the hash of the token that was signed in with, never the
token: it is looked up anew for every page, so a revoked token ends its
sessions too. Whoever signs out ends the session itself, in every API process,
whoever has a copy of the cookie. The sign-in form is bound to a cookie of its
own, so that looking at it changes no session: a browser that follows another
site's link does not send ours along. Called by `sealwax.web.console.guard` and
the sign-in page alone.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sealwax.aws.clock import AWS_CLOCK
from sealwax.control.table import ControlTable

__all__ = ["COOKIE", "FORM_COOKIE", "LIFETIME", "EndedSessions", "Session", "SessionCodec"]

COOKIE = "sealwax_console"

#: What the sign-in form is bound to: a session that nobody has signed in to.
FORM_COOKIE = "sealwax_console_form"

#: Longest session, in seconds: a working day.
LIFETIME = 12 * 3600

#: Kind of the control table's items that say which sessions have ended.
KIND = "session"

_NONCE = 12
_LABEL = b"sealwax console session 1"


@dataclass(frozen=True)
class Session:
    """One browser's session.

    Parameters
    ----------
    digest
        Hash of the token; empty before somebody has signed in.
    csrf
        What every form of this session must send back.
    until
        Epoch seconds.
    """

    digest: str
    csrf: str
    until: float

    @property
    def id(self) -> str:
        """Its name on the server, from which no cookie can be made: 32 hex digits."""
        return hashlib.sha256(b"sealwax console session id" + self.csrf.encode()).hexdigest()[:32]

    def matches(self, csrf: str) -> bool:
        """Return whether a form came from a page of this session."""
        return hmac.compare_digest(self.csrf.encode(), csrf.encode(errors="replace"))


class SessionCodec:
    """Makes and reads cookies.

    Parameters
    ----------
    key
        Secret of all API processes; the cookie's key is derived from it.
    """

    def __init__(self, key: str, clock: Callable[[], float] = AWS_CLOCK) -> None:
        derived = hmac.new(key.encode(), _LABEL, hashlib.sha256).digest()
        self._cipher = AESGCM(derived)
        self._clock = clock

    def begin(self, digest: str = "") -> Session:
        """Return a new session; always with a new CSRF value."""
        return Session(digest, secrets.token_urlsafe(24), self._clock() + LIFETIME)

    def encode(self, session: Session) -> str:
        """Return the cookie's text."""
        nonce = secrets.token_bytes(_NONCE)
        plain = json.dumps([session.digest, session.csrf, session.until]).encode()
        sealed = nonce + self._cipher.encrypt(nonce, plain, _LABEL)
        return base64.urlsafe_b64encode(sealed).decode("ascii")

    def decode(self, text: str | None) -> Session | None:
        """Return the session of a cookie; None where it is absent, not ours, or over."""
        if not text or len(text) > 1_024:
            return None
        try:
            sealed = base64.b64decode(text.encode("ascii"), altchars=b"-_", validate=True)
            plain = self._cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], _LABEL)
        except (ValueError, InvalidTag):
            return None
        digest, csrf, until = json.loads(plain)
        session = Session(str(digest), str(csrf), float(until))
        return session if session.until > self._clock() else None


class EndedSessions:
    """Sessions that somebody has signed out of, known to all API processes until they are over.

    Parameters
    ----------
    table
        The control table.
    """

    def __init__(self, table: ControlTable) -> None:
        self._table = table

    def end(self, session: Session) -> None:
        """Have no process take this session any more; a repeat changes nothing.

        Raises
        ------
        ControlUnreachable, ControlDenied
        """
        # Kept a day longer than the cookie lives: API processes' clocks may differ.
        self._table.put(KIND, session.id, {"expires": int(session.until) + 86_400})

    def ended(self, session: Session) -> bool:
        """Return whether somebody has signed out of it, read consistently."""
        return self._table.get(KIND, session.id) is not None
