"""Reading what happened: the canary is found in every form, attempts get their ends."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from chaos.observer import forms, letters, read_attempts, read_effects

MARK = "CANARY0123456789abcdef"


@pytest.mark.parametrize("lead", range(4))
@pytest.mark.parametrize("layers", range(3))
def test_the_canary_is_found_in_clear_and_in_base64_of_base64(lead: int, layers: int) -> None:
    text = f"{'x' * lead}{MARK} and more"
    for layer in range(layers):
        text = "y" * layer + base64.b64encode(text.encode()).decode()
    assert any(form in text for form in forms(MARK))


def test_what_holds_no_canary_is_not_taken_for_one() -> None:
    text = base64.b64encode(b"CANARY of another run, 0123456789" * 3).decode()
    assert not any(form in text for form in forms(MARK))


def test_attempts_get_their_end_or_none(tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    lines = [("start", 1, 10.0, 7), ("start", 2, 11.0, 8), ("end", 2, 12.0, 8)]
    journal.write_text(
        "".join(
            json.dumps({"event": e, "job": "j", "attempt": n, "at": at, "pid": pid, "session": 5})
            + "\n"
            for e, n, at, pid in lines
        )
    )
    found = read_attempts(journal, {5: "worker-a.1"})
    assert [(one.number, one.end, one.process) for one in found] == [
        (1, None, "worker-a.1"),
        (2, 12.0, "worker-a.1"),
    ]


def test_only_what_the_downstream_took_is_an_effect(tmp_path: Path) -> None:
    path = tmp_path / "deliveries.jsonl"
    rows = [("a", "ok"), ("b", "fail"), (None, "ok")]
    path.write_text(
        "".join(
            json.dumps({"idempotency_key": k, "answered": a, "at": 1.0}) + "\n" for k, a in rows
        )
    )
    assert [one.job for one in read_effects(path)] == ["a"]


def test_a_dead_message_without_a_reason_has_none() -> None:
    reason = {"StringValue": '{"reason": "crashed", "job": "j"}'}
    found = letters(
        [{"Body": "x"}, {"Body": "y", "MessageAttributes": {"sealwax-dead-letter": reason}}]
    )
    assert [(one.reason, one.job) for one in found] == [("none", None), ("crashed", "j")]
