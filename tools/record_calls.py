"""Record which calls to AWS each role and operator makes, for the proof of the policies.

    python tools/record_calls.py            runs the suites below and adds what is new
    python tools/record_calls.py --anew     forgets what was recorded before

The suites run on emulators (20 minutes on two cores); processes that they start
are recorded too. `tests/unit/ecs/test_policies.py` then holds the
templates to `tests/data/aws-calls.json`: each call is allowed, each statement is needed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

#: Where roles, stewards' duties and commands run as they do in AWS.
SUITES = (
    "tests/acceptance",
    *(
        f"tests/integration/{room}"
        for room in (
            "cli", "control", "deadletters", "ecs", "outbox", "producer", "steward", "web", "worker"
        )
    ),
)  # fmt: skip


def main() -> int:
    """Run the suites and write the file; return pytest's exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--anew", action="store_true", help="forget earlier recordings")
    parser.add_argument("suites", nargs="*", default=SUITES)
    given = parser.parse_args()
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    from support.recorded_calls import FILE, read_calls, write_calls

    with tempfile.TemporaryDirectory() as folder:
        lines = Path(folder) / "calls.jsonl"
        lines.touch()
        ended = subprocess.run(
            [
                sys.executable, "-m", "pytest", "-q", "-n", "2", "-m", "not long",
                "-p", "support.call_recorder", *given.suites,
            ],
            cwd=ROOT,
            check=False,
            env=os.environ
            | {"RECORDED_CALLS": str(lines), "PYTHONPATH": os.pathsep.join(sys.path[:2])},
        )  # fmt: skip
        heard = Path(folder) / "calls.json"
        heard.write_text(f"[{','.join(lines.read_text(encoding='utf-8').splitlines())}]")
        known = [] if given.anew or not FILE.exists() else read_calls()
        write_calls([*known, *read_calls(heard)])
    return ended.returncode


if __name__ == "__main__":
    raise SystemExit(main())
