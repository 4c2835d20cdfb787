"""Revealing a payload: asked with a reason, shown once, to whoever asked.

In mode `operator-key` the API hands a signed request on, and a sealed answer
back that it cannot open.
"""

from __future__ import annotations

import json
import re
from typing import Any

import structlog
from flask import Response, jsonify, request, url_for

from sealwax.deadletters import RevealModeRefused, SelectionInvalid
from sealwax.envelope import EnvelopeError, Expected, Purpose, open_envelope, peek
from sealwax.web.auth import requires
from sealwax.web.body import read_json
from sealwax.web.ops.common import actor, ops_blueprint
from sealwax.web.problems import Problem
from sealwax.web.services import services

__all__ = ["allow_console", "blueprint", "open_revealed"]

log = structlog.get_logger("sealwax.api")
blueprint = ops_blueprint("reveals")

_REQUEST = re.compile(r"[0-9a-f]{32}")
#: A signed request has a reason of 1,000 characters, each of up to 12 bytes as JSON.
_BODY_MAX = 32_768


@blueprint.post("/letters/<letter_id>/reveal")
@requires("ops:reveal")
def ask(letter_id: str) -> Response:
    """Ask for a letter's payload; a worker opens it.

    In mode `operator-key` the body holds a `request` that the operator has
    signed, in mode `console` a `reason` for the audit log.
    """
    body = read_json(request, _BODY_MAX)
    letters = services().letters
    if services().settings.reveal_mode == "operator-key" and _holds(body, "request"):
        made = services().reveals.ask_signed(
            letter_id,
            body["request"],
            actor=actor(),
            archive=letters.archive,
            audit=letters.audit,
        )
    else:
        allow_console()
        reason = body.get("reason") if _holds(body, "reason") else None
        if not isinstance(reason, str) or not reason.strip():
            raise SelectionInvalid("Send an object with a `reason`.")
        made = services().reveals.ask(
            letter_id, actor=actor(), reason=reason, archive=letters.archive, audit=letters.audit
        )
    response = jsonify({"id": made, "letter": letter_id, "state": "asked"})
    response.status_code = 202
    response.headers["Location"] = url_for("ops_reveals.show", request_id=made)
    response.headers["Retry-After"] = "2"
    return response


def _holds(body: object, member: str) -> bool:
    return isinstance(body, dict) and set(body) == {member}


def allow_console() -> None:
    """Let a request pass whose answer is sealed to the API's key.

    Raises
    ------
    sealwax.deadletters.errors.RevealModeRefused
        Says how payloads are revealed here.
    """
    mode = services().settings.reveal_mode
    if mode == "operator-key":
        raise RevealModeRefused(
            "Here an operator's own key signs the request and opens the answer (reveal.mode is "
            "operator-key): run `sealwax letters reveal` where your key is, with "
            f"SEALWAX_ENVIRONMENT={services().settings.environment}."
        )
    if mode == "off":
        raise RevealModeRefused("Payloads are not revealed here: reveal.mode is off.")


@blueprint.get("/reveals/<request_id>")
@requires("ops:reveal")
def show(request_id: str) -> Response:
    """Show what was asked for: 202 while no worker has opened it, then the answer, once.

    It is the `payload`, or the text that the operator's key opens, `sealed`.
    """
    if not _REQUEST.fullmatch(request_id):
        raise Problem("not-found")
    found = services().reveals.show(request_id, actor=actor())
    document: dict[str, Any] = {"id": found.id, "letter": found.letter, "state": found.state}
    if found.state == "done" and found.sealed is not None and found.signed:
        document["sealed"] = found.sealed
    elif found.state == "done" and found.sealed is not None:
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
