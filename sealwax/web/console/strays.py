"""Pages of strays: messages that are no job's own; looked at and discarded, never sent."""

from __future__ import annotations

from flask import Blueprint, make_response, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from sealwax.deadletters.errors import NoSuchLetter
from sealwax.deadletters.explanation import explain
from sealwax.deadletters.filter import Filter
from sealwax.web.console.guard import page
from sealwax.web.ops.strays import STRAYS, stray
from sealwax.web.services import services

__all__ = ["blueprint"]

blueprint = Blueprint("strays", __name__, url_prefix="/strays")


@blueprint.get("/")
@page()
def index() -> str:
    """List open strays, queue by queue; or those that bear a job's id."""
    job = request.args.get("job", "").strip()[:64]
    queue = request.args.get("queue") or None
    after = request.args.get("after") or None
    letters = services().letters
    wanted = Filter(reason=STRAYS.reason, queue=queue) if queue else STRAYS
    found = None if job else letters.archive.page(wanted, after)
    strays = letters.archive.claiming(job) if found is None else found.letters
    return render_template(
        "console/strays.html",
        groups=letters.groups.list(strays=True),
        rows=[(each, explain(each)) for each in strays],
        after=found.after if found else None,
        later=bool(after),
        given={"queue": queue or "", "job": job},
    )


@blueprint.get("/<letter_id>")
@page()
def show(letter_id: str) -> str:
    """Show one stray."""
    found = stray(letter_id)
    try:
        body = services().letters.archive.body(found.id)
    except NoSuchLetter:
        body = None
    return render_template(
        "console/stray.html",
        letter=found,
        why=explain(found),
        attributes=sorted(body.attributes.items()) if body else [],
        size=len(body.body) if body else None,
    )


@blueprint.get("/<letter_id>/body")
@page()
def body(letter_id: str) -> AnyResponse:
    """Hand out a stray's body as it was, byte for byte, as a file that no browser shows."""
    found = stray(letter_id)
    response = make_response(services().letters.archive.body(found.id).body)
    response.headers["Content-Type"] = "application/octet-stream"
    response.headers["Content-Disposition"] = f'attachment; filename="{found.id}.bin"'
    return response
