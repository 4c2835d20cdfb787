"""The audit log, to read and to export."""

from __future__ import annotations

import json
from typing import Any

from flask import Response, jsonify, request

from sealwax.aws.clock import AWS_CLOCK
from sealwax.deadletters import AuditRecord
from sealwax.spreadsheets import csv_lines
from sealwax.web.auth import requires
from sealwax.web.ops.common import limit_of, ops_blueprint, seconds
from sealwax.web.problems import Problem
from sealwax.web.services import services
from sealwax.web.times import iso

__all__ = ["blueprint", "download"]

COLUMNS = ("id", "at", "actor", "verb", "target", "count", "reason")

blueprint = ops_blueprint("audit")


@blueprint.get("/audit")
@requires("ops:read")
def page() -> Response:
    """List who changed what, the newest first; a page may be empty and still have a next one."""
    lines, after = services().letters.audit.page(limit=limit_of(), after=request.args.get("after"))
    return jsonify({"lines": [_document(line) for line in lines], "after": after})


@blueprint.get("/audit/export")
@requires("ops:read")
def export() -> Response:
    """Stream all lines between `since` and `until`, the oldest first.

    `format`: `jsonl` (the default) or `csv`.
    """
    now = AWS_CLOCK()
    since = seconds(request.args.get("since", now - 86_400), "/since")
    until = seconds(request.args.get("until", now), "/until")
    form = request.args.get("format", "jsonl")
    if form not in ("jsonl", "csv"):
        raise Problem(
            "validation-failed", errors=[{"pointer": "/format", "detail": "must be jsonl or csv"}]
        )
    return download(since, until, form)


def download(since: float, until: float, form: str) -> Response:
    """Return a stream of lines as a file, in form `jsonl` or `csv`."""
    found = services().letters.audit.export(since=since, until=until)
    documents = (_document(line) for line in found)
    made = (
        csv_lines(COLUMNS, (document.values() for document in documents))
        if form == "csv"
        else (json.dumps(document) + "\n" for document in documents)
    )
    name = f"sealwax-{services().settings.environment}-audit.{form}"
    kind = "text/csv; charset=utf-8; header=present" if form == "csv" else "application/x-ndjson"
    return Response(
        made,
        content_type=kind,
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def _document(line: AuditRecord) -> dict[str, Any]:
    return {
        "id": line.id,
        "at": iso(line.at),
        "actor": line.actor,
        "verb": line.verb,
        "target": line.target,
        "count": line.count,
        "reason": line.reason,
    }
