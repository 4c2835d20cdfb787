"""An app of each test's own."""

from support.web_app import app, auth, client, settings, token

__all__ = ["app", "auth", "client", "settings", "token"]
