"""The sandbox: a small HTTP service that plays the systems around Sealwax.

For laptops and tests only. It receives webhooks and contacts, records every
one on disk before it answers, serves generated customers as the internal
system, and can be told to fail. Started by ``python -m sealwax.local.sandbox``.
It has no authentication and must listen on loopback or a closed network only.
"""

from __future__ import annotations

from sealwax.local.sandbox.controls import Control, Controls, InvalidControl
from sealwax.local.sandbox.server import Sandbox
from sealwax.local.sandbox.store import Deliveries

__all__ = ["Control", "Controls", "Deliveries", "InvalidControl", "Sandbox"]
