"""Who reads the machine's clock: what never leaves the machine. All others go by AWS's."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]

#: Modules that read it, by the reason.
READERS = {
    "aws/clock.py": "measures it",
    "cli/health.py": "the age of a file of this machine",
    "cli/steward.py": "writes such a file",
    "local/sandbox/server.py": "a server of this machine alone",
    "testing/__init__.py": "nothing but this process is there",
    "transport/liveness.py": "writes and reads such a file",
    "web/console/fleet.py": "which day it is, for what a page shows",
}


def test_nobody_else_reads_the_machines_clock() -> None:
    found = {
        str(path.relative_to(ROOT / "sealwax"))
        for path in (ROOT / "sealwax").rglob("*.py")
        if re.search(r"\btime\.time\b|\bdatetime\.now\(|\bdt\.datetime\.now\(", path.read_text())
    }
    assert found == set(READERS)
