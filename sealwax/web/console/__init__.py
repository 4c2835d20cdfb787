"""The console at `/console`: what operators see and do, as pages that need no JavaScript.

Each module serves one kind of page and calls the same functions as the
operations API; templates and the little script stand beside them. No page
refers to anything outside this service. It never shows a payload, except the
one that somebody had revealed.
"""

from __future__ import annotations

from sealwax.web.console import fleet, jobs, letters, replays, reveals, strays
from sealwax.web.console.pages import blueprint

__all__ = ["blueprint"]

for _module in (fleet, jobs, letters, replays, reveals, strays):
    blueprint.register_blueprint(_module.blueprint)
