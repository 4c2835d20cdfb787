"""Scheme of the broker's URL: makes `sealwax://` known to kombu, whatever is imported first.

kombu finds transports in a table of its own and has no entry point for them. It
loads those of its serializers before it makes a connection, so an installed
Sealwax names this module as one (`kombu.serializers` in `pyproject.toml`). Every
process that imports kombu imports this: it must stay light, and name no module
of kombu that imports `kombu.serialization`.
"""

from __future__ import annotations

from kombu.transport import TRANSPORT_ALIASES

__all__ = ["SERIALIZER", "register_scheme"]

#: What kombu registers for the entry point: no encoder, no decoder, a type that nobody sends.
SERIALIZER = (None, None, "application/x-sealwax-none")


def register_scheme() -> None:
    """Add the scheme to kombu's table of transports."""
    TRANSPORT_ALIASES["sealwax"] = "sealwax.transport:Transport"


register_scheme()
