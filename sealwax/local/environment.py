"""The emulated AWS's Python environment, made once and kept.

ministack pins botocore, so it lives in a virtual environment of its own, made
from a hash-pinned lock that ships with the package. The environment is made
beside its final place and renamed when complete, so a half-made one is never
used; a lock change makes a new one.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sealwax.errors import SealwaxError

__all__ = [
    "EnvironmentIncomplete",
    "PackagesUnavailable",
    "PythonTooOld",
    "VenvMissing",
    "default_folder",
    "ensure_environment",
    "is_complete",
]

#: ministack's own requirement is lower; ours holds for the whole project.
PYTHON_MINIMUM = (3, 11)

#: Written last; holds the digest of what the environment was made from.
MARKER = "complete"

#: Making the environment downloads about 20 packages, in seconds.
INSTALL_SECONDS = 600.0


class PythonTooOld(SealwaxError):
    """Python 3.11 or later is needed; install the package python3.11 (or later)."""


class VenvMissing(SealwaxError):
    """Python's venv module cannot make environments; install the package python3-venv."""


class PackagesUnavailable(SealwaxError):
    """The package index cannot be reached; connect to a network, or set pip's index."""


class EnvironmentIncomplete(SealwaxError):
    """The environment of the emulated AWS could not be made; the message has pip's last lines."""


def lock_file() -> Path:
    """Return the hash-pinned lock that ships with this package."""
    return Path(__file__).with_name("emulator.txt")


def default_folder() -> Path:
    """Return `SEALWAX_EMULATOR_ENV`, else `.venv-emulator` in the current folder."""
    return Path(os.environ.get("SEALWAX_EMULATOR_ENV") or ".venv-emulator").absolute()


def python_of(folder: Path) -> Path:
    """Return the interpreter of an environment."""
    return folder / "bin" / "python"


def _digest() -> str:
    base = f"{sys.version_info[0]}.{sys.version_info[1]}\n".encode()
    return hashlib.sha256(base + lock_file().read_bytes()).hexdigest()


def is_complete(folder: Path) -> bool:
    """Return whether the environment was finished, from today's lock, and can start."""
    try:
        if (folder / MARKER).read_text().strip() != _digest():
            return False
    except OSError:
        return False
    # A base interpreter that was removed since leaves a dangling link.
    return os.access(python_of(folder), os.X_OK)


@contextmanager
def _exclusive(folder: Path) -> Iterator[None]:
    # Two test processes, or `make run` beside `make test`: one makes it.
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(folder.name + ".lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def ensure_environment(folder: Path | None = None) -> Path:
    """Return the interpreter of a complete environment, making it where needed.

    Parameters
    ----------
    folder
        Where it is or shall be; default `default_folder()`.

    Raises
    ------
    PythonTooOld
        Under Python 3.11.
    VenvMissing
        Where the system's Python has no ensurepip (Debian: python3-venv).
    PackagesUnavailable
        Where no package index answers.
    EnvironmentIncomplete
        For any other failure of pip; with its last lines.
    """
    folder = folder or default_folder()
    if is_complete(folder):
        return python_of(folder)
    if sys.version_info < PYTHON_MINIMUM:
        raise PythonTooOld
    with _exclusive(folder):
        if is_complete(folder):
            return python_of(folder)
        _make(folder)
    return python_of(folder)


def _make(folder: Path) -> None:
    # Only the lock's holder makes it, so what lies here is left over.
    unfinished = folder.with_name(folder.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        try:
            import ensurepip  # noqa: F401 - Debian takes it out into python3-venv

            venv.create(unfinished, with_pip=True, symlinks=True)
        except (ImportError, subprocess.CalledProcessError) as error:
            raise VenvMissing from error
        _install(unfinished)
        (unfinished / MARKER).write_text(_digest() + "\n")
        shutil.rmtree(folder, ignore_errors=True)
        unfinished.rename(folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def _install(folder: Path) -> None:
    command = [
        str(python_of(folder)), "-m", "pip", "install", "--quiet", "--no-input",
        "--disable-pip-version-check", "--require-hashes", "-r", str(lock_file()),
    ]  # fmt: skip
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=INSTALL_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise PackagesUnavailable(
            f"Installing ministack took more than {INSTALL_SECONDS:.0f} s; the network is too "
            "slow, or the package index does not answer. Try again."
        ) from error
    if done.returncode == 0:
        return
    lines = done.stderr.strip().splitlines()[-6:]
    unreachable = ("NewConnectionError", "Connection", "ProxyError", "No matching distribution")
    if any(word in done.stderr for word in unreachable):
        raise PackagesUnavailable(
            "The emulated AWS (ministack) is not installed yet and the package index cannot be "
            "reached: connect to a network once, or set pip's index (PIP_INDEX_URL). pip said: "
            + " | ".join(lines[-2:])
        )
    raise EnvironmentIncomplete(
        "The environment of the emulated AWS could not be made. pip said: " + " | ".join(lines)
    )


def main() -> int:
    """Make the environment where needed; `make emulator` calls it. Return an exit code."""
    try:
        if not is_complete(default_folder()):
            print(f"making {default_folder()}", flush=True)
        ensure_environment()
    except SealwaxError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
