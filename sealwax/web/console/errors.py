"""The page of what went wrong: the API's problem documents, for people."""

from __future__ import annotations

from flask import g, make_response, render_template
from werkzeug.wrappers import Response as AnyResponse

from sealwax.web.problems import Problem

__all__ = ["error_page"]


def error_page(problem: Problem) -> AnyResponse:
    """Return a problem as a page; it never repeats the input."""
    response = make_response(
        render_template("console/error.html", problem=problem, request_id=g.get("request_id")),
        problem.kind.status,
    )
    if problem.retry_after is not None:
        response.headers["Retry-After"] = str(problem.retry_after)
    return response
