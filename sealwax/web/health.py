"""Liveness and readiness; the only routes without a token, and they tell nothing else."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify

from sealwax.errors import SealwaxError
from sealwax.ledger import UNUSED_ID
from sealwax.web.services import services

__all__ = ["blueprint"]

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthz")
def healthz() -> Response:
    """Say that the process serves requests; asks nobody else."""
    return jsonify({"status": "ok"})


@blueprint.get("/readyz")
def readyz() -> Response:
    """Say whether jobs can be accepted: the ledger answers."""
    try:
        services().runtime.ledger.get(UNUSED_ID)
    except SealwaxError as error:
        response = jsonify({"status": "not ready", "ledger": type(error).__name__})
        response.status_code = 503
        response.headers["Retry-After"] = "5"
        return response
    return jsonify({"status": "ready"})
