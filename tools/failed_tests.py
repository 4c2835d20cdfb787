"""Name the tests that failed in the last run; fail when there is none, or more than `--most`.

Used before they are run again: a few that fail beside others may be the machine's load, many
are a defect.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

LAST_FAILED = Path(".pytest_cache/v/cache/lastfailed")


def main() -> int:
    """Print the names from pytest's cache; return 0 only for 1 to `--most` of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--most", type=int, required=True, help="how many may have failed")
    most = parser.parse_args().most
    failed = sorted(json.loads(LAST_FAILED.read_text())) if LAST_FAILED.exists() else []
    print(f"{len(failed)} failed in the last run (at most {most} are run again):")
    for name in failed[: most + 1]:
        print(f"  {name}")
    return 0 if 1 <= len(failed) <= most else 1


if __name__ == "__main__":
    sys.exit(main())
