"""Why a letter died, in words."""

from __future__ import annotations

import pytest

from sealwax.deadletters.explanation import explain
from sealwax.deadletters.letter import Letter, LetterState
from sealwax.deadletters.signature import CAUSES
from sealwax.outcomes import Reason


def letter(reason: str, cause: str | None = None, error: str | None = None) -> Letter:
    return Letter(
        id="s-0.0", state=LetterState.OPEN, group="g", queue="q", reason=reason, at=1.0, first=1.0,
        last=1.0, cause=cause, error=error, attempts=3,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("reason", "cause", "error", "words"),
    [
        ("malformed", None, "not-json", "neither JSON nor"),
        ("malformed", None, "timelimit", "'timelimit' is wrong"),
        ("exhausted", "http-503", "ReadTimeout", "(http-503), ReadTimeout after 3 attempts."),
        ("unknown-task", None, None, "No worker"),
        ("stray", "unsigned", None, "no worker has signed"),
        ("stray", "not-json", None, "neither JSON nor"),
        ("stray", "new-in-a-later-release", None, "no job's own: new-in-a-later-release."),
        ("stray", None, None, "nobody has said why."),
        ("of-a-later-release", None, None, "dead-lettered as of-a-later-release"),
    ],
)
def test_every_reason_reads_as_a_sentence(
    reason: str, cause: str | None, error: str | None, words: str
) -> None:
    assert words in explain(letter(reason, cause, error))


@pytest.mark.parametrize("cause", sorted(CAUSES))
def test_each_cause_of_not_believing_a_letter_has_words(cause: str) -> None:
    assert cause not in explain(letter(Reason.STRAY, cause))
