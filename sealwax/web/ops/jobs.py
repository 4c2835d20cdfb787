"""Jobs of all tenants: found by tenant or by what must be watched, in pages; cancelled."""

from __future__ import annotations

from typing import Any

from flask import Response, jsonify, request

from sealwax.ledger import (
    DEAD_WATCH,
    JobPage,
    JobState,
    LedgerEntry,
    is_cursor,
    is_job_id,
    open_watch,
)
from sealwax.web.auth import requires
from sealwax.web.ops.common import actor, ops_blueprint, reason_of
from sealwax.web.problems import Problem
from sealwax.web.services import services
from sealwax.web.times import iso

__all__ = ["blueprint", "cancel_job", "cursor", "find"]

blueprint = ops_blueprint("jobs")

#: Jobs on one page.
LIMIT = 50


def find(*, tenant: str = "", state: str = "", lane: str = "", after: str | None = None) -> JobPage:
    """Return a page of jobs: a tenant's, newest first; else dead or open ones, oldest first.

    Parameters
    ----------
    tenant
        Its name; only its HMAC is looked for.
    state
        `dead` or `open`; with a tenant any state, which then thins the page out.
    lane
        With `open`: which lane's.
    """
    runtime = services().runtime
    if tenant:
        page = runtime.ledger.of_tenant(runtime.hashes.tenant_ref(tenant), after, LIMIT)
        return JobPage(
            tuple(entry for entry in page.entries if _fits(entry, state, lane)), page.after
        )
    if state == "dead":
        page = runtime.ledger.watching(DEAD_WATCH, after, LIMIT)
        return JobPage(tuple(entry for entry in page.entries if _fits(entry, "", lane)), page.after)
    chosen = lane if lane in services().settings.lanes else next(iter(services().settings.lanes))
    return runtime.ledger.watching(open_watch(chosen), after, LIMIT)


def _fits(entry: LedgerEntry, state: str, lane: str) -> bool:
    if lane and entry.lane != lane:
        return False
    return not state or entry.state.value == state or (state == "open" and not entry.final)


@blueprint.get("/jobs")
@requires("ops:read")
def index() -> Response:
    """List jobs by `tenant`, `state` and `lane`."""
    given = {name: request.args.get(name, "") for name in ("tenant", "state", "lane")}
    page = find(**given, after=cursor(request.args.get("after")))
    return jsonify({"jobs": [document(entry) for entry in page.entries], "after": page.after})


def cursor(text: str | None) -> str | None:
    """Check what a page gave as `after`; anything else must not reach DynamoDB."""
    if not text:
        return None
    if not is_cursor(text):
        raise Problem("validation-failed", detail="`after` is not one that a page gave.")
    return text


@blueprint.get("/jobs/<job_id>")
@requires("ops:read")
def show(job_id: str) -> Response:
    """Show one job, of whatever tenant; neither payload nor result."""
    entry = services().runtime.ledger.get(job_id) if is_job_id(job_id) else None
    if entry is None:
        raise Problem("not-found")
    return jsonify(document(entry))


@blueprint.post("/jobs/<job_id>/cancel")
@requires("ops:write")
def cancel(job_id: str) -> Response:
    """Cancel a job of whatever tenant.

    200: it is cancelled. 202: it runs, its attempt is asked to stop; it may
    succeed all the same. 409: it had ended otherwise.
    """
    after = cancel_job(job_id, actor=actor(), reason=reason_of())
    response = jsonify(document(after))
    response.status_code = 200 if after.final else 202
    return response


def cancel_job(job_id: str, *, actor: str, reason: str | None) -> LedgerEntry:
    """Cancel a job on record; return its entry after it.

    Raises
    ------
    Problem
        404 or 409; the audit log has a line only where there was something to cancel.
    """
    ledger = services().runtime.ledger
    entry = ledger.get(job_id) if is_job_id(job_id) else None
    if entry is None:
        raise Problem("not-found")
    if entry.final:
        if entry.state is JobState.CANCELLED:
            return entry
        raise Problem("job-ended", state=entry.state.value)
    services().letters.audit.record(
        actor=actor, verb="job.cancel", target=entry.id, count=1, reason=reason
    )
    after = ledger.cancel(entry.id)
    if after is None:
        raise Problem("not-found")
    if after.final and after.state is not JobState.CANCELLED:
        raise Problem("job-ended", state=after.state.value)
    return after


def document(entry: LedgerEntry) -> dict[str, Any]:
    """Return what operators see of a job."""
    shown: dict[str, Any] = {
        "id": entry.id,
        "task": entry.task,
        "lane": entry.lane,
        "state": entry.state.value,
        "tenant": entry.tenant,
        "attempts": entry.attempts,
        "crashes": entry.crashes,
        "generation": entry.generation,
        "created": iso(entry.created),
        "updated": iso(entry.updated),
        "started": iso(entry.started),
        "finished": iso(entry.finished),
        "due": iso(entry.due),
    }
    for name in ("reason", "cause", "error", "parent"):
        value = getattr(entry, name)
        if value is not None:
            shown[name] = value
    return shown
