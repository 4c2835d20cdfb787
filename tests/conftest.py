"""Fixtures for all tests: no sockets in unit tests, emulated AWS for the others."""

from __future__ import annotations

import sys
from pathlib import Path

# Helpers of the tests themselves live in tests/support.
sys.path.insert(0, str(Path(__file__).parent))

pytest_plugins = ["support.aws", "support.sockets"]
