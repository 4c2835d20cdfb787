"""The state folder of `sealwax dev`: one run at a time, and nobody else's to read.

It holds tokens, keys and payloads in clear, as the emulated AWS and the sandbox
keep them: the folder is its owner's alone, and so is each file in it.
"""

from __future__ import annotations

import fcntl
import os
import shlex
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO, Self

from sealwax.errors import SealwaxError

__all__ = [
    "PRIVATE_UMASK",
    "AlreadyRunning",
    "StateFolderUnsafe",
    "StateLock",
    "make_private",
    "open_private",
    "write_private",
]

#: What a process that writes into the folder may not give: anything to group and others.
PRIVATE_UMASK = 0o077

#: What `sealwax dev` writes there. Nothing else is touched: `--state-dir` may name a folder that
#: holds other things.
_OWN = ("lock", "env", "env.part", "defaults.toml", "sealwax.toml", "logs", "aws", "sandbox")


class AlreadyRunning(SealwaxError):
    """Another `sealwax dev` uses this state folder; stop it, or name another with --state-dir."""


class StateFolderUnsafe(SealwaxError):
    """The state folder is another user's; name a folder of your own with --state-dir."""


def make_private(folder: Path) -> None:
    """Make the folder, or take it from group and others with all that an earlier run left in it.

    Raises
    ------
    StateFolderUnsafe
        Where somebody else owns it, or the link that leads to it.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for facts in (folder.lstat(), folder.stat()):
        if facts.st_uid != os.geteuid():
            raise StateFolderUnsafe(
                f"{folder} belongs to another user, who could read what is kept there; name a "
                "folder of your own with --state-dir."
            )
    # The folder first: from then on nobody else gets at the rest.
    folder.chmod(0o700)
    for name in _OWN:
        _tighten(folder / name)


def _tighten(path: Path) -> None:
    if path.is_symlink() or not path.exists():
        return
    path.chmod(path.stat().st_mode & 0o700)
    if path.is_dir():
        for entry in path.iterdir():
            _tighten(entry)


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
    StateFolderUnsafe
        Where the folder is not this user's.
    """

    def __init__(
        self,
        folder: Path,
        *,
        former_seconds: float = 30.0,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        make_private(folder)
        self._handle = open_private(folder / "lock", append=True)
        end = time.monotonic() + former_seconds
        while not self._try():
            self._handle.seek(0)
            holder = self._handle.read().decode(errors="replace").strip()
            if _alive(holder) or time.monotonic() > end:
                self._handle.close()
                raise AlreadyRunning(
                    f"{folder} is in use by process {holder or '(unknown)'}; stop that one, or "
                    "name another folder with --state-dir."
                )
            pause(0.1)
        self._handle.seek(0)
        self._handle.truncate()
        self._handle.write(f"{os.getpid()}\n".encode())
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


def open_private(path: Path, *, append: bool = False) -> BinaryIO:
    """Open a file to write, emptied unless `append`; a new one is its owner's alone."""
    flags = os.O_RDWR | os.O_CREAT | (os.O_APPEND if append else os.O_TRUNC)
    return os.fdopen(os.open(path, flags, 0o600), "a+b" if append else "w+b")


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
