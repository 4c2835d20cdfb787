"""Dead letters and their groups."""

from __future__ import annotations

from typing import Any

from flask import Response, jsonify, request

from sealwax.deadletters import Group, Letter, explain
from sealwax.web.auth import requires
from sealwax.web.ops.common import filter_of, limit_of, ops_blueprint
from sealwax.web.problems import Problem
from sealwax.web.services import services
from sealwax.web.times import iso

__all__ = ["blueprint", "letter_document"]

blueprint = ops_blueprint("letters")


@blueprint.get("/groups")
@requires("ops:read")
def groups() -> Response:
    """List groups of letters that died alike; with `closed=1` also those that are resolved."""
    found = services().letters.groups.list(closed=request.args.get("closed") == "1")
    return jsonify({"groups": [_group(group) for group in found]})


@blueprint.get("/groups/<fingerprint>")
@requires("ops:read")
def group(fingerprint: str) -> Response:
    """Show a group."""
    found = services().letters.groups.get(fingerprint[:64])
    if found is None:
        raise Problem("not-found")
    return jsonify(_group(found))


@blueprint.get("/letters")
@requires("ops:read")
def letters() -> Response:
    """List open letters by group, queue, task, reason, cause, error, since, until, or job."""
    values = request.args.to_dict()
    limit = limit_of()
    after = values.pop("after", None)
    values.pop("limit", None)
    job = values.pop("job", None)
    if job is not None:
        found = services().letters.archive.of_job(job[:64]) if job else []
        return jsonify({"letters": [letter_document(each) for each in found], "after": None})
    page = services().letters.archive.page(filter_of(values), after, limit)
    return jsonify(
        {"letters": [letter_document(each) for each in page.letters], "after": page.after}
    )


@blueprint.get("/letters/<letter_id>")
@requires("ops:read")
def letter(letter_id: str) -> Response:
    """Show a letter; its body is apart."""
    return jsonify(letter_document(services().letters.archive.get(letter_id)))


@blueprint.get("/letters/<letter_id>/body")
@requires("ops:read")
def body(letter_id: str) -> Response:
    """Download a letter's message, byte for byte: what is sealed stays sealed."""
    text = services().letters.archive.body(letter_id)
    return Response(
        text.body,
        content_type="application/octet-stream",
        headers={"Content-Disposition": f'attachment; filename="{letter_id}"'},
    )


def letter_document(letter: Letter) -> dict[str, Any]:
    """Return a letter as JSON values."""
    return {
        "id": letter.id,
        "state": letter.state.value,
        "why": explain(letter),
        "reason": letter.reason,
        "cause": letter.cause,
        "error": letter.error,
        "place": letter.place,
        "task": letter.task,
        "job": letter.job,
        "claims": letter.claims,
        "conflict": letter.conflict,
        "generation": letter.generation,
        "attempts": letter.attempts,
        "copies": letter.copies,
        "queue": letter.queue,
        "group": letter.group,
        "first": iso(letter.first),
        "last": iso(letter.last),
        "archived": iso(letter.at),
        "bytes": letter.bytes,
        "replay": letter.replay,
        "outcome": letter.outcome,
        "settled": iso(letter.settled),
        "note": letter.note,
    }


def _group(group: Group) -> dict[str, Any]:
    return {
        "group": group.fingerprint,
        "queue": group.queue,
        "task": group.task,
        "reason": group.reason,
        "cause": group.cause,
        "error": group.error,
        "place": group.place,
        "open": group.open,
        "replaying": group.replaying,
        "resolved": group.resolved,
        "discarded": group.discarded,
        "first": iso(group.first),
        "last": iso(group.last),
        "sample": group.sample,
        "trend": list(group.trend),
    }
