"""Pages of replays and discards: a plan with its count, then its progress."""

from __future__ import annotations

import secrets
from typing import Literal

from flask import Blueprint, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from sealwax.deadletters.errors import SelectionInvalid
from sealwax.deadletters.letter import letter_key
from sealwax.deadletters.replays import CANARY, RATE, Replay
from sealwax.web.console.guard import actor_name, page
from sealwax.web.console.letters import FIELDS, form_filter
from sealwax.web.problems import Problem
from sealwax.web.services import services

__all__ = ["blueprint"]

blueprint = Blueprint("replays", __name__, url_prefix="/replays")


@blueprint.get("/")
@page()
def index() -> str:
    """List replays, the newest first."""
    after = request.args.get("after") or None
    found, following = services().letters.replays.list(after)
    return render_template(
        "console/replays.html", replays=found, after=following, later=bool(after)
    )


@blueprint.route("/new", methods=["GET", "POST"])
@page("ops:write")
def new() -> str | AnyResponse:
    """Ask how, with the count; then plan. Nothing is sent before the plan is started."""
    given = request.form if request.method == "POST" else request.args
    verb: Literal["replay", "discard"] = "discard" if given.get("verb") == "discard" else "replay"
    letter = given.get("letter", "")
    chosen = form_filter(given)
    if bool(letter) == (chosen is not None) or (letter and letter_key(letter) is None):
        raise Problem("malformed-request", detail="Choose a letter, a group or a filter first.")
    if request.method == "POST":
        replay = services().letters.replays.plan(
            actor=actor_name(),
            verb=verb,
            ids=[letter] if letter else (),
            filter=chosen,
            # Not `reason`: that is the filter's.
            reason=given.get("why", "").strip()[:200] or None,
            rate=_rate(given.get("rate", "")),
            canary=CANARY if given.get("canary") else (),
            client_token=given.get("once", "")[:64] or None,
        )
        return redirect(url_for("console.replays.show", replay_id=replay.id), code=303)
    groups = services().letters.groups.list(strays=chosen is not None and chosen.strays)
    count = sum(group.open for group in groups if chosen and chosen.fits(group))
    return render_template(
        "console/plan.html",
        verb=verb,
        count=1 if letter else count,
        hidden={
            "verb": verb,
            "letter": letter,
            "once": secrets.token_hex(8),
            **{name: given.get(name, "") for name in (*FIELDS, "group")},
        },
        chosen=chosen.document() if chosen else {"letter": letter},
        canary=CANARY,
        rate=RATE,
    )


def _rate(text: str) -> float:
    try:
        return float(text or RATE)
    except ValueError:
        raise SelectionInvalid("The rate is a number of letters a second.") from None


@blueprint.get("/<replay_id>")
@page()
def show(replay_id: str) -> str:
    """Show one replay: the plan, or how far it is."""
    replay = services().letters.replays.get(replay_id)
    touched = services().letters.archive.of_replay(replay_id, limit=25) if replay.sent else None
    return render_template(
        "console/replay.html",
        replay=replay,
        left=max(0, replay.expected - replay.sent - replay.skipped),
        stages=_stages(replay),
        touched=touched,
    )


def _stages(replay: Replay) -> list[tuple[str, int, str]]:
    """Return the steps of a replay: name, letters, and whether it is done, now or later."""
    left, rows = replay.expected, []
    for number, size in enumerate(replay.canary):
        letters = min(size, left)
        if letters <= 0:
            break
        left -= letters
        rows.append((f"Canary {number + 1}", letters))
    if left > 0:
        rows.append(("All the rest" if rows else "All", left))
    started, ended = replay.started is not None, replay.ended is not None
    result = []
    for number, (name, letters) in enumerate(rows):
        state = "later"
        if (ended and replay.state == "done") or (started and number < replay.step):
            state = "done"
        elif started and number == replay.step:
            state = "now"
        result.append((name, letters, state))
    return result


@blueprint.post("/<replay_id>/<any(start, pause, resume, cancel):verb>")
@page("ops:write")
def change(replay_id: str, verb: str) -> AnyResponse:
    """Start, pause, resume or cancel; a repeat changes nothing."""
    getattr(services().letters.replays, verb)(replay_id, actor=actor_name())
    return redirect(url_for("console.replays.show", replay_id=replay_id), code=303)
