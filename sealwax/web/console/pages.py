"""The console's frame: the blueprint, its headers, its error pages, signing in and out."""

from __future__ import annotations

from typing import Any

import structlog
from flask import Blueprint, Response, g, make_response, redirect, render_template, request, url_for
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as AnyResponse

from sealwax import version
from sealwax.errors import SealwaxError
from sealwax.web.auth import caller_address
from sealwax.web.console import format as formats
from sealwax.web.console.errors import error_page
from sealwax.web.console.guard import (
    actor,
    actor_name,
    allowed,
    check_form,
    codec,
    current_session,
    ended_sessions,
    form_session,
    keep,
    page,
    safe_next,
    signed_in,
)
from sealwax.web.console.session import COOKIE, FORM_COOKIE, Session
from sealwax.web.problems import FLEET_ERRORS, Problem, problem_of
from sealwax.web.services import services
from sealwax.web.tokens import TokenInvalid, TokensUnreachable, TooManyUnknownTokens

__all__ = ["blueprint"]

log = structlog.get_logger("sealwax.console")

#: Nothing from elsewhere, nothing inline, in nobody's frame.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

#: The navigation: endpoint, name, and the key that follows `g`.
NAVIGATION: list[tuple[str, str, str]] = [
    ("console.fleet.overview", "Overview", "o"),
    ("console.jobs.index", "Jobs", "j"),
    ("console.letters.index", "Dead letters", "d"),
    ("console.strays.index", "Strays", "s"),
    ("console.replays.index", "Replays", "r"),
    ("console.fleet.lanes", "Lanes", "l"),
    ("console.fleet.workers", "Workers", "w"),
    ("console.fleet.keys", "Keys", "k"),
    ("console.fleet.audit", "Audit", "a"),
]


blueprint = Blueprint(
    "console",
    __name__,
    url_prefix="/console",
    template_folder="templates",
    static_folder="static",
    static_url_path="/static",
)

for _name in formats.__all__:
    blueprint.add_app_template_filter(getattr(formats, _name), _name)
blueprint.add_app_template_global(formats.sparkline, "sparkline")


@blueprint.context_processor
def _context() -> dict[str, Any]:
    session = g.get("console")
    return {
        "navigation": NAVIGATION,
        "allowed": allowed,
        "csrf": session.csrf if session else "",
        "environment": services().settings.environment,
        "version": version(),
        "who": g.get("principal"),
    }


@blueprint.after_request
def _headers(response: Response) -> Response:
    response.headers["Content-Security-Policy"] = POLICY
    response.headers["Referrer-Policy"] = "same-origin"
    response.headers["X-Frame-Options"] = "DENY"
    response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
    response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
    response.headers["Permissions-Policy"] = "camera=(), geolocation=(), microphone=()"
    if request.endpoint == "console.static":
        response.headers["Cache-Control"] = "public, max-age=300"
    return response


@blueprint.errorhandler(Problem)
def _problem(problem: Problem) -> AnyResponse:
    return error_page(problem)


@blueprint.errorhandler(SealwaxError)
def _ours(error: SealwaxError) -> AnyResponse:
    return error_page(problem_of(error, page=True, first=FLEET_ERRORS))


@blueprint.errorhandler(HTTPException)
def _http(error: HTTPException) -> AnyResponse:
    names = {404: "not-found", 405: "method-not-allowed", 400: "malformed-request"}
    return error_page(Problem(names.get(error.code or 500, "internal-error")))


@blueprint.errorhandler(Exception)
def _unexpected(error: Exception) -> AnyResponse:
    log.error("page failed", exc_info=error)
    return error_page(
        Problem("internal-error", detail="The page failed. Quote the request id to the operator.")
    )


@blueprint.get("/sign-in")
def sign_in() -> AnyResponse:
    """Ask for a token; whoever is signed in stays so, and goes on to the page."""
    wanted = safe_next(request.args.get("next"))
    try:
        if signed_in(current_session()) is not None:
            return redirect(wanted, code=303)
    except TokensUnreachable as error:
        raise problem_of(error) from None
    form = form_session() or codec().begin()
    response = make_response(_form(form, wanted))
    keep(response, form, FORM_COOKIE)
    return response


def _form(form: Session | None, wanted: str, *, failed: bool = False) -> str:
    # To a link on another site the browser answers without the session that it may have.
    linked = request.headers.get("Sec-Fetch-Site") in ("cross-site", "same-site")
    return render_template(
        "console/sign_in.html",
        form_csrf=form.csrf if form else "",
        next=wanted,
        linked=linked,
        failed=failed,
    )


@blueprint.post("/sign-in")
def begin() -> AnyResponse:
    """Exchange a token for a session; one that the browser had before has ended then."""
    form = form_session()
    check_form(form)
    wanted = safe_next(request.form.get("next"))
    tokens = services().tokens
    who = None
    try:
        token = request.form.get("token", "").strip()
        who = tokens.look_up(token, address=caller_address)
        digest = tokens.digest(token)
    except TooManyUnknownTokens as error:
        raise problem_of(error) from None
    except TokenInvalid:
        pass
    except TokensUnreachable as error:
        raise problem_of(error) from None
    if who is None or not who.allows("ops:read"):
        log.info("sign-in refused")
        services().refused.add()
        return make_response(_form(form, wanted, failed=True), 401)
    services().letters.audit.record(
        actor=f"token:{who.id}", verb="console.sign-in", target="console"
    )
    log.info("signed in", token=who.id)
    former = current_session()
    if former is not None:
        ended_sessions().end(former)
    response = redirect(wanted, code=303)
    keep(response, codec().begin(digest))
    response.delete_cookie(FORM_COOKIE, path="/console")
    return response


@blueprint.post("/sign-out")
@page()
def sign_out() -> AnyResponse:
    """End the session, for whoever has its cookie."""
    # First: a session that is to end does so whether the log takes its line or not.
    session: Session = g.console
    ended_sessions().end(session)
    services().letters.audit.record(actor=actor_name(), verb="console.sign-out", target="console")
    log.info("signed out", token=actor().id)
    response = redirect(url_for("console.sign_in"), code=303)
    response.delete_cookie(COOKIE, path="/console")
    return response


@blueprint.get("/")
@page()
def home() -> AnyResponse:
    """Go to the first page."""
    return redirect(url_for(NAVIGATION[0][0]), code=303)


@blueprint.get("/<path:rest>")
@page()
def nothing(rest: str) -> AnyResponse:
    """Say that there is no such page."""
    del rest
    raise Problem("not-found", detail="There is no such page.")
