"""The project that `sealwax new` writes: files under `project/`, with a few names filled in.

Called by the command line alone. It never overwrites a file.
"""

from __future__ import annotations

import json
import re
from importlib import metadata, resources
from importlib.resources.abc import Traversable
from pathlib import Path

from sealwax import version
from sealwax.errors import SealwaxError

__all__ = ["FolderNotEmpty", "NameUnusable", "files", "requirement", "write_project"]

_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")


class FolderNotEmpty(SealwaxError):
    """The folder holds files already; name one that is empty or not there yet."""


class NameUnusable(SealwaxError):
    """The folder's name must be lower-case letters, digits and hyphens: it names the project."""


def files(name: str) -> dict[str, str]:
    """Return the project's files, text by path.

    Parameters
    ----------
    name
        Of the project.
    """
    found: dict[str, str] = {}
    _collect(resources.files("sealwax.scaffold") / "project", "", found)
    return {
        path: text.replace("@NAME@", name).replace("@SEALWAX@", requirement("service"))
        for path, text in sorted(found.items())
    }


def requirement(extra: str) -> str:
    """Return the line by which pip installs this Sealwax: its version, or where it came from."""
    try:
        origin = metadata.distribution("sealwax").read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        origin = None
    if origin is not None:
        # Installed from a folder or a file: an index may have another, or none, of this name.
        return f"sealwax[{extra}] @ {json.loads(origin)['url']}"
    return f"sealwax[{extra}]=={version()}"


def _collect(folder: Traversable, prefix: str, found: dict[str, str]) -> None:
    for each in folder.iterdir():
        if each.name == "__pycache__":
            continue
        if each.is_dir():
            _collect(each, f"{prefix}{each.name}/", found)
        else:
            # Kept with a suffix, so that no tool of this repository takes them for its own.
            path = f"{prefix}{each.name.removesuffix('.in')}".replace("dot-", ".")
            found[path] = each.read_text(encoding="utf-8")


def write_project(folder: Path) -> list[str]:
    """Write the project into a folder that is empty or not there; return the paths written.

    Raises
    ------
    FolderNotEmpty, NameUnusable
        Nothing was written.
    """
    name = folder.absolute().name
    if not _NAME.fullmatch(name):
        raise NameUnusable(
            f"{name!r} cannot name a project: use lower-case letters, digits and hyphens, "
            "beginning with a letter, 31 at most."
        )
    if folder.exists() and (
        not folder.is_dir() or any(each.name != ".git" for each in folder.iterdir())
    ):
        raise FolderNotEmpty(f"{folder} is there and not empty; name another folder.")
    made = files(name)
    for path, text in made.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    return list(made)
