"""Pages of jobs: a search, and one job's timeline."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Blueprint, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from api.console.guard import page
from api.ops.jobs import cursor, find
from api.problems import Problem
from api.services import services
from sealwax.ledger import Entry, State, is_job_id
from sealwax.letters.errors import LettersError

__all__ = ["blueprint", "timeline"]

blueprint = Blueprint("jobs", __name__, url_prefix="/jobs")


@dataclass(frozen=True)
class Step:
    """One line of a job's timeline; `tone` colours it."""

    at: float
    title: str
    detail: str = ""
    tone: str = "calm"


def timeline(entry: Entry) -> list[Step]:
    """Return what the ledger knows of a job's way, in order of time."""
    steps = [Step(entry.created, "Accepted", f"into lane {entry.lane}")]
    if entry.replays:
        times = "once" if entry.replays == 1 else f"{entry.replays} times"
        steps.append(
            Step(entry.since, f"Replayed {times}", f"generation {entry.generation}", "warn")
        )
    if entry.started is not None:
        steps.append(Step(entry.started, f"Attempt {max(1, entry.attempts)} started"))
    if entry.crashes:
        times = "once" if entry.crashes == 1 else f"{entry.crashes} times"
        steps.append(
            Step(
                entry.updated, f"Its process died {times}", "the neighbours are not charged", "bad"
            )
        )
    why = " · ".join(text for text in (entry.cause, entry.error) if text)
    if entry.state is State.RETRYING:
        steps.append(Step(entry.updated, f"Attempt {max(1, entry.attempts)} failed", why, "warn"))
        if entry.due is not None:
            steps.append(Step(entry.due, "Next attempt", "not before this"))
    if entry.finished is not None and entry.final:
        tone = {State.SUCCEEDED: "good", State.DEAD: "bad"}.get(entry.state, "warn")
        reason = " · ".join(text for text in (entry.reason, why) if text)
        steps.append(Step(entry.finished, entry.state.value.capitalize(), reason, tone))
    return sorted(steps, key=lambda step: step.at)


@blueprint.get("/")
@page()
def index() -> str | AnyResponse:
    """Search jobs: by id, by tenant, or what must be watched in a lane."""
    given = {name: request.args.get(name, "").strip() for name in ("q", "tenant", "state", "lane")}
    wanted = given.pop("q").lower()
    if wanted and is_job_id(wanted):
        return redirect(url_for("console.jobs.show", job_id=wanted), code=303)
    after = cursor(request.args.get("after"))
    return render_template(
        "console/jobs.html",
        wanted=wanted,
        problem="A job's id has 32 digits from 0 to f." if wanted else None,
        given=given,
        lanes=list(services().settings.lanes),
        states=[state.value for state in State],
        page=find(**given, after=after),
        later=bool(after),
    )


@blueprint.get("/<job_id>")
@page()
def show(job_id: str) -> str:
    """Show one job."""
    entry = services().runtime.ledger.get(job_id) if is_job_id(job_id) else None
    if entry is None:
        raise Problem(
            "not-found",
            detail="The ledger has no such job: the id is wrong, or the job ended so long ago that "
            "its entry was dropped.",
        )
    try:
        letters = services().letters.archive.of_job(job_id)
    except LettersError:
        letters = []
    return render_template("console/job.html", job=entry, steps=timeline(entry), letters=letters)
