"""Pages of dead letters: groups, letters, one letter with its body to download."""

from __future__ import annotations

from flask import Blueprint, make_response, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from sealwax.deadletters.errors import NoSuchLetter
from sealwax.deadletters.explanation import explain
from sealwax.deadletters.filter import Filter
from sealwax.deadletters.letter import LetterText, first_argument
from sealwax.envelope import EnvelopeError, peek
from sealwax.envelope.format import Header
from sealwax.web.console.guard import page
from sealwax.web.ops.common import filter_of
from sealwax.web.problems import Problem
from sealwax.web.services import services

__all__ = ["FIELDS", "blueprint", "form_filter"]

blueprint = Blueprint("letters", __name__, url_prefix="/letters")

#: What letters may be filtered by, in the order of the form.
FIELDS = ("task", "reason", "queue", "cause", "error")


def form_filter(given: dict[str, str]) -> Filter | None:
    """Return the filter of a form's fields; None where none is filled in."""
    chosen = {name: given.get(name, "").strip() for name in (*FIELDS, "group")}
    chosen = {name: value for name, value in chosen.items() if value}
    return filter_of(chosen) if chosen else None


@blueprint.get("/")
@page()
def index() -> str:
    """List groups, those with open letters first."""
    everything = request.args.get("all") == "1"
    groups = services().letters.groups.list(closed=everything)
    return render_template(
        "console/groups.html",
        groups=sorted(groups, key=lambda group: (group.open == 0, -group.last)),
        everything=everything,
        letters=sum(group.open for group in groups),
    )


@blueprint.get("/groups/<fingerprint>")
@page()
def group(fingerprint: str) -> str:
    """Show one group and its open letters."""
    found = services().letters.groups.get(fingerprint)
    if found is None:
        raise Problem("not-found", detail="There is no such group.")
    after = request.args.get("after") or None
    letters = services().letters.archive.page(Filter(group=fingerprint), after)
    return render_template("console/group.html", group=found, page=letters, later=bool(after))


@blueprint.get("/search")
@page()
def search() -> str:
    """List open letters by filter."""
    wanted = form_filter(request.args)
    after = request.args.get("after") or None
    return render_template(
        "console/letters.html",
        page=services().letters.archive.page(wanted, after),
        given={name: request.args.get(name, "") for name in FIELDS},
        fields=FIELDS,
        filtered=wanted is not None,
        later=bool(after),
    )


@blueprint.get("/<letter_id>")
@page()
def show(letter_id: str) -> str:
    """Show one letter."""
    archive = services().letters.archive
    letter = archive.get(letter_id)
    try:
        body = archive.body(letter_id)
    except NoSuchLetter:
        body = None
    return render_template(
        "console/letter.html",
        letter=letter,
        why=explain(letter),
        header=_header(body) if body else None,
        attributes=sorted(body.attributes.items()) if body else [],
        size=len(body.body) if body else None,
        reveals=services().settings.reveal_mode != "off",
    )


@blueprint.get("/<letter_id>/body")
@page()
def body(letter_id: str) -> AnyResponse:
    """Hand out a letter's body as it was, byte for byte; what is sealed in it stays sealed."""
    text = services().letters.archive.body(letter_id)
    response = make_response(text.body)
    response.headers["Content-Type"] = "application/octet-stream"
    response.headers["Content-Disposition"] = f'attachment; filename="{letter_id}.bin"'
    return response


def _header(text: LetterText) -> Header | None:
    """Return what an envelope says of itself outside; None where there is none to read."""
    envelope = first_argument(text.body)
    try:
        return peek(envelope) if envelope is not None else None
    except EnvelopeError:
        return None
