"""Replays and discards: previewed, planned, started, paused, resumed, cancelled."""

from __future__ import annotations

import re
from typing import Any

from flask import Response, jsonify, request, url_for

from sealwax.deadletters import Replay, SelectionInvalid
from sealwax.web.auth import requires
from sealwax.web.body import read_json
from sealwax.web.ops.common import actor, filter_of, limit_of, ops_blueprint, reason_of
from sealwax.web.ops.letters import letter_document
from sealwax.web.problems import Problem
from sealwax.web.services import services
from sealwax.web.times import iso

__all__ = ["blueprint", "plan_response"]

blueprint = ops_blueprint("replays")

#: Bytes of a request: 500 ids and some words.
_BODY_MAX = 65_536

#: As `sealwax.web.jobs` takes it: no comma, by which servers join two headers.
_KEY = re.compile(r"[!-+\--~]{1,255}")
_MEMBERS = {"mode", "verb", "ids", "filter", "reason", "rate", "canary", "tolerance"}


@blueprint.post("/replays")
@requires("ops:write")
def create() -> Response:
    """Preview (the default), plan, or start a replay or discard.

    `mode`: `preview` counts and writes nothing; `plan` freezes the selection;
    `start` lets it begin. An Idempotency-Key makes repeats of one click one.
    """
    choice = _choice(read_json(request, _BODY_MAX))
    return plan_response(choice.pop("mode"), choice)


def plan_response(mode: Any, choice: dict[str, Any]) -> Response:
    """Answer with a preview, a plan, or a replay or discard that has begun."""
    if mode not in ("preview", "plan", "start"):
        raise SelectionInvalid("`mode` is preview, plan or start.")
    replays = services().letters.replays
    if mode == "preview":
        return jsonify({**_document(replays.preview(**choice)), "id": None, "state": "preview"})
    key = request.headers.get("Idempotency-Key")
    if key is not None and not _KEY.fullmatch(key):
        raise Problem("invalid-idempotency-key")
    replay = replays.plan(client_token=key, **choice)
    if mode == "start":
        replay = replays.start(replay.id, actor=actor())
    response = jsonify(_document(replay))
    response.status_code = 201
    response.headers["Location"] = url_for("ops_replays.show", replay_id=replay.id)
    return response


def _choice(body: Any) -> dict[str, Any]:
    if not isinstance(body, dict) or set(body) - _MEMBERS:
        raise SelectionInvalid(f"Send an object with some of {', '.join(sorted(_MEMBERS))}.")
    choice: dict[str, Any] = {"actor": actor(), "mode": body.get("mode", "preview")}
    choice["verb"] = body.get("verb", "replay")
    if choice["verb"] not in ("replay", "discard"):
        raise SelectionInvalid("`verb` is replay or discard.")
    ids = body.get("ids", [])
    if not isinstance(ids, list) or not all(isinstance(each, str) for each in ids):
        raise SelectionInvalid("`ids` is a list of letters' ids.")
    choice["ids"] = ids
    if body.get("filter") is not None:
        choice["filter"] = filter_of(body["filter"], "/filter")
    reason = body.get("reason")
    if reason is not None and not (isinstance(reason, str) and reason.strip()):
        raise SelectionInvalid("`reason` is a text.")
    choice["reason"] = reason
    for name in ("rate", "tolerance"):
        if name in body:
            if isinstance(body[name], bool) or not isinstance(body[name], int | float):
                raise SelectionInvalid(f"`{name}` is a number.")
            choice[name] = body[name]
    if "canary" in body:
        steps = body["canary"]
        if not isinstance(steps, list) or not all(type(each) is int for each in steps):
            raise SelectionInvalid("`canary` is a list of whole numbers.")
        choice["canary"] = steps
    return choice


@blueprint.get("/replays")
@requires("ops:read")
def list_() -> Response:
    """List replays and discards, the newest first."""
    after = request.args.get("after")
    found, following = services().letters.replays.list(after[:64] if after else None, limit_of())
    return jsonify({"replays": [_document(each) for each in found], "after": following})


@blueprint.get("/replays/<replay_id>")
@requires("ops:read")
def show(replay_id: str) -> Response:
    """Show a replay and how far it is."""
    return jsonify(_document(services().letters.replays.get(replay_id)))


@blueprint.get("/replays/<replay_id>/letters")
@requires("ops:read")
def outcomes(replay_id: str) -> Response:
    """List the letters that a replay has touched, each with its outcome."""
    page = services().letters.archive.of_replay(
        replay_id[:64], request.args.get("after"), limit_of()
    )
    return jsonify(
        {"letters": [letter_document(each) for each in page.letters], "after": page.after}
    )


@blueprint.post("/replays/<replay_id>/start")
@requires("ops:write")
def start(replay_id: str) -> Response:
    """Let a planned one begin; a repeat changes nothing."""
    return _changed("start", replay_id)


@blueprint.post("/replays/<replay_id>/pause")
@requires("ops:write")
def pause(replay_id: str) -> Response:
    """Send nothing more for now."""
    return _changed("pause", replay_id)


@blueprint.post("/replays/<replay_id>/resume")
@requires("ops:write")
def resume(replay_id: str) -> Response:
    """Go on after a pause, or after it stopped itself."""
    return _changed("resume", replay_id)


@blueprint.post("/replays/<replay_id>/cancel")
@requires("ops:write")
def cancel(replay_id: str) -> Response:
    """End it; letters not sent yet stay open."""
    return _changed("cancel", replay_id)


def _changed(verb: str, replay_id: str) -> Response:
    change = getattr(services().letters.replays, verb)
    return jsonify(_document(change(replay_id, actor=actor(), reason=reason_of())))


def _document(replay: Replay) -> dict[str, Any]:
    return {
        "id": replay.id,
        "verb": replay.verb,
        "state": replay.state.value,
        "actor": replay.actor,
        "reason": replay.reason,
        "filter": replay.filter.document() if replay.filter else None,
        "ids": list(replay.ids) or None,
        "expected": replay.expected,
        "at_most": replay.at_most,
        "rate": replay.rate,
        "canary": list(replay.canary),
        "step": replay.step,
        "tolerance": replay.tolerance,
        "sent": replay.sent,
        "waiting": replay.waiting,
        "succeeded": replay.succeeded,
        "died": replay.died,
        "other": replay.other,
        "skipped": replay.skipped,
        "stopped": replay.stopped,
        "cutoff": iso(replay.cutoff),
        "created": iso(replay.created),
        "started": iso(replay.started),
        "ended": iso(replay.ended),
    }
