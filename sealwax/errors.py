"""The root of every error that Sealwax raises.

Each cause has a class of its own beside the code that raises it; the class's
docstring is its default message and says what to do next. Messages never carry
payloads, secrets or tokens: they end in logs and problem documents.
"""

from __future__ import annotations

import inspect

__all__ = ["ConfigurationError", "SealwaxError"]


class SealwaxError(Exception):
    """Sealwax could not do this; see the chained cause."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or inspect.cleandoc(type(self).__doc__ or "").split("\n\n")[0])


class ConfigurationError(SealwaxError):
    """The configuration is incomplete or contradicts itself; `sealwax check` names what to set."""
