"""Send the cases of one add-on's program, each after the one before has ended.

python addon_send.py MODULE
"""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import addon_app  # type: ignore[import-not-found]

LONGEST = 60.0


def over(result: Any) -> bool:
    """Say whether all hooks of a job's last attempt were called; none are of a revoked one."""
    return result.state == "REVOKED" or any(
        said["event"] == "over" and (said["id"], said["state"]) == (result.id, result.state)
        for said in addon_app.notes()
    )


def ended(result: Any, gone: Callable[[], bool]) -> list[Any]:
    """Wait for a result, and for those of a group; return states and values."""
    if result is None:
        return [None]
    found = []
    for part in result.results if hasattr(result, "results") else [result]:
        end = time.monotonic() + LONGEST
        while not ((part.ready() and over(part)) or gone()):
            if time.monotonic() > end:
                raise TimeoutError(part.state)
            time.sleep(0.1)
        found.append([part.state, part.ready() and part.get(propagate=False)])
    return found


def main() -> None:
    module = importlib.import_module(sys.argv[1])
    getattr(module, "begin", lambda: None)()
    gone = getattr(module, "gone", lambda _name: False)
    for name, run in module.CASES.items():
        addon_app.note("case", case=name)
        try:
            found: Any = ended(run(), partial(gone, name))
        except Exception as error:  # noqa: BLE001 - compared like all else
            found = f"{type(error).__name__}: {error}"
        addon_app.note("ended", case=name, result=found)
    getattr(module, "look", lambda: None)()


if __name__ == "__main__":
    main()
