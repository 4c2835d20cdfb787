"""Revealing a payload: asked with a reason, shown once, to whoever asked."""

from __future__ import annotations

import json
import re
from typing import Any

import structlog
from flask import Response, jsonify, request, url_for

from sealwax.deadletters import SelectionInvalid
from sealwax.envelope import EnvelopeError, Expected, Purpose, open_envelope, peek
from sealwax.web.auth import requires
from sealwax.web.body import read_json
from sealwax.web.ops.common import actor, ops_blueprint
from sealwax.web.problems import Problem
from sealwax.web.services import services

__all__ = ["blueprint", "open_revealed"]

log = structlog.get_logger("sealwax.api")
blueprint = ops_blueprint("reveals")

_REQUEST = re.compile(r"[0-9a-f]{32}")
_BODY_MAX = 8_192


@blueprint.post("/letters/<letter_id>/reveal")
@requires("ops:reveal")
def ask(letter_id: str) -> Response:
    """Ask for a letter's payload; a worker opens it. Needs a reason, for the audit log."""
    body = read_json(request, _BODY_MAX)
    reason = body.get("reason") if isinstance(body, dict) and set(body) == {"reason"} else None
    if not isinstance(reason, str) or not reason.strip():
        raise SelectionInvalid("Send an object with a `reason`.")
    letters = services().letters
    made = services().reveals.ask(
        letter_id, actor=actor(), reason=reason, archive=letters.archive, audit=letters.audit
    )
    response = jsonify({"id": made, "letter": letter_id, "state": "asked"})
    response.status_code = 202
    response.headers["Location"] = url_for("ops_reveals.show", request_id=made)
    response.headers["Retry-After"] = "2"
    return response


@blueprint.get("/reveals/<request_id>")
@requires("ops:reveal")
def show(request_id: str) -> Response:
    """Show what was asked for: 202 while no worker has opened it, then the payload, once."""
    if not _REQUEST.fullmatch(request_id):
        raise Problem("not-found")
    found = services().reveals.show(request_id, actor=actor())
    document: dict[str, Any] = {"id": found.id, "letter": found.letter, "state": found.state}
    if found.state == "done" and found.sealed is not None:
        document["payload"] = open_revealed(found.id, found.sealed)
    elif found.state == "failed":
        document["cause"] = found.cause
    response = jsonify(document)
    if found.state == "asked":
        response.status_code = 202
        response.headers["Retry-After"] = "2"
    return response


def open_revealed(request_id: str, sealed: str) -> Any:
    """Return the payload that a worker sealed for this request.

    Raises
    ------
    Problem
        Where it is not a worker's answer to this very request.
    """
    runtime = services().runtime
    for again in (True, False):
        try:
            expect = Expected(
                purpose=Purpose.REVEAL, task=peek(sealed).context.task, job=request_id, tenant=None
            )
            opened = open_envelope(
                sealed, keyring=runtime.keyring, expect=expect, now=runtime.clock(), skew=60
            )
            return json.loads(opened.plaintext)
        except EnvelopeError as error:
            if again and error.transient and runtime.refresh_for_unknown_key():
                continue
            log.warning("revealed payload unopenable", cause=error.cause)
            raise Problem("internal-error", detail="The answer cannot be opened.") from None
    return None
