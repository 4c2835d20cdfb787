"""The state folder of `sealwax dev`: one run at a time, and the files it writes for others."""

from __future__ import annotations

import fcntl
import os
import shlex
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

from sealwax.errors import SealwaxError

__all__ = ["AlreadyRunning", "StateLock", "write_private"]


class AlreadyRunning(SealwaxError):
    """Another `sealwax dev` uses this state folder; stop it, or name another with --state-dir."""


class StateLock:
    """Held by one run at a time; the system frees it when its last holder ends.

    Parameters
    ----------
    folder
        The state folder, made where needed.
    former_seconds
        How long to wait where the named run is gone and its watchdog still
        ends what it started.

    Raises
    ------
    AlreadyRunning
        Names the process that holds it.
    """

    def __init__(
        self,
        folder: Path,
        *,
        former_seconds: float = 30.0,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._handle = (folder / "lock").open("a+")
        end = time.monotonic() + former_seconds
        while not self._try():
            self._handle.seek(0)
            holder = self._handle.read().strip()
            if _alive(holder) or time.monotonic() > end:
                self._handle.close()
                raise AlreadyRunning(
                    f"{folder} is in use by process {holder or '(unknown)'}; stop that one, or "
                    "name another folder with --state-dir."
                )
            pause(0.1)
        self._handle.seek(0)
        self._handle.truncate()
        self._handle.write(f"{os.getpid()}\n")
        self._handle.flush()

    def _try(self) -> bool:
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def fileno(self) -> int:
        """Return the descriptor that holds the lock."""
        return self._handle.fileno()

    def close(self) -> None:
        """Let go."""
        self._handle.close()

    def __enter__(self) -> Self:
        """Return itself, locked since construction."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let go."""
        self.close()


def _alive(pid: str) -> bool:
    if not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as handle:
        handle.write(text)
    part.replace(path)


def exports(variables: Mapping[str, str]) -> str:
    """Return shell lines that export the variables: `export NAME='value'`."""
    return "".join(
        f"export {name}='{value}'\n"
        if "'" not in value
        else f"export {name}={shlex.quote(value)}\n"
        for name, value in variables.items()
    )
