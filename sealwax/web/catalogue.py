"""Which tasks there are, with their contracts as JSON Schemas."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify

from sealwax.web.auth import principal, requires
from sealwax.web.services import services

__all__ = ["blueprint"]

blueprint = Blueprint("catalogue", __name__, url_prefix="/v1")


@blueprint.get("/tasks")
@requires(None)
def tasks() -> Response:
    """List the tasks that the token may submit."""
    allowed = [
        definition
        for name, definition in sorted(services().definitions.items())
        if principal().allows("jobs:submit", name)
    ]
    return jsonify(
        {
            "tasks": [
                {
                    "name": definition.name,
                    "description": definition.description,
                    "version": definition.version,
                    "attempts": definition.policy(services().settings).attempts,
                    "schema": definition.contract.model_json_schema(),
                }
                for definition in allowed
            ]
        }
    )
