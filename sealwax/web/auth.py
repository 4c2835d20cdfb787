"""Who is asking: bearer tokens, scopes and the tenant's rate limit.

Every view below `/v1` is wrapped by `requires`; a guard test sees to it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import structlog
from flask import g, request

from sealwax.web.problems import Problem
from sealwax.web.services import services
from sealwax.web.tokens import Principal

__all__ = ["caller_address", "principal", "requires"]

_UNDER_WAY = "Too many requests are under way; wait for some of them to end."

P = ParamSpec("P")
R = TypeVar("R")


def requires(scope: str | None) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a view run only for a token with `scope` (None: any valid token).

    A scope that depends on the task, such as `jobs:submit:webhooks.*`, is
    checked again by the view with the task's name.
    """

    def wrap(view: Callable[P, R]) -> Callable[P, R]:
        @wraps(view)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
            kind, _, token = request.headers.get("Authorization", "").partition(" ")
            if kind.lower() != "bearer" or not token:
                raise Problem("unauthenticated")
            edge = services()
            who = g.principal = edge.tokens.look_up(token.strip(), address=caller_address)
            tenant = edge.runtime.hashes.tenant_ref(who.tenant)
            structlog.contextvars.bind_contextvars(tenant=tenant, token=who.id)
            wait = edge.limiter.take(who.tenant)
            if wait is not None:
                raise Problem("rate-limited", retry_after=wait)
            if scope is not None and not any(
                granted == scope or granted.startswith(f"{scope}:") for granted in who.scopes
            ):
                raise Problem("forbidden", detail=f"The token lacks the scope {scope}.")
            if not edge.under_way.enter(who.tenant):
                raise Problem("rate-limited", detail=_UNDER_WAY, retry_after=1)
            try:
                return view(*args, **kwargs)
            finally:
                edge.under_way.leave(who.tenant)

        guarded.sealwax_scope = scope  # type: ignore[attr-defined]
        return guarded

    return wrap


def caller_address() -> str:
    """Return the address that the request came from: of IPv6 its network, as one host has 2^64.

    Behind a load balancer that is what it wrote last into X-Forwarded-For. Only who
    stands in a private network, as load balancers do, is believed; from elsewhere
    anybody could name a new address with each request.
    """
    peer = request.remote_addr or ""
    named = request.headers.get("X-Forwarded-For", "").rpartition(",")[2].strip()
    for text in (named, peer) if _is_private(peer) else (peer,):
        try:
            found = ipaddress.ip_address(text)
        except ValueError:
            continue
        if isinstance(found, ipaddress.IPv6Address):
            return str(ipaddress.ip_network((found, 64), strict=False))
        return str(found)
    return peer


def _is_private(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_private
    except ValueError:
        return False


def principal() -> Principal:
    """Return whom the current request's token speaks for."""
    who: Principal = g.principal
    return who
