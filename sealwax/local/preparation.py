"""What a local stack needs besides queues, tables and keys: a signing secret and a token.

`sealwax dev` and `sealwax local-init` call it. Both functions find what an
earlier run made, so that a state folder goes on being usable. Never for
production: the token is written to a file.
"""

from __future__ import annotations

import base64
import contextlib
import re
import secrets
from pathlib import Path

from sealwax.local.configuration import DEMO_SECRET
from sealwax.secrets import SecretNotFound, SecretSource
from sealwax.stores import Stores
from sealwax.web.tokens import SCOPES, TOKEN_KEY, TokenInvalid, make_tokens

__all__ = ["ensure_demo_secret", "ensure_token"]

#: Tenant of the token that is made for the person at the keyboard, who may do everything.
TENANT = "local"


def ensure_demo_secret(source: SecretSource) -> str:
    """Return the secret that signs deliveries of the demo route, made where it is missing."""
    try:
        return source.get(DEMO_SECRET)
    except SecretNotFound:
        value = f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode('ascii')}"
        source.put(DEMO_SECRET, value)
        return value


def ensure_token(stores: Stores, *, former: Path) -> str:
    """Return the token of the last run where it still works, else a new one.

    Parameters
    ----------
    former
        The file of shell variables that the last run wrote, if there was one.
    """
    store = make_tokens(stores, stores.source.get(TOKEN_KEY))
    with contextlib.suppress(OSError, TokenInvalid):
        found = re.search(r"^export SEALWAX_TOKEN='([^']+)'$", former.read_text(), re.MULTILINE)
        if found and set(store.look_up(found.group(1)).scopes) >= set(SCOPES):
            return found.group(1)
    return store.issue(tenant=TENANT, scopes=SCOPES, label="local").token
