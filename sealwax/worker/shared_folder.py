"""A folder for what the processes of one worker share: it lives as long as the one that made it."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

__all__ = ["make_shared_folder"]


def make_shared_folder(prefix: str) -> Path:
    """Make a folder for this process and those it forks; it goes with this process alone."""
    folder, owner = tempfile.mkdtemp(prefix=prefix), os.getpid()

    def remove() -> None:
        if os.getpid() == owner:
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    return Path(folder)
