"""Release check: says whether a tag, the version and the changelog belong together.

    python tools/release_check.py v1.2.3

Run by the release workflow before anything is built; needs no installed package.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

__all__ = ["problems"]

ROOT = Path(__file__).resolve().parents[1]


def problems(tag: str, pyproject: str, changelog: str) -> list[str]:
    """Return what does not fit, a sentence each. Pure.

    Parameters
    ----------
    tag
        Name of the tag, `v` and the version.
    pyproject, changelog
        The files' texts.
    """
    version = tomllib.loads(pyproject)["project"]["version"]
    found = []
    if tag != f"v{version}":
        found.append(f"The tag is {tag} and the version is {version}: tag v{version}.")
    if not re.search(rf"^## {re.escape(version)} - \d{{4}}-\d\d-\d\d$", changelog, re.MULTILINE):
        found.append(f"CHANGELOG.md has no heading '## {version} - <year>-<month>-<day>'.")
    return found


def main(arguments: list[str]) -> int:
    """Check one tag; return the exit code."""
    (tag,) = arguments
    found = problems(
        tag,
        (ROOT / "pyproject.toml").read_text(encoding="utf-8"),
        (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"),
    )
    for problem in found:
        print(problem)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
