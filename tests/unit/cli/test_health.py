from __future__ import annotations

import json
import time

import pytest
from click.testing import CliRunner

from sealwax.cli import cli
from sealwax.cli.steward import write_status


@pytest.fixture
def status(tmp_path, monkeypatch):
    path = tmp_path / "status.json"
    monkeypatch.setenv("SEALWAX_LIVENESS_FILE", str(path))
    return path


def health() -> int:
    return CliRunner().invoke(cli, ["health", "steward"]).exit_code


def test_a_steward_is_healthy_while_it_writes_that_its_duties_live(status):
    assert health() == 1  # nothing written
    write_status(status, live=True)
    assert health() == 0
    write_status(status, live=False)
    assert health() == 1
    status.write_text(json.dumps({"at": time.time() - 300, "live": True, "ready": True}))
    assert health() == 1


def test_a_status_that_cannot_be_written_ends_nothing(tmp_path):
    write_status(tmp_path / "missing" / "status.json", live=True)
