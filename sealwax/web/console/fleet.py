"""Pages of what runs: the overview, lanes, workers, keys; pausing and draining."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from flask import Blueprint, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from sealwax.control.fleet import FleetItemNotFound
from sealwax.deadletters.errors import LettersError
from sealwax.web.console.confirm import Confirmation, asked, reason
from sealwax.web.console.guard import actor_name, page
from sealwax.web.ops.audit import download
from sealwax.web.problems import Problem
from sealwax.web.services import services

__all__ = ["blueprint"]

blueprint = Blueprint("fleet", __name__)

#: What a page says after something was done, by the key in its address.
NOTES = {
    "lane-pause": "The lane is paused: workers give back what they have not started.",
    "lane-resume": "The lane goes on.",
    "task-pause": "The task is paused: its messages wait in their queue.",
    "task-resume": "The task goes on; what waits comes back within ten minutes at most.",
    "worker-drain": "The worker takes nothing more and ends what it runs.",
    "worker-resume": "The worker takes messages again.",
}


def _note() -> str | None:
    return NOTES.get(request.args.get("note", ""))


@blueprint.get("/overview")
@page()
def overview() -> str:
    """Show everything at a glance."""
    snapshot = services().fleet.snapshot()
    try:
        groups = [group for group in services().letters.groups.list() if group.open]
    except LettersError:
        groups = None
    return render_template(
        "console/overview.html",
        snapshot=snapshot,
        groups=sorted(groups, key=lambda group: -group.last) if groups is not None else None,
    )


@blueprint.get("/lanes/")
@page()
def lanes() -> str:
    """List lanes and tasks."""
    fleet = services().fleet
    snapshot = fleet.snapshot()
    paused = {pause.name: pause for pause in snapshot.pauses if pause.what == "task"}
    definitions = services().definitions
    return render_template(
        "console/lanes.html",
        snapshot=snapshot,
        tasks=[(name, definitions[name].lane, paused.get(name)) for name in sorted(definitions)],
        note=_note(),
    )


@blueprint.route("/lanes/<name>/<any(pause, resume):verb>", methods=["GET", "POST"])
@page("ops:write")
def lane(name: str, verb: str) -> str | AnyResponse:
    """Ask, then pause or resume a lane."""
    fleet = services().fleet
    back = url_for("console.fleet.lanes")
    if request.method == "POST":
        getattr(fleet, verb)("lane", name, actor=actor_name(), reason=reason())
        return redirect(f"{back}?note=lane-{verb}", code=303)
    view = next((each for each in fleet.snapshot().lanes if each.name == name), None)
    if view is None:
        raise FleetItemNotFound("There is no such lane.")
    waiting = view.backlog.visible if view.backlog else 0
    if verb == "pause":
        text = (
            f"{len(view.workers)} workers stop receiving within seconds and give back what they "
            "have not started. What runs ends. No attempt is used up. Jobs can still be submitted; "
            "those older than their maximum age expire while they wait."
        )
        question = Confirmation(
            f"Pause lane {name}?", text, waiting, "messages wait in it now", "Pause lane", back
        )
    else:
        question = Confirmation(
            f"Resume lane {name}?",
            "Its workers receive again within seconds.",
            waiting,
            "messages wait in it now",
            "Resume lane",
            back,
            danger=False,
        )
    return asked(question)


@blueprint.route("/tasks/<name>/<any(pause, resume):verb>", methods=["GET", "POST"])
@page("ops:write")
def task(name: str, verb: str) -> str | AnyResponse:
    """Ask, then pause or resume a task."""
    fleet = services().fleet
    back = url_for("console.fleet.lanes")
    if name not in fleet.tasks:
        raise FleetItemNotFound("There is no such task.")
    if request.method == "POST":
        getattr(fleet, verb)("task", name, actor=actor_name(), reason=reason())
        return redirect(f"{back}?note=task-{verb}", code=303)
    workers = sum(worker.state != "lost" for worker in fleet.workers())
    pausing = verb == "pause"
    return asked(
        Confirmation(
            f"{verb.capitalize()} task {name}?",
            "Workers put its messages back unstarted, for longer the longer the pause lasts, up to "
            "ten minutes at a time. No attempt is used up; other tasks go on."
            if pausing
            else "Workers start its messages again as these come back: within ten minutes.",
            workers,
            "workers are told",
            f"{verb.capitalize()} task",
            back,
            danger=pausing,
        )
    )


@blueprint.get("/workers/")
@page()
def workers() -> str:
    """List workers."""
    return render_template("console/workers.html", workers=services().fleet.workers(), note=_note())


@blueprint.route("/workers/<name>/<any(drain, resume):verb>", methods=["GET", "POST"])
@page("ops:write")
def worker(name: str, verb: str) -> str | AnyResponse:
    """Ask, then drain a worker or have it take messages again."""
    fleet = services().fleet
    back = url_for("console.fleet.workers")
    if request.method == "POST":
        do = fleet.drain if verb == "drain" else fleet.undrain
        do(name, actor=actor_name(), reason=reason())
        return redirect(f"{back}?note=worker-{verb}", code=303)
    view = fleet.worker(name)
    if verb == "drain":
        text = (
            "It receives nothing more, gives back what it has not started and ends what it runs. "
            "It stays up, idle, until it is resumed or stopped."
        )
    else:
        text = "It receives again within seconds."
    return asked(
        Confirmation(
            f"{verb.capitalize()} worker {name}?",
            text,
            len(view.report.running),
            "jobs run in it now",
            f"{verb.capitalize()} worker",
            back,
            danger=verb == "drain",
        )
    )


@blueprint.get("/keys/")
@page()
def keys() -> str:
    """List the keys."""
    return render_template("console/keys.html", keys=services().runtime.keyring.describe())


@blueprint.get("/audit/")
@page()
def audit() -> str:
    """List who did what."""
    after = request.args.get("after") or None
    lines, following = services().letters.audit.page(after=after)
    today = datetime.now(UTC)
    return render_template(
        "console/audit.html",
        lines=lines,
        after=following,
        later=bool(after),
        since=(today - timedelta(days=30)).strftime("%Y-%m-%d"),
        until=today.strftime("%Y-%m-%d"),
    )


@blueprint.get("/audit/export")
@page()
def export() -> AnyResponse:
    """Hand out the lines of some days as a file."""
    since = _day(request.args.get("since", ""), "since")
    until = _day(request.args.get("until", ""), "until") + 86_400 - 0.001
    form = request.args.get("format", "jsonl")
    if form not in ("jsonl", "csv") or not since <= until:
        raise Problem("malformed-request", detail="Choose days in their order, and a format.")
    return download(since, until, form)


def _day(text: str, name: str) -> float:
    """Return the first second, in UTC, of a day that a form gave."""
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise Problem("malformed-request", detail=f"`{name}` is a day as 2026-11-25.") from None
