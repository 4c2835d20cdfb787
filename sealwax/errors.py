"""The root of every error that Sealwax raises.

Each cause has a class of its own beside the code that raises it; the class's
docstring is its default message and says what to do next. Messages never carry
payloads, secrets or tokens: they end in logs and problem documents.
"""

from __future__ import annotations

import inspect

__all__ = ["ConfigurationError", "MissingExtra", "SealwaxError"]


class SealwaxError(Exception):
    """Sealwax could not do this; see the chained cause."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or inspect.cleandoc(type(self).__doc__ or "").split("\n\n")[0])


class ConfigurationError(SealwaxError):
    """The configuration is incomplete or contradicts itself; `sealwax check` names what to set."""


#: Which extra brings a module that is imported nowhere in the core.
_EXTRAS = {
    "certifi": "http",
    "credstash": "credstash",
    "flask": "api",
    "gunicorn": "api",
    "idna": "http",
    "markupsafe": "api",
    "requests": "http",
    "rich": "cli",
    "standardwebhooks": "local",
    "urllib3": "http",
    "waitress": "api",
    "werkzeug": "api",
}


class MissingExtra(SealwaxError):
    """A part of Sealwax needs a package that is not installed; install the extra that brings it."""

    @classmethod
    def of(cls, error: ModuleNotFoundError) -> MissingExtra | None:
        """Return the error that names the extra, or None where no extra brings the module."""
        module = (error.name or "").split(".")[0]
        extra = _EXTRAS.get(module)
        if extra is None:
            return None
        return cls(
            f"This needs the package {module}: install `sealwax[{extra}]`, or `sealwax[service]` "
            "for all that the roles of a service need."
        )
