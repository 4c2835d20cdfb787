"""An app of each test's own."""

from support.web_app import app, auth, client, own_app, settings, token

__all__ = ["app", "auth", "client", "own_app", "settings", "token"]
