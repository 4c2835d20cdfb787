"""The archive, whose audit log this is, and an app with a control table."""

from support.control_table import settings, table
from support.letters import letter_settings, letters
from support.web_app import shared_app

__all__ = ["letter_settings", "letters", "settings", "shared_app", "table"]
