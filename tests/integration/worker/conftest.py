from __future__ import annotations

import pytest
from support.job_bench import Bench, make_bench

from sealwax.settings import Settings


@pytest.fixture
def bench(provisioned: Settings) -> Bench:
    """A ledger, an API's and a worker's runtime, and a queue turned by hand."""
    return make_bench(provisioned)
