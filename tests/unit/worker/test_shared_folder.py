from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import os, sys
from sealwax.worker.shared_folder import make_shared_folder
folder = make_shared_folder("sealwax-test-")
(folder / "file").touch()
child = os.fork()
if not child:
    sys.exit(0)  # with all that is registered for a process's end
os.waitpid(child, 0)
print(folder, (folder / "file").exists(), oct(folder.stat().st_mode & 0o777))
"""


def test_it_outlives_the_children_and_goes_with_who_made_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60
    )
    folder, kept, mode = done.stdout.split()
    assert (kept, mode) == ("True", "0o700")
    assert not Path(folder).exists()
