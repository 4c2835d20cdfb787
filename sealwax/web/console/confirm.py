"""The page that asks before something is done: what, how many, why.

Used by all pages with a button that stops, drains or cancels something.
"""

from __future__ import annotations

from dataclasses import dataclass

from flask import render_template, request

from sealwax.web.problems import Problem

__all__ = ["Confirmation", "asked", "reason"]


@dataclass(frozen=True)
class Confirmation:
    """What a confirm page asks.

    Parameters
    ----------
    count
        How many things it will touch, and what they are.
    danger
        Whether it stops or deletes something.
    """

    title: str
    text: str
    count: int
    unit: str
    button: str
    back: str
    danger: bool = True


def asked(question: Confirmation) -> str:
    """Return the page that asks before something is done; its form posts to the same address."""
    return render_template("console/confirm.html", question=question)


def reason() -> str | None:
    """Return the reason that the form gave."""
    given = request.form.get("reason", "").strip()
    if len(given) > 200:
        raise Problem("malformed-request", detail="The reason is longer than 200 characters.")
    return given or None
