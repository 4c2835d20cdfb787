"""Strays: messages that are no job's own, to look at, download and discard; never to send."""

from __future__ import annotations

from typing import Any

from flask import Response, jsonify, request

from sealwax.deadletters import Filter, Letter, NoSuchLetter, SelectionInvalid, explain
from sealwax.deadletters.letter import is_stray_id
from sealwax.web.auth import requires
from sealwax.web.body import read_json
from sealwax.web.ops.common import actor, filter_of, limit_of, ops_blueprint
from sealwax.web.ops.replays import plan_response
from sealwax.web.services import services
from sealwax.web.times import iso

__all__ = ["STRAYS", "blueprint", "stray", "stray_filter"]

blueprint = ops_blueprint("strays")

#: All of them.
STRAYS = Filter(reason="stray")

#: Bytes of a request: 500 ids and some words.
_BODY_MAX = 65_536

_MEMBERS = {"mode", "ids", "filter", "reason"}


def stray_filter(values: dict[str, Any], pointer: str = "") -> Filter:
    """Read a filter of strays: by queue and time, and nothing that they say of themselves."""
    wrong = set(values) - {"queue", "since", "until"}
    if wrong:
        raise SelectionInvalid("Strays are chosen by ids, or by queue, since and until.")
    return filter_of({**values, "reason": "stray"}, pointer)


def stray(letter_id: str) -> Letter:
    """Return a stray; raises NoSuchLetter for a letter that is none."""
    found = services().letters.archive.get(letter_id)
    if not found.stray:
        raise NoSuchLetter
    return found


@blueprint.get("/strays")
@requires("ops:read")
def strays() -> Response:
    """List open strays by queue, since and until; or those that bear a job's id."""
    values = request.args.to_dict()
    limit = limit_of()
    after = values.pop("after", None)
    values.pop("limit", None)
    job = values.pop("job", None)
    archive = services().letters.archive
    if job is not None:
        found = archive.claiming(job[:64], limit) if job else []
        return jsonify({"strays": [_document(each) for each in found], "after": None})
    page = archive.page(stray_filter(values), after, limit)
    return jsonify({"strays": [_document(each) for each in page.letters], "after": page.after})


@blueprint.get("/strays/<letter_id>")
@requires("ops:read")
def show(letter_id: str) -> Response:
    """Show a stray; its body is apart."""
    return jsonify(_document(stray(letter_id)))


@blueprint.get("/strays/<letter_id>/body")
@requires("ops:read")
def body(letter_id: str) -> Response:
    """Download a stray's message, byte for byte, as a file that no browser shows."""
    found = stray(letter_id)
    return Response(
        services().letters.archive.body(found.id).body,
        content_type="application/octet-stream",
        headers={"Content-Disposition": f'attachment; filename="{found.id}"'},
    )


@blueprint.post("/strays/discard")
@requires("ops:write")
def discard() -> Response:
    """Discard strays by ids or filter; `mode` is preview (the default), plan or start.

    Touches no job and no payload, whatever the strays say of themselves.
    """
    given = read_json(request, _BODY_MAX)
    if not isinstance(given, dict) or set(given) - _MEMBERS:
        raise SelectionInvalid(f"Send an object with some of {', '.join(sorted(_MEMBERS))}.")
    ids, reason = given.get("ids", []), given.get("reason")
    if not isinstance(ids, list) or not all(isinstance(x, str) and is_stray_id(x) for x in ids):
        raise SelectionInvalid("`ids` is a list of strays' ids.")
    if reason is not None and not (isinstance(reason, str) and reason.strip()):
        raise SelectionInvalid("`reason` is a text.")
    choice: dict[str, Any] = {"actor": actor(), "verb": "discard", "ids": ids, "reason": reason}
    if given.get("filter") is not None:
        if not isinstance(given["filter"], dict):
            raise SelectionInvalid("`filter` is an object; an empty one means all strays.")
        choice["filter"] = stray_filter(given["filter"], "/filter")
    return plan_response(given.get("mode", "preview"), choice)


def _document(letter: Letter) -> dict[str, Any]:
    return {
        "id": letter.id,
        "state": letter.state.value,
        "why": explain(letter),
        "cause": letter.cause,
        "claims": letter.claims,
        "queue": letter.queue,
        "copies": letter.copies,
        "bytes": letter.bytes,
        "sha256": letter.digest,
        "message_id": letter.message_id,
        "first": iso(letter.first),
        "last": iso(letter.last),
        "archived": iso(letter.at),
        "replay": letter.replay,
        "settled": iso(letter.settled),
        "note": letter.note,
    }
