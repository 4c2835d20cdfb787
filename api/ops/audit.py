"""The audit log, to read and to export."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

from flask import Response, jsonify, request

from api.auth import requires
from api.ops.common import limit_of, moment, ops_blueprint, seconds
from api.services import services
from sealwax.letters import AuditRecord

__all__ = ["blueprint"]

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
    """Stream all lines between `since` and `until` as JSON lines, the oldest first."""
    now = time.time()
    since = seconds(request.args.get("since", now - 86_400), "/since")
    until = seconds(request.args.get("until", now), "/until")
    audit = services().letters.audit

    def lines() -> Iterator[str]:
        for line in audit.export(since=since, until=until):
            yield json.dumps(_document(line)) + "\n"

    return Response(lines(), content_type="application/x-ndjson")


def _document(line: AuditRecord) -> dict[str, Any]:
    return {
        "id": line.id,
        "at": moment(line.at),
        "actor": line.actor,
        "verb": line.verb,
        "target": line.target,
        "count": line.count,
        "reason": line.reason,
    }
