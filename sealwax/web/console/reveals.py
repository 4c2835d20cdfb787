"""Pages that show one letter's payload: asked with a reason, ready, shown once.

In mode `console` a worker opens the envelope and the API's key the worker's
answer; in mode `operator-key` the page shows the command by which the operator's
own key does, and nothing of a payload ever comes here. Looking
at the page consumes nothing: the answer is shown, and gone, by a form, so no
reload and no prefetch can take it. It never shows anything to anybody else
than who asked.
"""

from __future__ import annotations

import json

from flask import Blueprint, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from sealwax.deadletters.reveal import SECONDS
from sealwax.web.console.confirm import reason
from sealwax.web.console.guard import actor_name, page
from sealwax.web.ops.reveals import allow_console, open_revealed
from sealwax.web.problems import Problem
from sealwax.web.services import services

__all__ = ["blueprint"]

blueprint = Blueprint("reveals", __name__)


@blueprint.route("/letters/<letter_id>/reveal", methods=["GET", "POST"])
@page("ops:reveal")
def ask(letter_id: str) -> str | AnyResponse:
    """Ask why, then have a worker open the letter."""
    letters = services().letters
    if request.method == "GET":
        settings = services().settings
        return render_template(
            "console/reveal_ask.html",
            letter=letters.archive.get(letter_id),
            minutes=SECONDS // 60,
            mode=settings.reveal_mode,
            environment=settings.environment,
        )
    allow_console()
    why = reason()
    if why is None:
        raise Problem("malformed-request", detail="A reveal needs a reason of 1 to 200 characters.")
    made = services().reveals.ask(
        letter_id, actor=actor_name(), reason=why, archive=letters.archive, audit=letters.audit
    )
    return redirect(url_for("console.reveals.show", request_id=made), code=303)


@blueprint.get("/reveals/<request_id>")
@page("ops:reveal")
def show(request_id: str) -> str:
    """Say how far the request is."""
    found = services().reveals.look(request_id, actor=actor_name())
    return render_template("console/reveal.html", found=found, minutes=SECONDS // 60, payload=None)


@blueprint.post("/reveals/<request_id>")
@page("ops:reveal")
def take(request_id: str) -> str | AnyResponse:
    """Show the payload; it is gone then."""
    found = services().reveals.look(request_id, actor=actor_name())
    # An answer to an operator's own key is for the command that waits for it.
    if found.state == "done" and not found.signed:
        found = services().reveals.show(request_id, actor=actor_name())
    if found.state != "done" or found.sealed is None or found.signed:
        return redirect(url_for("console.reveals.show", request_id=request_id), code=303)
    payload = json.dumps(open_revealed(found.id, found.sealed), indent=2, ensure_ascii=False)
    return render_template(
        "console/reveal.html", found=found, minutes=SECONDS // 60, payload=payload
    )
