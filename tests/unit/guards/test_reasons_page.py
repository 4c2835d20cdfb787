"""docs/dead-letters.md explains every reason that a letter can have, and no others."""

from __future__ import annotations

import re
from pathlib import Path

from sealwax.deadletters.letter import UNVERIFIED
from sealwax.outcomes import DEAD_REASONS

PAGE = Path(__file__).parents[3] / "docs" / "dead-letters.md"

#: What SQS itself gives no reason for.
REDRIVEN = "backstop"


def table() -> dict[str, tuple[str, str]]:
    """Return the page's rows: what a reason means, and whether its letter is verified."""
    text = PAGE.read_text(encoding="utf-8").partition("## Reasons\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([^`]+)` \| ([^|]+) \| (yes|no) \|", text, re.MULTILINE)
    return {name: (meaning, verified) for name, meaning, verified in rows}


def test_each_reason_is_explained() -> None:
    assert set(table()) == {*DEAD_REASONS, REDRIVEN}


def test_the_page_says_which_letters_somebody_verified() -> None:
    found = {name for name, (_, verified) in table().items() if verified == "no"}
    assert found == UNVERIFIED
