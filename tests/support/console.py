"""The console as a browser without JavaScript uses it, through Flask's test client."""

from __future__ import annotations

import re

from flask.testing import FlaskClient

__all__ = ["csrf_of", "sign_in"]


def csrf_of(page: str) -> str:
    """Return the value that the forms of a page send back."""
    found = re.search(r'name="csrf" value="([^"]+)"', page)
    assert found, page
    return found[1]


def sign_in(client: FlaskClient, token: str, **more: str):
    """Fill in the sign-in page."""
    csrf = csrf_of(client.get("/console/sign-in").text)
    return client.post("/console/sign-in", data={"csrf": csrf, "token": token, **more})
