"""The archive of dead letters, on emulated AWS."""

from support.letters import letter_settings, letters, message, put

__all__ = ["letter_settings", "letters", "message", "put"]
