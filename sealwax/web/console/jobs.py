"""Pages of jobs: a search, one job's timeline, cancelling it."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Blueprint, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from sealwax.deadletters.errors import LettersError
from sealwax.ledger import JobState, LedgerEntry, is_job_id
from sealwax.web.console.confirm import Confirmation, asked, reason
from sealwax.web.console.guard import actor_name, page
from sealwax.web.ops.jobs import cancel_job, cursor, find
from sealwax.web.problems import Problem
from sealwax.web.services import services

__all__ = ["blueprint", "timeline"]

blueprint = Blueprint("jobs", __name__, url_prefix="/jobs")


@dataclass(frozen=True)
class Step:
    """One line of a job's timeline; `tone` colours it."""

    at: float
    title: str
    detail: str = ""
    tone: str = "calm"


def timeline(entry: LedgerEntry) -> list[Step]:
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
    if entry.state is JobState.RETRYING:
        steps.append(Step(entry.updated, f"Attempt {max(1, entry.attempts)} failed", why, "warn"))
        if entry.due is not None:
            steps.append(Step(entry.due, "Next attempt", "not before this"))
    if entry.finished is not None and entry.final:
        tone = {JobState.SUCCEEDED: "good", JobState.DEAD: "bad"}.get(entry.state, "warn")
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
        states=[state.value for state in JobState],
        page=find(**given, after=after),
        later=bool(after),
    )


@blueprint.route("/<job_id>/cancel", methods=["GET", "POST"])
@page("ops:write")
def cancel(job_id: str) -> str | AnyResponse:
    """Ask, then cancel a job."""
    back = url_for("console.jobs.show", job_id=job_id)
    if request.method == "POST":
        cancel_job(job_id, actor=actor_name(), reason=reason())
        return redirect(back, code=303)
    entry = services().runtime.ledger.get(job_id) if is_job_id(job_id) else None
    if entry is None:
        raise Problem("not-found", detail="The ledger has no such job.")
    if entry.final:
        raise Problem("job-ended", detail=f"The job has ended: it is {entry.state.value}.")
    running = entry.state is JobState.RUNNING
    return asked(
        Confirmation(
            f"Cancel job {job_id[:8]}…?",
            "It runs now: its attempt is asked to stop, and may succeed all the same."
            if running
            else "Its message is acknowledged without running when it arrives. Its caller is told "
            "`cancelled`.",
            1,
            "job is touched",
            "Cancel 1 job",
            back,
        )
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
