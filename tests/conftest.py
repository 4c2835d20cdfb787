"""Fixtures for all tests: no sockets in unit tests, emulated AWS for the others."""

from __future__ import annotations

pytest_plugins = ["support.aws", "support.sockets"]
