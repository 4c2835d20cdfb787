"""The steward: what must be done once, whoever does it.

Each duty has a leader lease; any number of stewards may run. It holds no key
that opens payloads.
"""

from __future__ import annotations

from sealwax.steward.duty import Duty, Leader
from sealwax.steward.runner import Steward

__all__ = ["Duty", "Leader", "Steward"]
