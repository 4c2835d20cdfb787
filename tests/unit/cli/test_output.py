"""A command's own output is alone on stdout."""

from __future__ import annotations

import sys

import click
import pytest
import structlog

from sealwax.cli import _Lazy, cli


@pytest.fixture
def chatty(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def chatty() -> None:
        log = structlog.get_logger("sealwax.somewhere")
        log.info("task served", task="demo")
        log.warning("clock is off", seconds=9)
        log.error("could not read", exc_info=ValueError("the payload"))
        click.echo('{"ok": true}')

    monkeypatch.setattr(_Lazy, "get_command", lambda *_: chatty)


@pytest.mark.usefixtures("chatty")
def test_logs_go_to_stderr_and_hold_no_text_of_an_exception(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["sealwax", "chatty"])
    with pytest.raises(SystemExit):
        cli()
    found = capsys.readouterr()
    assert found.out == '{"ok": true}\n'
    assert "clock is off" in found.err
    assert "ValueError" in found.err
    assert "task served" not in found.err
    assert "the payload" not in found.err
