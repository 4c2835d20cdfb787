"""Lanes, tasks, workers and keys: looking at them, pausing and draining."""

from __future__ import annotations

from typing import Any

from flask import Response, jsonify

from sealwax.control.fleet import LaneView
from sealwax.control.heartbeats import WorkerView
from sealwax.control.pauses import Pause
from sealwax.web.auth import requires
from sealwax.web.ops.common import actor, ops_blueprint, reason_of
from sealwax.web.problems import FLEET_ERRORS
from sealwax.web.services import services
from sealwax.web.times import iso

__all__ = ["blueprint"]

blueprint = ops_blueprint("fleet", first=FLEET_ERRORS)


@blueprint.get("/lanes")
@requires("ops:read")
def lanes() -> Response:
    """List the lanes: backlog, in flight, oldest job, rates, pauses."""
    snapshot = services().fleet.snapshot()
    return jsonify({"at": iso(snapshot.at), "lanes": [_lane(lane) for lane in snapshot.lanes]})


@blueprint.get("/workers")
@requires("ops:read")
def workers() -> Response:
    """List the workers that have reported within an hour."""
    return jsonify({"workers": [_worker(view) for view in services().fleet.workers()]})


@blueprint.get("/pauses")
@requires("ops:read")
def pauses() -> Response:
    """List what is paused."""
    return jsonify({"pauses": [_pause(pause) for pause in services().fleet.pauses()]})


@blueprint.get("/keys")
@requires("ops:read")
def keys() -> Response:
    """List the public halves of all keys by id; nothing private is here to show."""
    rows = [
        {**row, "created": iso(row["created"])} for row in services().runtime.keyring.describe()
    ]
    return jsonify({"keys": rows})


@blueprint.post("/lanes/<name>/<any(pause, resume):verb>")
@requires("ops:write")
def lane(name: str, verb: str) -> Response:
    """Pause or resume a lane."""
    getattr(services().fleet, verb)("lane", name, actor=actor(), reason=reason_of())
    return jsonify({"lane": name, "paused": verb == "pause"})


@blueprint.post("/tasks/<name>/<any(pause, resume):verb>")
@requires("ops:write")
def task(name: str, verb: str) -> Response:
    """Pause or resume a task, in whatever lane."""
    getattr(services().fleet, verb)("task", name, actor=actor(), reason=reason_of())
    return jsonify({"task": name, "paused": verb == "pause"})


@blueprint.post("/workers/<name>/<any(drain, resume):verb>")
@requires("ops:write")
def worker(name: str, verb: str) -> Response:
    """Drain a worker, or have it take messages again."""
    fleet = services().fleet
    (fleet.drain if verb == "drain" else fleet.undrain)(name, actor=actor(), reason=reason_of())
    return jsonify({"worker": name, "draining": verb == "drain"})


def _pause(pause: Pause) -> dict[str, Any]:
    return {
        pause.what: pause.name,
        "by": pause.by,
        "reason": pause.reason,
        "since": iso(pause.since),
    }


def _lane(lane: LaneView) -> dict[str, Any]:
    backlog = lane.backlog
    return {
        "name": lane.name,
        "queue": lane.queue,
        "backlog": backlog.visible if backlog else None,
        "in_flight": backlog.in_flight if backlog else None,
        "delayed": backlog.delayed if backlog else None,
        "trouble": lane.trouble,
        "running": lane.running,
        "slots": lane.slots,
        "workers": len(lane.workers),
        "oldest": iso(lane.oldest),
        "finished_per_second": round(lane.summary.rate("finished"), 3),
        "postponed_per_second": round(lane.summary.rate("postponed"), 3),
        "dead_per_second": round(lane.summary.rate("dead"), 3),
        "latency_seconds": lane.summary.mean("latency"),
        "paused": _pause(lane.pause) if lane.pause else None,
    }


def _worker(view: WorkerView) -> dict[str, Any]:
    report = view.report
    return {
        "id": report.id,
        "state": view.state,
        "lane": report.lane,
        "host": report.host,
        "pid": report.pid,
        "version": report.version,
        "pool": report.pool,
        "concurrency": report.concurrency,
        "started": iso(report.started),
        "seen": iso(report.seen),
        "draining": view.draining,
        "holds": list(report.holds),
        "held": report.held,
        "closed_routes": list(report.routes),
        "clock_off_seconds": report.clock_off,
        "running": [
            {"job": each.job, "task": each.task, "since": iso(each.since)}
            for each in report.running
        ],
        "counters": dict(report.counters),
    }
