from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.aws import settings_for
from support.control_table import settings, table
from support.job_bench import Bench, make_bench
from support.web_app import shared_app
from support.worker_lab import WorkerLab, keep_variables

from sealwax.aws.clients import Aws
from sealwax.local.emulator import Emulator
from sealwax.provision import provision
from sealwax.settings import Settings

__all__ = ["bench", "lab", "settings", "shared_app", "shared_bench", "table"]


@pytest.fixture
def bench(provisioned: Settings) -> Bench:
    """A ledger, an API's and a worker's runtime, and a queue turned by hand."""
    return make_bench(provisioned)


@pytest.fixture(scope="module")
def shared_bench(ministack: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """One for all tests of a module: each makes jobs of its own."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        settings = settings_for(monkeypatch, tmp_path_factory.mktemp("bench"), ministack.url)
        provision(settings, Aws())
        yield make_bench(settings)


@pytest.fixture
def lab(
    provisioned: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[WorkerLab]:
    """Real workers on the test's own environment; leases of 6 s."""
    keep_variables(monkeypatch)
    lab = WorkerLab.make(provisioned, tmp_path)
    yield lab
    lab.close()
