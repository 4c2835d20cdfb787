"""The replay's table of outcomes."""

from __future__ import annotations

from sealwax.ledger import FINAL
from sealwax.steward.replay import _OUTCOMES


def test_every_state_in_which_a_job_has_ended_ends_its_letter_too() -> None:
    # A state without an outcome would be waited for without a word.
    assert set(_OUTCOMES) == FINAL
