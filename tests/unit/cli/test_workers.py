"""What `sealwax workers list` shows."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from sealwax.cli import cli

ROW = {
    "id": "w1", "state": "ready", "lane": "default", "running": [], "concurrency": 2, "held": 0,
    "version": "1", "seen": "now",
}  # fmt: skip


@pytest.mark.parametrize(("off", "shown"), [(-600.2, "-600 s"), (7, "+7 s"), (5, None)])
def test_a_wrong_clock_is_shown(
    monkeypatch: pytest.MonkeyPatch, off: float, shown: str | None
) -> None:
    class Client:
        def ops(self, *_: str) -> object:
            return {"workers": [ROW | {"clock_off_seconds": off}]}

    monkeypatch.setattr("sealwax.cli.workers.client_from_environment", Client)
    done = CliRunner().invoke(cli, ["workers", "list"])
    assert done.exit_code == 0, done.output
    assert "clock off" in done.output
    assert (shown in done.output) if shown else (" s" not in done.output.splitlines()[-1])
