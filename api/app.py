"""The application factory, named by the setting `app`."""

from __future__ import annotations

from typing import Any

from flask import Flask

from api import whoami
from sealwax import web

__all__ = ["create_app"]


def create_app(*args: Any, **options: Any) -> Flask:
    """Return the edge with this service's own routes; takes what `sealwax.web.create_app` does."""
    return web.create_app(*args, blueprints=[whoami.blueprint], **options)
