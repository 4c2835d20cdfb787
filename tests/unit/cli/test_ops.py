"""The operators' commands: what they ask the API, and that they do nothing unless meant."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
from click.testing import CliRunner

from sealwax.cli import cli

LANES = {
    "lanes": [
        {
            "name": "default", "backlog": 7, "in_flight": 1, "running": 1, "slots": 2,
            "workers": 3, "oldest": None, "finished_per_second": 0.5, "paused": None,
        }
    ]
}  # fmt: skip
WORKERS = {
    "workers": [
        {
            "id": "default-h-1", "state": "ready", "lane": "default", "running": [{}, {}],
            "concurrency": 4, "held": 2, "version": "1", "seen": "now",
        }
    ]
}  # fmt: skip


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, object]]:
    calls: list[tuple[str, str, object]] = []

    class Client:
        def ops(self, method: str, path: str, **arguments: object) -> Mapping[str, object]:
            calls.append((method, path, arguments.get("json")))
            return {"lanes": LANES, "workers": WORKERS}.get(path, {})

    for module in ("lanes", "workers"):
        monkeypatch.setattr(f"sealwax.cli.{module}.client_from_environment", Client)
    return calls


@pytest.mark.parametrize(
    ("command", "says", "path"),
    [
        ("lanes pause default", "3 workers are told, 7 messages wait", "lanes/default/pause"),
        ("lanes resume default", "3 workers are told", "lanes/default/resume"),
        ("lanes pause webhooks.relay --task", "7 messages wait", "tasks/webhooks.relay/pause"),
        ("workers drain default-h-1", "2 jobs run in it", "workers/default-h-1/drain"),
        ("workers resume default-h-1", "2 jobs run in it", "workers/default-h-1/resume"),
    ],
)
def test_a_change_is_a_dry_run_unless_it_is_meant(asked, command, says, path) -> None:
    done = CliRunner().invoke(cli, command.split())
    assert done.exit_code == 0, done.output
    assert says in done.output
    assert "--yes" in done.output
    assert [call[0] for call in asked] == ["GET"]
    done = CliRunner().invoke(cli, [*command.split(), "--why", "hot", "--yes"])
    assert done.exit_code == 0, done.output
    assert asked[-1] == ("POST", path, {"reason": "hot"})


def test_lists_are_tables_or_json(asked) -> None:
    for name, rows in (("lanes", LANES), ("workers", WORKERS)):
        shown = CliRunner().invoke(cli, [name, "list"])
        assert "default" in shown.output
        given = CliRunner().invoke(cli, [name, "list", "--json"])
        assert json.loads(given.output) == rows[name]
