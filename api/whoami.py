"""`GET /v1/whoami`: which token a caller uses, and what it allows.

A route of this service's own, as a team adds one.
"""

from __future__ import annotations

from flask import Blueprint, Response, jsonify

from sealwax.web.auth import principal, requires

__all__ = ["blueprint"]

blueprint = Blueprint("whoami", __name__, url_prefix="/v1")


@blueprint.get("/whoami")
@requires(None)
def whoami() -> Response:
    """Say which token was sent, by its id, and its scopes; never the tenant's name."""
    caller = principal()
    return jsonify({"token": caller.id, "scopes": sorted(caller.scopes)})
