"""Liveness and readiness of a worker, and the file that says so."""

from __future__ import annotations

from typing import Any

import pytest

from sealwax.transport.liveness import Liveness, read_status


def test_a_failing_receiver_is_live_but_not_ready(tmp_path: Any) -> None:
    now = [0.0]
    liveness = Liveness(10, clock=lambda: now[0])
    liveness.watch("q")
    assert not liveness.status().ready
    liveness.succeeded("q")
    assert liveness.status().ready
    now[0] = 15
    liveness.turned()
    liveness.failed("q")
    assert (liveness.status().live, liveness.status().ready) == (True, False)
    path = tmp_path / "status.json"
    liveness.write(str(path))
    found = read_status(str(path))
    assert found is not None
    assert found.live
    now[0] = 36
    liveness.turned()
    assert not liveness.status().live


def test_a_stuck_loop_is_not_live() -> None:
    now = [0.0]
    liveness = Liveness(10, loop_timeout=60, clock=lambda: now[0])
    now[0] = 61
    assert not liveness.status().live


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"live": true}'])
def test_a_broken_status_file_is_none(tmp_path: Any, text: str | None) -> None:
    path = tmp_path / "status.json"
    if text is not None:
        path.write_text(text)
    assert read_status(str(path)) is None
