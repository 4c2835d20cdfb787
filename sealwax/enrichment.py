"""What the API fetches for a payload before it is sealed.

A task names an `enrich` function; the API calls it after validation, inside
the request. It gets an `EnrichmentContext` and returns the model that is sealed; the worker
validates against that model. Failures are `sealwax.egress.enrich.NotFoundUpstream`
(the caller's mistake) and `UpstreamDown` (try again later).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sealwax.settings import Settings

if TYPE_CHECKING:
    # A service that enriches nothing needs no HTTP client.
    from sealwax.egress import OutgoingClient

__all__ = ["EnrichmentContext"]


@dataclass(frozen=True, kw_only=True)
class EnrichmentContext:
    """What an `enrich` function may use.

    Parameters
    ----------
    client
        Checks addresses and bounds time; see `sealwax.egress`.
    secrets
        Those that the task declares with `edge_secrets`; they are under the
        API's key, not the workers'.
    """

    settings: Settings
    client: OutgoingClient
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
