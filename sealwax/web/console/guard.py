"""Who looks at the console: every view is wrapped by `page`; a guard test sees to it.

A page needs the scope `ops:read`; what changes anything needs more, comes by
POST, and must bear the session's CSRF value. The API's own guard is
`sealwax.web.auth.requires`; this one tells people in pages what that one tells
programs in problem documents.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec
from urllib.parse import urlsplit

import structlog
from flask import current_app, g, redirect, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from sealwax.web.console.session import (
    COOKIE,
    FORM_COOKIE,
    LIFETIME,
    EndedSessions,
    Session,
    SessionCodec,
)
from sealwax.web.problems import Problem, problem_of
from sealwax.web.services import services
from sealwax.web.tokens import TOKEN_KEY, Principal, TokenInvalid, TokensUnreachable

__all__ = [
    "actor",
    "actor_name",
    "allowed",
    "check_form",
    "codec",
    "current_session",
    "ended_sessions",
    "form_session",
    "keep",
    "page",
    "safe_next",
    "secure",
    "signed_in",
]

P = ParamSpec("P")

_EXTENSION = "sealwax-console-codec"


def codec() -> SessionCodec:
    """Return what reads and writes this app's cookies."""
    found: SessionCodec | None = current_app.extensions.get(_EXTENSION)
    if found is None:
        found = SessionCodec(services().runtime.secrets[TOKEN_KEY])
        current_app.extensions[_EXTENSION] = found
    return found


def secure() -> bool:
    """Return whether the browser came by TLS, here or at a load balancer."""
    public = services().settings.public_url or ""
    forwarded = request.headers.get("X-Forwarded-Proto", "")
    return request.is_secure or public.startswith("https:") or forwarded == "https"


def keep(response: AnyResponse, session: Session, cookie: str = COOKIE) -> None:
    """Give the browser its session, or the one that its sign-in form is bound to."""
    response.set_cookie(
        cookie,
        codec().encode(session),
        max_age=LIFETIME,
        path="/console",
        httponly=True,
        samesite="Strict",
        secure=secure(),
    )


def current_session() -> Session | None:
    """Return the session that the browser says somebody has signed in to."""
    session = codec().decode(request.cookies.get(COOKIE))
    return session if session is not None and session.digest else None


def form_session() -> Session | None:
    """Return what the browser's sign-in form is bound to."""
    session = codec().decode(request.cookies.get(FORM_COOKIE))
    return session if session is not None and not session.digest else None


def ended_sessions() -> EndedSessions:
    """Return which sessions somebody has signed out of."""
    return EndedSessions(services().runtime.control)


def signed_in(session: Session | None) -> Principal | None:
    """Return who is signed in to a session; None where nobody is, or no longer.

    Raises
    ------
    TokensUnreachable, ControlUnreachable, ControlDenied
    """
    if session is None:
        return None
    try:
        who = services().tokens.look_up_digest(session.digest)
    except TokenInvalid:
        return None
    return None if ended_sessions().ended(session) else who


def check_form(session: Session | None) -> None:
    """Refuse a form that did not come from a page of ours.

    Raises
    ------
    Problem
        403.
    """
    site = request.headers.get("Sec-Fetch-Site")
    origin = request.headers.get("Origin")
    foreign = (site is not None and site not in ("same-origin", "none")) or (
        origin is not None and urlsplit(origin).netloc != request.host
    )
    if foreign or session is None or not session.matches(request.form.get("csrf", "")):
        raise Problem(
            "forbidden",
            detail="This form is too old, or did not come from this console. Go back, reload the "
            "page and try again.",
        )


_NEXT = re.compile(r"/console(/[A-Za-z0-9._~/-]*)?(\?[A-Za-z0-9._~&=%+#:-]*)?")


def safe_next(text: str | None) -> str:
    """Return where to go after signing in: a page of the console, whatever was asked for."""
    if text and _NEXT.fullmatch(text) and "//" not in text:
        return text
    return url_for("console.home")


def _sign_in() -> AnyResponse:
    wanted = request.full_path.rstrip("?") if request.method == "GET" else None
    return redirect(url_for("console.sign_in", next=wanted), code=303)


def page(
    scope: str = "ops:read",
) -> Callable[[Callable[P, str | AnyResponse]], Callable[P, str | AnyResponse]]:
    """Let a view run only for a session whose token has `ops:read` and `scope`."""

    def wrap(view: Callable[P, str | AnyResponse]) -> Callable[P, str | AnyResponse]:
        @wraps(view)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> str | AnyResponse:
            session = current_session()
            try:
                who = signed_in(session)
            except TokensUnreachable as error:
                raise problem_of(error) from None
            if who is None:
                return _sign_in()
            g.principal = who
            g.console = session
            structlog.contextvars.bind_contextvars(token=who.id)
            wait = services().limiter.take(who.tenant)
            if wait is not None:
                raise Problem("rate-limited", retry_after=wait)
            for needed in ("ops:read", scope):
                if not who.allows(needed):
                    raise Problem("forbidden", detail=f"Your token lacks the scope {needed}.")
            if request.method == "POST":
                check_form(session)
            return view(*args, **kwargs)

        guarded.sealwax_scope = scope  # type: ignore[attr-defined]
        return guarded

    return wrap


def actor() -> Principal:
    """Return who is signed in."""
    who: Principal = g.principal
    return who


def actor_name() -> str:
    """Return who is signed in, as the audit log names them."""
    return f"token:{actor().id}"


def allowed(scope: str) -> bool:
    """Return whether whoever is signed in may do this; for templates."""
    who: Principal | None = g.get("principal")
    return who is not None and who.allows(scope)
