"""Reasons for dead letters: their texts, and which are a job's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from sealwax.reasons import Reason


@pytest.mark.parametrize("reason", Reason)
def test_a_reason_has_a_text_and_stands_in_the_operators_page(reason: Reason) -> None:
    page = (Path(__file__).parents[2] / "docs" / "dead-letters.md").read_text(encoding="utf-8")
    verified = "yes" if reason.verified else "no"
    assert f"| `{reason.value}` | {reason.text}. | {verified} |" in page


def test_which_letters_are_a_jobs_own() -> None:
    assert {reason for reason in Reason if reason.verified} == {
        "rejected",
        "exhausted",
        "crashed",
        "unopenable",
        "unknown-task",
    }


@pytest.mark.parametrize("value", [None, 5, "", "Rejected", "rejected ", {}, [], b"rejected"])
def test_a_stored_text_that_names_no_reason_is_none(value: object) -> None:
    assert Reason.read(value) is None
