from __future__ import annotations

from support.web_app import shared_app

__all__ = ["shared_app"]
